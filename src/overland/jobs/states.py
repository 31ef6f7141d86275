"""The states of import jobs, drives and seeds, as tables and one pure function each.

Names and transitions of jobs and drives are those of the documented import service, so that its
clients understand ours (`docs/reference/states.md`).  Transitions marked `ours` are additions:
a drive that arrives after the others were processed reopens its job, and a cancelled job gives
back drives that were never opened.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, Generic, Literal, TypeVar

from overland.errors import RefusedError

__all__ = [
    "DRIVE",
    "JOB",
    "SEED",
    "Condition",
    "ConditionMissing",
    "DriveEvent",
    "DriveState",
    "EventRefused",
    "JobEvent",
    "JobState",
    "SeedEvent",
    "SeedState",
    "Transition",
    "advance_drive",
    "advance_job",
    "advance_seed",
]

Who = Literal["client", "operator", "service"]
"""Who causes an event: the customer's side, the station's staff, or the cloud itself."""


class JobState(StrEnum):
    """Where an import job is.  `DELETED` is never shown: the job is gone."""

    CREATING = "Creating"
    SHIPPING = "Shipping"
    RECEIVED = "Received"
    TRANSFERRING = "Transferring"
    PACKAGING = "Packaging"
    COMPLETED = "Completed"
    CLOSED = "Closed"
    DELETED = "Deleted"


class JobEvent(StrEnum):
    """What can happen to an import job."""

    REPLACED = "replaced"
    SHIPPED = "shipped"
    DRIVES_BOOKED_IN = "drives_booked_in"
    TRANSFER_STARTED = "transfer_started"
    DRIVES_PROCESSED = "drives_processed"
    REOPENED = "reopened"
    RETURNED = "returned"
    RETURNED_WITH_ERRORS = "returned_with_errors"
    WRITTEN_OFF = "written_off"
    DELETED = "deleted"
    EXPIRED = "expired"


class DriveState(StrEnum):
    """Where one drive of an import job is."""

    SPECIFIED = "Specified"
    RECEIVED = "Received"
    NEVER_RECEIVED = "NeverReceived"
    TRANSFERRING = "Transferring"
    COMPLETED = "Completed"
    COMPLETED_MORE_INFO = "CompletedMoreInfo"
    SHIPPED_BACK = "ShippedBack"


class DriveEvent(StrEnum):
    """What can happen to one drive."""

    RECEIVED = "received"
    MISSED = "missed"
    STARTED = "started"
    PROGRESSED = "progressed"
    COMPLETED = "completed"
    COMPLETED_MORE_INFO = "completed_more_info"
    SHIPPED_BACK = "shipped_back"


class SeedState(StrEnum):
    """Where a seed is, from the policy that asks for it to the vault that holds it."""

    CONFIGURED = "Configured"
    STAGING = "Staging"
    AWAITING_IMPORT = "AwaitingImport"
    ADOPTING = "Adopting"
    ONLINE = "Online"
    ABANDONED = "Abandoned"


class SeedEvent(StrEnum):
    """What can happen to a seed."""

    STAGING_STARTED = "staging_started"
    STAGED = "staged"
    ADOPTION_STARTED = "adoption_started"
    ADOPTED = "adopted"
    ADOPTION_FELL_SHORT = "adoption_fell_short"
    ABANDONED = "abandoned"


class Condition(StrEnum):
    """What must hold besides the state; the value is what to do about it."""

    RETURN_ADDRESS = "give a return address first"
    DELIVERY_PACKAGE = "give carrier and tracking number first"
    CANCEL_REQUESTED = "only drives of a cancelled job go back unopened"


_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Generic[_State]):
    """One row of a table: the next state, who causes it, and what must hold."""

    to: _State
    by: Who
    needs: tuple[Condition, ...] = ()
    ours: bool = False


class EventRefused(RefusedError):
    """The table has no transition for this event in this state."""

    code: ClassVar[str] = "event-refused"

    def __init__(self, what: str, *, state: str, event: str) -> None:
        super().__init__(f"{what} is {state}, so `{event}` is not possible; nothing was changed")
        self.what, self.state, self.event = what, state, event


class ConditionMissing(RefusedError):
    """The event fits the state, and something that it needs is not there yet."""

    code: ClassVar[str] = "condition-missing"

    def __init__(self, what: str, *, event: str, missing: tuple[Condition, ...]) -> None:
        super().__init__(f"{what}: `{event}` is not possible yet; {'; '.join(missing)}")
        self.what, self.event, self.missing = what, event, missing


def _job(to: JobState, by: Who, *needs: Condition, ours: bool = False) -> Transition[JobState]:
    return Transition(to=to, by=by, needs=needs, ours=ours)


def _drive(
    to: DriveState, by: Who, *needs: Condition, ours: bool = False
) -> Transition[DriveState]:
    return Transition(to=to, by=by, needs=needs, ours=ours)


def _seed(to: SeedState, by: Who) -> Transition[SeedState]:
    return Transition(to=to, by=by)


_J, _JE = JobState, JobEvent
JOB: Final[Mapping[tuple[JobState, JobEvent], Transition[JobState]]] = {
    (_J.CREATING, _JE.REPLACED): _job(_J.CREATING, "client"),
    (_J.CREATING, _JE.SHIPPED): _job(
        _J.SHIPPING, "client", Condition.RETURN_ADDRESS, Condition.DELIVERY_PACKAGE
    ),
    (_J.CREATING, _JE.DELETED): _job(_J.DELETED, "client"),
    (_J.CREATING, _JE.EXPIRED): _job(_J.DELETED, "service"),
    (_J.SHIPPING, _JE.DRIVES_BOOKED_IN): _job(_J.RECEIVED, "operator"),
    (_J.SHIPPING, _JE.TRANSFER_STARTED): _job(_J.TRANSFERRING, "service"),
    (_J.SHIPPING, _JE.WRITTEN_OFF): _job(_J.CLOSED, "operator"),
    (_J.RECEIVED, _JE.TRANSFER_STARTED): _job(_J.TRANSFERRING, "service"),
    (_J.TRANSFERRING, _JE.DRIVES_PROCESSED): _job(_J.PACKAGING, "service"),
    (_J.PACKAGING, _JE.REOPENED): _job(_J.TRANSFERRING, "operator", ours=True),
    (_J.PACKAGING, _JE.RETURNED): _job(_J.COMPLETED, "operator"),
    (_J.PACKAGING, _JE.RETURNED_WITH_ERRORS): _job(_J.CLOSED, "operator"),
    (_J.COMPLETED, _JE.DELETED): _job(_J.DELETED, "client"),
    (_J.COMPLETED, _JE.EXPIRED): _job(_J.DELETED, "service"),
    (_J.CLOSED, _JE.EXPIRED): _job(_J.DELETED, "service"),
}
"""Every transition of an import job."""

_D, _DE = DriveState, DriveEvent
DRIVE: Final[Mapping[tuple[DriveState, DriveEvent], Transition[DriveState]]] = {
    (_D.SPECIFIED, _DE.RECEIVED): _drive(_D.RECEIVED, "operator"),
    (_D.SPECIFIED, _DE.MISSED): _drive(_D.NEVER_RECEIVED, "service"),
    (_D.NEVER_RECEIVED, _DE.RECEIVED): _drive(_D.RECEIVED, "operator"),
    (_D.RECEIVED, _DE.STARTED): _drive(_D.TRANSFERRING, "service"),
    (_D.RECEIVED, _DE.SHIPPED_BACK): _drive(
        _D.SHIPPED_BACK, "operator", Condition.CANCEL_REQUESTED, ours=True
    ),
    (_D.TRANSFERRING, _DE.PROGRESSED): _drive(_D.TRANSFERRING, "service"),
    (_D.TRANSFERRING, _DE.COMPLETED): _drive(_D.COMPLETED, "service"),
    (_D.TRANSFERRING, _DE.COMPLETED_MORE_INFO): _drive(_D.COMPLETED_MORE_INFO, "service"),
    (_D.COMPLETED, _DE.SHIPPED_BACK): _drive(_D.SHIPPED_BACK, "operator"),
    (_D.COMPLETED_MORE_INFO, _DE.SHIPPED_BACK): _drive(_D.SHIPPED_BACK, "operator"),
}
"""Every transition of a drive."""

_S, _SE = SeedState, SeedEvent
SEED: Final[Mapping[tuple[SeedState, SeedEvent], Transition[SeedState]]] = {
    (_S.CONFIGURED, _SE.STAGING_STARTED): _seed(_S.STAGING, "client"),
    (_S.CONFIGURED, _SE.STAGED): _seed(_S.AWAITING_IMPORT, "client"),
    (_S.STAGING, _SE.STAGED): _seed(_S.AWAITING_IMPORT, "client"),
    (_S.AWAITING_IMPORT, _SE.ADOPTION_STARTED): _seed(_S.ADOPTING, "client"),
    (_S.ADOPTING, _SE.ADOPTED): _seed(_S.ONLINE, "service"),
    (_S.ADOPTING, _SE.ADOPTION_FELL_SHORT): _seed(_S.AWAITING_IMPORT, "service"),
    **{
        (state, _SE.ABANDONED): _seed(_S.ABANDONED, "client")
        for state in _S
        if state is not _S.ABANDONED
    },
}
"""Every transition of a seed."""


def advance_job(
    state: JobState, event: JobEvent, *, met: AbstractSet[Condition] = frozenset()
) -> JobState:
    """Return the state of an import job after `event`.

    Args:
        state: The present state.
        event: What happened.
        met: The conditions that hold now.

    Raises:
        EventRefused: The table has no such transition.
        ConditionMissing: It has one, and a condition of it does not hold.
    """
    return _advance(JOB, "the import job", state, event, met)


def advance_drive(
    state: DriveState, event: DriveEvent, *, met: AbstractSet[Condition] = frozenset()
) -> DriveState:
    """Return the state of a drive after `event`; arguments and errors as for `advance_job`."""
    return _advance(DRIVE, "the drive", state, event, met)


def advance_seed(state: SeedState, event: SeedEvent) -> SeedState:
    """Return the state of a seed after `event`.

    Raises:
        EventRefused: The table has no such transition.
    """
    return _advance(SEED, "the seed", state, event, frozenset())


def _advance(
    table: Mapping[tuple[_State, _Event], Transition[_State]],
    what: str,
    state: _State,
    event: _Event,
    met: AbstractSet[Condition],
) -> _State:
    transition = table.get((state, event))
    if transition is None:
        raise EventRefused(what, state=state, event=event)
    missing = tuple(need for need in transition.needs if need not in met)
    if missing:
        raise ConditionMissing(what, event=event, missing=missing)
    return transition.to
