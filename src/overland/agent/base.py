"""Which recovery point of a policy the next one is based on."""

from overland.agent.connection import Chains
from overland.agent.policy import Progress, SeedPhase
from overland.values import PointId

__all__ = ["usable_base"]

_USABLE = ("available", "waiting-for-seed")


def usable_base(progress: Progress, chains: Chains) -> PointId | None:
    """Return the point that the policy's next one is based on, or None for a full one.

    That is the last that this computer made, or one below it; where the cloud has let all of these
    go, because this computer's folder is an old copy, the newest of the policy that it has.  A
    seed that was not announced yet is unknown to the cloud, and usable.
    """
    known = {point.point_id: point for point in chains.points}
    base = progress.last_point_id
    if base is not None and base not in known and _travels(progress, base):
        return PointId(base)
    while base in known and known[base].state not in _USABLE:
        base = known.pop(base).base
    if base in known:
        return PointId(base)
    return None if progress.last_point_id is None else _newest(progress, chains)


def _travels(progress: Progress, base: str) -> bool:
    return base == progress.seed_point_id and progress.phase is not SeedPhase.ONLINE


def _newest(progress: Progress, chains: Chains) -> PointId | None:
    """Return the newest whole point of the policy; the cloud lists the oldest first."""
    own = [
        PointId(point.point_id)
        for point in chains.points
        if point.state == "available" and point.policy_id == progress.policy_id is not None
    ]
    return own[-1] if own else None
