"""Clean-up of a container: what the drives brought, once nobody needs it there any more."""

from dataclasses import dataclass
from typing import Final

from overland.cloud import seedlinks, seedwork
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Conflict
from overland.cloud.services import Services
from overland.jobs.states import JobState, SeedState
from overland.ports.objects import Objects

__all__ = ["Removed", "remove_landed"]

_DONE: Final = frozenset({SeedState.ONLINE, SeedState.ABANDONED})
_AT_STATION: Final = frozenset({JobState.RECEIVED, JobState.TRANSFERRING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed."""

    objects: int
    size_bytes: int


def remove_landed(services: Services, principal: Principal, seed_id: str) -> Removed:
    """Remove a seed's folder from its container, and nothing beside it; again removes nothing.

    Only of a seed that is in the vault, every object of it verified there, or that was given up.
    An interrupted removal is finished by the next one.

    Raises:
        ResourceAbsent: The caller has no such seed.
        Conflict: The seed is under way, or the station is at work on its drives.
    """
    principal.require(Permission.EDIT_SEEDS)
    with services.call(principal) as call:
        seed = seedwork.editable_seed(call, seed_id)
        jobs = seedlinks.jobs_of(call, seed)
    if seed.state not in _DONE:
        raise Conflict(
            "state", f"the seed is {seed.state}; what landed is still needed until it is Online"
        )
    for job in jobs:
        if job.state in _AT_STATION:
            raise Conflict(
                "state", f"import job {job.name} is {job.state}; clean up when the station is done"
            )
    store: Objects = services.spaces.open(seed.space)
    found = list(store.names(seed.prefix))
    for info in found:
        store.delete(info.name)
    return Removed(objects=len(found), size_bytes=sum(info.size_bytes for info in found))
