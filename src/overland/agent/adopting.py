"""Adoption as the source computer asks for it: begun, watched to its end, recorded.

The work is the cloud's and goes on without this computer; asking again finds the present attempt.
"""

from typing import Final

import msgspec

from overland.agent.connection import AdoptionReport, Connection
from overland.agent.policy import Policies, SeedPhase
from overland.agent.refusals import AdoptionFailed, SeedAbandoned, SeedAbsent
from overland.ports.clock import Clock
from overland.ports.progress import Progress as Meter
from overland.values import SeedId

__all__ = ["adopt_now", "wait_for_adoption"]

_POLL_FIRST_S: Final = 0.1
_POLL_MAX_S: Final = 5.0


def wait_for_adoption(
    connection: Connection, seed_id: SeedId, *, clock: Clock, meter: Meter
) -> AdoptionReport:
    """Begin an adoption, or find the present one, and return how it ended.

    Raises:
        RefusedByCloud: The seed's drives have not been imported, or it was given up.
    """
    adoption = connection.start_adoption(seed_id)
    meter.start("adopting", adoption.total_bytes or None, adoption.total_objects or None)
    pause_s, seen_bytes, seen_objects = _POLL_FIRST_S, 0, 0
    while adoption.state == "running":
        clock.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _POLL_MAX_S)
        adoption = connection.adoption(seed_id)
        meter.advance(
            bytes=max(0, adoption.done_bytes - seen_bytes),
            count=max(0, adoption.done_objects - seen_objects),
        )
        seen_bytes, seen_objects = adoption.done_bytes, adoption.done_objects
    meter.finish()
    return adoption


def adopt_now(
    name: str, *, policies: Policies, connection: Connection, clock: Clock, meter: Meter
) -> AdoptionReport:
    """Have the vault adopt the seed of a policy by hand, and record the phase that follows (R127).

    Nothing is sent over the network, and drives that are still expected are not waited for.

    Raises:
        SeedAbsent: The policy has no seed yet.
        SeedAbandoned: It was given up.
        RefusedByCloud: The drives of no import job have been processed.
        AdoptionFailed: The work failed; it can be begun again.
    """
    policies.load(name)
    progress = policies.progress(name)
    if progress.seed_id is None or progress.phase is SeedPhase.CONFIGURED:
        raise SeedAbsent(name)
    if progress.phase is SeedPhase.ABANDONED:
        raise SeedAbandoned(name)
    adoption = wait_for_adoption(connection, SeedId(progress.seed_id), clock=clock, meter=meter)
    if adoption.state == "failed":
        raise AdoptionFailed(name, str(adoption.error))
    phase = SeedPhase.ONLINE if adoption.state == "done" else SeedPhase.ADOPTING
    policies.record(name, msgspec.structs.replace(progress, phase=phase))
    return adoption
