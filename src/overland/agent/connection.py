"""What the agent says to the cloud, one method per request of `docs/reference/api.md`.

Answers become values here and nowhere else; fields that this agent does not know are ignored.
Absent, refused, not authorised and unreachable stay four different errors
(`overland.ports.http.accept`).
"""

from datetime import datetime
from typing import Literal

import msgspec
from typing_extensions import override

from overland.agent.cloudfacts import CloudFacts
from overland.ports.answers import converted
from overland.ports.http import Http, accept
from overland.values import PointId, SeedId
from overland.vault.retention import Retention

__all__ = [
    "AdoptionReport",
    "Chains",
    "CleanedUp",
    "Connection",
    "Deletion",
    "DriveReport",
    "Grant",
    "JobReport",
    "MissingObject",
    "NextStep",
    "Registered",
    "SeedReport",
    "VaultPoint",
    "next_step_text",
]


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's answer to a registration.  Holds the agent's token, a secret."""

    source_computer_id: str
    vault_id: str
    token: str

    @override
    def __repr__(self) -> str:
        """Keep the token out of logs and tracebacks."""
        return f"Registered({self.source_computer_id!r}, token=…)"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to read or write objects below one prefix.  The token is a secret."""

    endpoint: str
    space: str
    prefix: str
    token: str
    expires_at: str
    policy_id: str | None = None

    @override
    def __repr__(self) -> str:
        """Keep the token out of logs and tracebacks."""
        return f"Grant({self.space!r}, {self.prefix!r}, token=…)"


class DriveReport(msgspec.Struct, frozen=True, kw_only=True):
    """One drive of the import job."""

    serial: str
    state: str
    percent_complete: int | None = None


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """The import job of a seed, as the cloud sees it."""

    name: str
    state: str
    percent_complete: int | None = None
    drives: tuple[DriveReport, ...] = ()


class NextStep(msgspec.Struct, frozen=True, kw_only=True):
    """Who has to do what, by when (None: no limit)."""

    who: str
    what: str
    by: str | None = None


class MissingObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the seed that did not reach the vault."""

    name: str
    size_bytes: int
    reason: str = "absent"


class AdoptionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the vault has adopted a seed."""

    state: Literal["running", "done", "incomplete", "failed"]
    done_objects: int = 0
    total_objects: int = 0
    done_bytes: int = 0
    total_bytes: int = 0
    missing: tuple[MissingObject, ...] = ()
    error: str | None = None


class CleanedUp(msgspec.Struct, frozen=True, kw_only=True):
    """What a clean-up removed."""

    objects: int
    size_bytes: int


class SeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A seed, its import job and its adoption."""

    seed_id: str
    state: str
    job_name: str
    job: JobReport | None = None
    earlier_jobs: tuple[JobReport, ...] = ()
    next_step: NextStep | None = None
    adoption: AdoptionReport | None = None
    ready_to_adopt: bool = False
    warnings: tuple[str, ...] = ()


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of a recovery point that goes; until `reclaim_after` it can be taken back.

    `reason` is `retention`, or `deleted` by whom `marked_by` names.
    """

    marked_at: str
    reclaim_after: str
    reason: str
    marked_by: str = ""


class VaultPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery point in the vault's catalog.

    A `reclaimed` point is listed while living points are based on it, and is not restored any
    more; one with a `deletion` is restored like any other.  `missing` names objects that the
    vault lacks, of the point and of its bases, as far as the cloud names them.
    """

    point_id: str
    created_at: str
    kind: str
    state: str
    seed_id: str | None = None
    base: str | None = None
    size_bytes: int = 0
    missing: tuple[str, ...] = ()
    policy_id: str | None = None
    deletion: Deletion | None = None


class Chains(msgspec.Struct, frozen=True, kw_only=True):
    """The recovery points, reclaimed ones too, and the chains' version, of one instant.

    `chain_version` grows with every recorded point and every accepted replacement; read it
    before anything that the next request relies on.  `replacements` are the ids of the accepted
    ones, oldest first.
    """

    chain_version: int
    points: tuple[VaultPoint, ...]
    replacements: tuple[str, ...] = ()


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    chain_version: int


class Connection:
    """The agent's requests over one authenticated connection.

    Each raises as `accept` and, where it returns something, as `converted`.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def register(
        self, *, name: str, repository_id: str, signing_public_key: str, proof: str
    ) -> Registered:
        """Register this source computer; again with the same repository gives a new token.

        `proof` shows that this computer holds the signing key (`overland.crypto.registration`).

        Raises:
            RefusedError: The name belongs to another repository.
            NotAuthorised: The vault credentials have expired or were replaced.
        """
        body = {
            "name": name,
            "repository_id": repository_id,
            "signing_public_key": signing_public_key,
            "proof": proof,
        }
        answer = self._ask("POST", "/v1/source-computers", "registration", json=body)
        return converted(answer, Registered)

    def create_seed(
        self,
        *,
        seed_id: SeedId,
        job_name: str,
        policy: str,
        subscription_id: str,
        storage_account: str,
        container: str,
    ) -> SeedReport:
        """Announce a seed before it is staged; the cloud checks account, container and name.

        Saying the same again changes nothing.

        Raises:
            RefusedError: A rule of the offline page does not hold in the cloud.
        """
        body = {
            "seed_id": seed_id,
            "job_name": job_name,
            "policy": policy,
            "subscription_id": subscription_id,
            "storage_account": storage_account,
            "container": container,
        }
        return converted(self._ask("POST", "/v1/seeds", f"seed {seed_id}", json=body), SeedReport)

    def preflight(self, **page: str) -> CloudFacts:
        """Return what the cloud knows of an offline page; nothing is refused, nothing kept."""
        return converted(self._ask("POST", "/v1/preflight", "preflight", json=page), CloudFacts)

    def put_manifest(self, seed_id: SeedId, manifest: bytes) -> None:
        """Give the cloud the signed list of what the drives will bring.

        Raises:
            RefusedError: It is not signed by this computer or does not fit the seed.
        """
        self._ask("PUT", f"/v1/seeds/{seed_id}/manifest", f"seed {seed_id}", raw=manifest)

    def seed(self, seed_id: SeedId) -> SeedReport:
        """Return what the cloud knows of a seed.

        Raises:
            ObjectAbsent: The cloud knows no such seed: not the same as waiting.
        """
        return converted(self._ask("GET", f"/v1/seeds/{seed_id}", f"seed {seed_id}"), SeedReport)

    def relink_seed(self, seed_id: SeedId, *, job_name: str) -> SeedReport:
        """Repair the job name that links policy and import job."""
        answer = self._ask(
            "PATCH", f"/v1/seeds/{seed_id}", f"seed {seed_id}", json={"job_name": job_name}
        )
        return converted(answer, SeedReport)

    def abandon_seed(self, seed_id: SeedId) -> None:
        """Give a seed up; nothing that is in the vault is deleted."""
        self._ask("PATCH", f"/v1/seeds/{seed_id}", f"seed {seed_id}", json={"state": "Abandoned"})

    def clean_up_seed(self, seed_id: SeedId) -> CleanedUp:
        """Remove what landed of a seed from its container; again removes nothing.

        Raises:
            RefusedByCloud: The seed is neither in the vault nor given up.
        """
        answer = self._ask("POST", f"/v1/seeds/{seed_id}/clean-up", f"seed {seed_id}")
        return converted(answer, CleanedUp)

    def start_adoption(self, seed_id: SeedId) -> AdoptionReport:
        """Let the vault take over what landed in the container; start again if it ended short."""
        answer = self._ask("POST", f"/v1/seeds/{seed_id}/adoption", f"adoption of {seed_id}")
        return converted(answer, AdoptionReport)

    def adoption(self, seed_id: SeedId) -> AdoptionReport:
        """Return how far the adoption is."""
        answer = self._ask("GET", f"/v1/seeds/{seed_id}/adoption", f"adoption of {seed_id}")
        return converted(answer, AdoptionReport)

    def vault_grant(self, *, policy_id: str | None = None) -> Grant:
        """Return leave to create and read this computer's objects in the vault.

        For a run of a policy, which names it: nothing that it puts goes before it ends.
        """
        body = {"kind": "vault"} | ({} if policy_id is None else {"policy_id": policy_id})
        grant = converted(self._ask("POST", "/v1/grants", "a grant", json=body), Grant)
        return msgspec.structs.replace(grant, policy_id=policy_id)

    def publish_point(
        self,
        point_id: PointId,
        *,
        chain_version: int | None = None,
        policy_id: str | None = None,
    ) -> VaultPoint:
        """Enter a recovery point, already in the vault, into the catalog.

        Args:
            point_id: Which.
            chain_version: What `chains` said before the run began to look at earlier points;
                None only for a point without a base.
            policy_id: Whose retention it obeys; None keeps it for good.

        Returns:
            The point; when it is `incomplete`, its `missing` objects have to be stored anew.

        Raises:
            RefusedError: Its signature or its objects do not hold; with the code
                `chain-repacked`, a replacement was accepted since `chain_version`, so that the
                point may rely on what goes: it is not entered, and the run has to be repeated
                without what it remembered of earlier points.
        """
        body: dict[str, object] = {"point_id": point_id}
        if chain_version is not None:
            body["chain_version"] = chain_version
        if policy_id is not None:
            body["policy_id"] = policy_id
        answer = self._ask("POST", "/v1/points", f"point {point_id}", json=body)
        return converted(answer, VaultPoint)

    def points(self) -> list[VaultPoint]:
        """Return this computer's recovery points in the vault, oldest first, none reclaimed."""
        return converted(self._ask("GET", "/v1/points", "recovery points"), list[VaultPoint])

    def chains(self) -> Chains:
        """Return all recovery points and the version that later requests compare with."""
        return converted(self._ask("GET", "/v1/chains", "recovery points"), Chains)

    def delete_point(self, point_id: PointId) -> VaultPoint:
        """Mark a recovery point; it is reclaimed after the time of grace, unless taken back.

        Raises:
            RefusedError: It is its policy's newest available one, or travels by drive.
            ObjectAbsent: There is no such point.
        """
        answer = self._ask("POST", f"/v1/points/{point_id}/delete", f"point {point_id}")
        return converted(answer, VaultPoint)

    def undelete_point(self, point_id: PointId) -> VaultPoint:
        """Take a mark back, whoever or whatever set it; again changes nothing.

        Raises:
            RefusedError: The point is reclaimed already.
            ObjectAbsent: There is no such point.
        """
        answer = self._ask("POST", f"/v1/points/{point_id}/undelete", f"point {point_id}")
        return converted(answer, VaultPoint)

    def accept_replacement(self, replacement_id: str, *, chain_version: int) -> int:
        """Have a replacement that is in the vault take effect; again changes nothing.

        Args:
            replacement_id: Of the document `replacements/<id>.replacement`.
            chain_version: What `chains` said before the replacement was worked out.

        Returns:
            The version afterwards.

        Raises:
            RefusedError: With the code `chain-changed`, a point was recorded or another
                replacement accepted since; else the replacement does not hold.
        """
        path = f"/v1/replacements/{replacement_id}"
        body = {"chain_version": chain_version}
        answer = self._ask("POST", path, f"replacement {replacement_id}", json=body)
        return converted(answer, _Version).chain_version

    def put_retention(self, policy_id: str, retention: Retention) -> None:
        """Say how many recovery points of a policy stay; takes effect for old points too.

        `policy_id` is an opaque UUID, never the policy's name.

        Raises:
            RefusedError: The rule keeps too little, or too much.
        """
        body = msgspec.to_builtins(retention)
        self._ask("PUT", f"/v1/policies/{policy_id}/retention", "the retention", json=body)

    def _ask(
        self, method: str, path: str, what: str, *, json: object = None, raw: bytes | None = None
    ) -> object:
        """Return decoded JSON, for the callers above to convert."""
        answer: object = accept(self._http.request(method, path, json=json, raw=raw), what=what)
        return answer


def next_step_text(step: NextStep | None) -> tuple[str, ...]:
    """Return what has to be done next and by whom, as a line for people, or nothing."""
    if step is None:
        return ()
    until = f", by {datetime.fromisoformat(step.by):%Y-%m-%d %H:%M} UTC" if step.by else ""
    return (f"Next: {step.who}: {step.what}{until}",)
