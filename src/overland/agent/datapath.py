"""What a policy's run needs done with bytes, as a port; `overland.agent.data` does it."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from overland.agent.policy import Policy
from overland.ports.objects import Objects
from overland.values import PointId, SeedId

__all__ = ["DataPath", "Made", "Staged"]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery point that was made."""

    point_id: PointId
    statistics: Mapping[str, int]  # what the data path counted, by the names of `Statistics`
    skipped: int
    changed: int
    failed: tuple[str, ...] = ()  # commands, images and files that are not in it, and why
    notes: tuple[str, ...] = ()  # what else the operator should know


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A first copy that lies complete in the staging location."""

    made: Made
    manifest: bytes
    folder: str


class DataPath(Protocol):
    """What a run needs done with bytes; all of it may be killed and called again."""

    def ready_to_stage(self, vault: Objects) -> None:
        """Return when a first copy that is sealed now opens with what the vault will have.

        Raises:
            KeyringBehind: Another copy of this home folder has a later master key.
            TransientError: The vault does not answer; try again.
        """
        ...

    def stage(self, policy: Policy, *, seed_id: SeedId, point_id: PointId) -> Staged:
        """Write the first copy to the staging location; go on where a killed run stopped.

        `point_id` is the seeded point's, the same at every try.

        Raises:
            OutOfSpace: The staging location is too small; what was written stays, incomplete.
        """
        ...

    def staged_manifest(self, policy: Policy, *, seed_id: SeedId) -> bytes:
        """Return the signed manifest of the staged seed.

        Raises:
            ObjectAbsent: The staging location does not hold the seed any more.
        """
        ...

    def send(
        self, policy: Policy, *, base: PointId | None, seed_id: SeedId | None, vault: Objects
    ) -> Made:
        """Make a recovery point over the network, on `base`; both ids None for a first copy."""
        ...

    def send_missing(
        self, policy: Policy, *, seed_id: SeedId, names: Iterable[str], vault: Objects
    ) -> int:
        """Send the named objects of the seed from staging to the vault; return their bytes.

        Raises:
            ObjectAbsent: The staging location does not hold one of them any more.
        """
        ...
