"""What a change of the signing key asks the cloud, beside the requests of every run.

These carry the computer's own token, or vault credentials for the change itself, and never that of
an application that speaks for the computer.
"""

import msgspec

from overland.agent.connection import Chains, Connection, SeedReport
from overland.crypto.keyring import FormerSigner
from overland.ports.answers import converted
from overland.ports.http import Http, accept
from overland.values import SeedId

__all__ = ["SignerReport", "SigningCloud", "enter_change"]


class SignerReport(msgspec.Struct, frozen=True, kw_only=True):
    """Which signing key of this computer counts for the cloud, and which did before."""

    signing_public_key: str
    former_signers: tuple[FormerSigner, ...] = ()


class SigningCloud:
    """The cloud, asked with the token of one source computer; each request raises as `accept`."""

    def __init__(self, http: Http, *, source_computer_id: str) -> None:
        self._http, self._computer = http, source_computer_id

    def signers(self) -> SignerReport:
        """Return which signing keys the cloud knows of this computer."""
        path = f"/v1/source-computers/{self._computer}"
        return converted(
            accept(self._http.request("GET", path), what="this computer"), SignerReport
        )

    def chains(self) -> Chains:
        """Return all recovery points and accepted replacements, of one version."""
        return Connection(self._http).chains()

    def seeds(self) -> list[SeedReport]:
        """Return this computer's seeds."""
        answer = accept(self._http.request("GET", "/v1/seeds"), what="the seeds")
        return converted(answer, list[SeedReport])

    def manifest(self, seed_id: SeedId) -> bytes:
        """Return the signed manifest that the cloud has of a seed.

        Raises:
            ObjectAbsent: It has none.
        """
        reply = self._http.request("GET", f"/v1/seeds/{seed_id}/manifest")
        accept(reply, what=f"the manifest of seed {seed_id}")
        return reply.raw

    def put_manifest(self, seed_id: SeedId, manifest: bytes) -> None:
        """Announce a seed that was staged."""
        Connection(self._http).put_manifest(seed_id, manifest)


def enter_change(http: Http, *, source_computer_id: str, number: int, sha256: str) -> None:
    """Have a key change that is in the vault take effect; again changes nothing.

    Args:
        http: Carries vault credentials.
        source_computer_id: Whose key.
        number: Of the change.
        sha256: Of its file.

    Raises:
        RefusedByCloud: With the reason `chain-changed`, something was recorded since the list was
            made; with `key-change-behind`, another change was faster.
    """
    path = f"/v1/source-computers/{source_computer_id}/key-changes"
    body = {"number": number, "sha256": sha256}
    accept(http.request("POST", path, json=body), what="the change of the signing key")
