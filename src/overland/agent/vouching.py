"""What a key change vouches for: everything in the catalog that the present key signed.

The list is made of the files themselves, each proven, and not of what the cloud says they are.  It
holds what the cloud has in its catalog, so it also holds what a thief had entered there before: the
operator looks at the points that this computer does not know as its own, and leaves some out.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from overland.agent.home import AgentHome
from overland.agent.points.signatures import Signatures
from overland.agent.policy import Policies
from overland.agent.setup import newest_keyring
from overland.agent.signingcloud import SigningCloud
from overland.crypto.sign import Signable, verify
from overland.crypto.signers import KeyChangeMissing
from overland.errors import IntegrityError, ObjectAbsent, RefusedError, SignatureInvalid
from overland.format import point as point_format
from overland.format import seed_manifest as manifest_format
from overland.format.key_change import Vouched, sorted_vouched
from overland.format.point import PointPublic
from overland.format.replacement import REPLACEMENT_PURPOSE
from overland.format.seed_manifest import SEED_MANIFEST_PURPOSE, SeedManifest
from overland.format.signed import decode_signed
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.values import PointId, ReplacementId, SeedId, point_name, replacement_name

__all__ = ["Inventory", "ListedPoint", "NotLeftOut", "PointsUnreadable", "known_points", "take"]

_NAMED = 10  # so many points does an error name


class PointsUnreadable(IntegrityError):
    """Recovery points of the catalog cannot be read, so that nobody can vouch for them."""

    code = "points-unreadable"

    def __init__(self, problems: Mapping[str, str]) -> None:
        named = [f"{point_id} ({problem})" for point_id, problem in problems.items()]
        rest = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        super().__init__(
            f"recovery points that cannot be vouched for: {', '.join(named[:_NAMED])}{rest}; "
            "nothing was changed: run `overland repair`, or leave each of them out with `--without`"
        )
        self.problems = dict(problems)


class NotLeftOut(RefusedError):
    """A recovery point cannot be left out of a key change."""

    code = "point-not-left-out"

    def __init__(self, point_id: str, *, reason: str) -> None:
        super().__init__(
            f"recovery point {point_id} cannot be left out: {reason}; nothing was changed"
        )
        self.point_id = point_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPoint:
    """A recovery point that the present key signed, as its own signed file says it."""

    point_id: PointId
    created_at: datetime
    kind: str
    base: PointId | None
    size_bytes: int
    sha256: str
    is_living: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What was found at one version of the catalog.

    `older` are points that an earlier key change lists; `others` are replacements and manifests.
    """

    chain_version: int
    points: tuple[ListedPoint, ...]
    older: frozenset[PointId]
    others: tuple[Vouched, ...]
    seed_of: Mapping[PointId, SeedId]
    problems: Mapping[PointId, str]

    def vouched(self, without: Collection[str]) -> list[Vouched]:
        """Return the list in its order, but for the points that are left out.

        Raises:
            NotLeftOut: There is no such point, or one that stays needs it.
            PointsUnreadable: One that stays cannot be read.
        """
        self._check(without)
        left = {self.seed_of[point] for point in self.seed_of if point in without}
        others = [each for each in self.others if each.id not in left]
        stay = [each for each in self.points if each.point_id not in without]
        own = [Vouched(kind="point", id=each.point_id, sha256=each.sha256) for each in stay]
        return sorted_vouched([*others, *own])

    def _check(self, without: Collection[str]) -> None:
        rows = {each.point_id: each for each in self.points}
        for point_id in without:
            if point_id in self.older:
                reason = "an earlier change of the key lists it; delete it: overland points delete"
                raise NotLeftOut(point_id, reason=reason)
            if point_id not in rows and point_id not in self.problems:
                raise NotLeftOut(point_id, reason="the vault's catalog has no such point")
        for row in self.points:
            if row.is_living and row.point_id not in without and row.base in without:
                assert row.base is not None, "it is left out"
                reason = f"{row.point_id} is based on it; leave that one out as well"
                raise NotLeftOut(row.base, reason=reason)
        unread = {str(each): why for each, why in self.problems.items() if each not in without}
        if unread:
            raise PointsUnreadable(unread)


def known_points(policies: Policies, points: Iterable[ListedPoint]) -> set[PointId]:
    """Return the points that this computer's own records lead to.

    These are the newest of each policy, its seed, and what they are based on.
    """
    rows = {each.point_id: each for each in points}
    found: set[PointId] = set()
    for name in policies.names():
        made = policies.progress(name)
        for start in (
            *(made.last_point_id, made.seed_point_id),
            *(made.unpublished_point_id, made.unpublished_base),
        ):
            each = None if start is None else PointId(start)
            while each is not None and each not in found:
                found.add(each)
                each = rows[each].base if each in rows else None
    return found


def take(home: AgentHome, vault: Objects, cloud: SigningCloud, *, meter: Progress) -> Inventory:
    """Return what the catalog has now, every file read and proven.

    Raises:
        ObjectAbsent, IntegrityError, KeyChangeMissing: An accepted replacement cannot be proven.
        TransientError: The vault or the cloud does not answer.
    """
    chains = cloud.chains()  # first: what is entered from now on moves the version
    look = _Look(home, vault)
    meter.start("listing", None, len(chains.points) + len(chains.replacements))
    try:
        for each in chains.replacements:
            look.replacement(ReplacementId(each))
            meter.advance(count=1)
        for seed in cloud.seeds():
            look.seed(SeedId(seed.seed_id), cloud)
        for row in chains.points:
            look.point(PointId(row.point_id), is_living=row.state != "reclaimed")
            meter.advance(count=1)
    finally:
        meter.finish()
    return Inventory(
        chain_version=chains.chain_version,
        points=tuple(look.points),
        older=frozenset(look.older),
        others=tuple(look.others),
        seed_of={manifest.point_id: seed for seed, manifest in look.manifests.items()},
        problems=look.problems,
    )


class _Look:
    """One walk through what the catalog names."""

    def __init__(self, home: AgentHome, vault: Objects) -> None:
        _, document = newest_keyring(home)
        self._signatures = Signatures.of(document, at_hand=[home.files, vault])
        self._vault = vault
        self.points: list[ListedPoint] = []
        self.older: set[PointId] = set()
        self.others: list[Vouched] = []
        self.manifests: dict[SeedId, SeedManifest] = {}
        self._travelling: dict[PointId, tuple[SeedManifest, bool]] = {}
        self._unread: dict[PointId, tuple[str, bool]] = {}

    @property
    def problems(self) -> dict[PointId, str]:
        """What cannot be read of the living points, and of deleted ones that are their base."""
        bases = {each.base for each in self.points if each.is_living}
        return {
            point_id: why
            for point_id, (why, is_living) in self._unread.items()
            if is_living or point_id in bases
        }

    def replacement(self, replacement_id: ReplacementId) -> None:
        """Take an accepted replacement in, if the present key signed it.

        Raises:
            ObjectAbsent: The vault has no such file.
            IntegrityError, KeyChangeMissing: No key that counts signed it.
        """
        name = replacement_name(replacement_id)
        data = self._vault.read(name)
        if self._is_signed_now(data, REPLACEMENT_PURPOSE, name=name):
            digest = hashlib.sha256(data).hexdigest()
            self.others.append(Vouched(kind="replacement", id=replacement_id, sha256=digest))

    def seed(self, seed_id: SeedId, cloud: SigningCloud) -> None:
        """Take the manifest in; what drives bring is found by it."""
        name = f"the manifest of seed {seed_id}"
        try:
            document = cloud.manifest(seed_id)
            is_now = self._is_signed_now(document, SEED_MANIFEST_PURPOSE, name=name)
            body = decode_signed(document, SEED_MANIFEST_PURPOSE, name=name).body
            manifest = manifest_format.decode_seed_manifest(body, name=name)
        except (ObjectAbsent, IntegrityError, KeyChangeMissing):
            return  # not staged yet, or nobody's: its point has no proof then, and is named
        if manifest.seed_id != seed_id:
            return
        self._travelling[manifest.point_id] = manifest, is_now
        if is_now:
            self.manifests[seed_id] = manifest
            digest = hashlib.sha256(document).hexdigest()
            self.others.append(Vouched(kind="seed-manifest", id=seed_id, sha256=digest))

    def point(self, point_id: PointId, *, is_living: bool) -> None:
        """Take a point in: as signed by the present key, as an earlier change's, or as unreadable.

        One that no drive has brought yet is taken as its seed's manifest says it.
        """
        name = point_name(point_id)
        try:
            data = self._vault.read(name)
            public, is_now = self._proven(data, name=name)
        except ObjectAbsent:
            if not self._travels(point_id, is_living=is_living):
                self._unread[point_id] = "the vault has no such file", is_living
            return
        except (IntegrityError, KeyChangeMissing) as error:
            self._unread[point_id] = str(error), is_living
            return
        if not is_now:
            self.older.add(point_id)
            return
        self._list(
            public.point_id,
            created_at=public.created_at,
            kind=public.kind,
            base=public.base,
            size_bytes=sum(each.size_bytes for each in public.objects),
            sha256=hashlib.sha256(data).hexdigest(),
            is_living=is_living,
        )

    def _travels(self, point_id: PointId, *, is_living: bool) -> bool:
        """List a seed's point that no drive has brought yet, as its manifest says it."""
        if point_id not in self._travelling:
            return False
        manifest, is_now = self._travelling[point_id]
        if not is_now:
            self.older.add(point_id)
            return True
        name = point_name(point_id)
        self._list(
            point_id,
            created_at=manifest.snapshot_at,
            kind="seed",
            base=None,
            size_bytes=sum(each.size_bytes for each in manifest.objects),
            sha256=next(each.sha256 for each in manifest.objects if each.name == name),
            is_living=is_living,
        )
        return True

    def _list(
        self,
        point_id: PointId,
        *,
        created_at: datetime,
        kind: str,
        base: PointId | None,
        size_bytes: int,
        sha256: str,
        is_living: bool,
    ) -> None:
        self.points.append(
            ListedPoint(
                point_id=point_id,
                created_at=created_at,
                kind=kind,
                base=base,
                size_bytes=size_bytes,
                sha256=sha256,
                is_living=is_living,
            )
        )

    def _proven(self, data: bytes, *, name: str) -> tuple[PointPublic, bool]:
        parsed = point_format.parse(data, name=name)
        is_now = self._is_by_newest(
            point_format.SIGNATURE_PURPOSE,
            parsed.signed_bytes,
            parsed.signature,
            file=data,
            name=name,
        )
        repository_id = self._signatures.repository_id
        if parsed.public.repository_id != repository_id or name != point_name(
            parsed.public.point_id
        ):
            raise SignatureInvalid(name)
        return parsed.public, is_now

    def _is_signed_now(self, document: bytes, purpose: str, *, name: str) -> bool:
        signed = decode_signed(document, purpose, name=name)
        return self._is_by_newest(purpose, signed.body, signed.signature, file=document, name=name)

    def _is_by_newest(
        self, purpose: str, signed: Signable, signature: bytes, *, file: bytes, name: str
    ) -> bool:
        """Return whether the present key signed it, or else a former one that still counts.

        Raises:
            SignatureInvalid, KeyChangeMissing: Neither.
        """
        try:
            verify(self._signatures.signers.newest, purpose, signed, signature)
        except SignatureInvalid:
            self._signatures.prove(self._vault, purpose, signed, signature, file=file, name=name)
            return False
        return True
