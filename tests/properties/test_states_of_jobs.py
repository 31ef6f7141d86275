"""States of jobs, drives and seeds: all pairs of state and event, and a job against a model."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from overland.jobs.importjob import (
    Drive,
    DriveReport,
    ImportJob,
    apply_to_drive,
    apply_to_job,
    settle,
)
from overland.jobs.states import (
    DRIVE,
    JOB,
    SEED,
    Condition,
    ConditionMissing,
    DriveEvent,
    DriveState,
    EventRefused,
    JobEvent,
    JobState,
    SeedEvent,
    SeedState,
    Transition,
    advance_drive,
    advance_job,
    advance_seed,
)

AT = datetime(2027, 3, 1, tzinfo=UTC)
ALL = frozenset(Condition)

# The documented transitions, written a second time and independently of the tables: from a state
# to those that follow it.
JOB_FOLLOWS = {
    "Creating": {"Creating", "Shipping", "Deleted"},
    "Shipping": {"Received", "Transferring", "Closed"},
    "Received": {"Transferring"},
    "Transferring": {"Packaging"},
    "Packaging": {"Completed", "Closed"},
    "Completed": {"Deleted"},
    "Closed": {"Deleted"},
    "Deleted": set(),
}
DRIVE_FOLLOWS = {
    "Specified": {"Received", "NeverReceived"},
    "NeverReceived": {"Received"},
    "Received": {"Transferring"},
    "Transferring": {"Transferring", "Completed", "CompletedMoreInfo"},
    "Completed": {"ShippedBack"},
    "CompletedMoreInfo": {"ShippedBack"},
    "ShippedBack": set(),
}
SEED_FOLLOWS = {
    "Configured": {"Staging", "AwaitingImport", "Abandoned"},
    "Staging": {"AwaitingImport", "Abandoned"},
    "AwaitingImport": {"Adopting", "Abandoned"},
    "Adopting": {"Online", "AwaitingImport", "Abandoned"},
    "Online": {"Abandoned"},
    "Abandoned": set(),
}


def follows(table: Mapping[Any, Transition[Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for (state, _), transition in table.items():
        if not transition.ours:
            found.setdefault(state, set()).add(transition.to)
    return found


@pytest.mark.parametrize(
    ("table", "documented"),
    [(JOB, JOB_FOLLOWS), (DRIVE, DRIVE_FOLLOWS), (SEED, SEED_FOLLOWS)],
    ids=["job", "drive", "seed"],
)
def test_the_tables_have_the_documented_transitions_and_no_others(
    table: Mapping[Any, Transition[Any]], documented: dict[str, set[str]]
) -> None:
    found = follows(table)
    assert {state: found.get(state, set()) for state in documented} == documented


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)))
def test_a_job_moves_by_its_table_or_not_at_all(state: JobState, event: JobEvent) -> None:
    if (state, event) in JOB:
        assert advance_job(state, event, met=ALL) is JOB[state, event].to
    else:
        with pytest.raises(EventRefused):
            advance_job(state, event, met=ALL)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(DriveState, DriveEvent)))
def test_a_drive_moves_by_its_table_or_not_at_all(state: DriveState, event: DriveEvent) -> None:
    if (state, event) in DRIVE:
        assert advance_drive(state, event, met=ALL) is DRIVE[state, event].to
    else:
        with pytest.raises(EventRefused):
            advance_drive(state, event, met=ALL)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(SeedState, SeedEvent)))
def test_a_seed_moves_by_its_table_or_not_at_all(state: SeedState, event: SeedEvent) -> None:
    if (state, event) in SEED:
        assert advance_seed(state, event) is SEED[state, event].to
    else:
        with pytest.raises(EventRefused):
            advance_seed(state, event)


@given(met=st.frozensets(st.sampled_from(Condition)))
def test_a_transition_needs_all_its_conditions(met: frozenset[Condition]) -> None:
    for (state, event), transition in JOB.items():
        missing = set(transition.needs) - met
        if missing:
            with pytest.raises(ConditionMissing) as refused:
                advance_job(state, event, met=met)
            assert set(refused.value.missing) == missing
        else:
            assert advance_job(state, event, met=met) is transition.to


def new_job(drives: int) -> ImportJob:
    return ImportJob(
        job_id="job",
        tenant_id="tenant",
        subscription_id="subscription",
        resource_group="group",
        name="harbour-first",
        storage_account="harbourdata",
        storage_account_id="/account",
        location="westeurope",
        drives=tuple(
            Drive(
                serial=f"D{number}",
                unlock_key="key",
                manifest_file="\\DriveManifest.xml",
                manifest_hash="00" * 16,
            )
            for number in range(drives)
        ),
        created_at=AT,
        changed_at=AT,
        return_address={"recipientName": "Ada"},
        delivery_package={"carrierName": "FedEx", "trackingNumber": "TRACK-0001"},
    )


class JobMachine(RuleBasedStateMachine):
    """Operators, stations and customers do what they like; the model counts drives only."""

    @initialize(drives=st.integers(1, 4))
    def create(self, drives: int) -> None:
        self.job = new_job(drives)
        self.model = {drive.serial: "travelling" for drive in self.job.drives}
        self.shipped = self.cancelled = self.ended = False

    def settle(self, job: ImportJob) -> None:
        self.job, _ = settle(job, at=AT)

    def pick(self, data: st.DataObject, place: str) -> str:
        return data.draw(st.sampled_from([s for s, at in self.model.items() if at == place]))

    @precondition(lambda self: not self.shipped)
    @rule()
    def ship(self) -> None:
        self.settle(apply_to_job(self.job, JobEvent.SHIPPED, at=AT))
        self.shipped = True

    @precondition(lambda self: self.shipped and "travelling" in self.model.values())
    @rule(data=st.data(), whole=st.booleans())
    def parcel(self, data: st.DataObject, whole: bool) -> None:  # noqa: FBT001 - drawn
        """A parcel brings one drive or all; what it lacks never came, until it does."""
        first = self.pick(data, "travelling")
        job = self.job
        for serial, place in list(self.model.items()):
            if place == "travelling":
                came = whole or serial == first
                event = DriveEvent.RECEIVED if came else DriveEvent.MISSED
                job = apply_to_drive(job, serial, event, at=AT)
                self.model[serial] = "waiting" if came else "lost"
        self.settle(job)

    @precondition(lambda self: not self.ended and "lost" in self.model.values())
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        serial = self.pick(data, "lost")
        self.settle(apply_to_drive(self.job, serial, DriveEvent.RECEIVED, at=AT))
        self.model[serial] = "waiting"

    @precondition(lambda self: "waiting" in self.model.values() and not self.cancelled)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        serial = self.pick(data, "waiting")
        self.settle(apply_to_drive(self.job, serial, DriveEvent.STARTED, at=AT))
        self.model[serial] = "copying"

    @precondition(lambda self: "copying" in self.model.values())
    @rule(data=st.data(), percent=st.integers(0, 100))
    def progress(self, data: st.DataObject, percent: int) -> None:
        serial = self.pick(data, "copying")
        report = DriveReport(percent_complete=percent)
        self.settle(apply_to_drive(self.job, serial, DriveEvent.PROGRESSED, at=AT, report=report))

    @precondition(lambda self: "copying" in self.model.values())
    @rule(data=st.data(), clean=st.booleans())
    def finish(self, data: st.DataObject, clean: bool) -> None:  # noqa: FBT001 - drawn
        serial = self.pick(data, "copying")
        event = DriveEvent.COMPLETED if clean else DriveEvent.COMPLETED_MORE_INFO
        self.settle(apply_to_drive(self.job, serial, event, at=AT))
        self.model[serial] = "done"

    @precondition(lambda self: self.job.state is JobState.PACKAGING)
    @rule()
    def give_back(self) -> None:
        job = self.job
        for serial, place in self.model.items():
            if place in {"done", "waiting"}:
                job = apply_to_drive(job, serial, DriveEvent.SHIPPED_BACK, at=AT)
        self.settle(apply_to_job(job, JobEvent.RETURNED, at=AT))
        self.ended = True

    @precondition(lambda self: not self.ended)
    @rule()
    def cancel(self) -> None:
        self.settle(replace(self.job, cancel_requested=True))
        self.cancelled = True

    @rule()
    def look(self) -> None:
        """Nothing happens; there is always something to do."""

    @invariant()
    def the_job_is_where_its_drives_say(self) -> None:
        places = set(self.model.values())
        busy = {"copying"} if self.cancelled else {"copying", "waiting"}
        if self.ended:
            expected = JobState.COMPLETED
        elif not self.shipped:
            expected = JobState.CREATING
        elif places <= {"travelling", "lost"}:
            expected = JobState.SHIPPING
        elif not self.cancelled and not places & {"copying", "done"}:
            expected = JobState.RECEIVED
        elif places & busy:
            expected = JobState.TRANSFERRING
        else:
            expected = JobState.PACKAGING
        assert self.job.state is expected, (self.job.state, self.model)

    @invariant()
    def progress_is_a_percentage_of_the_drives_that_came(self) -> None:
        percent = self.job.percent_complete
        places = list(self.model.values())
        if not {"copying", "done"} & set(places):
            assert percent is None
        else:
            assert percent is not None
            assert 0 <= percent <= 100
            if set(places) <= {"done", "lost"}:
                assert percent == 100

    @invariant()
    def settling_again_changes_nothing(self) -> None:
        assert settle(self.job, at=AT) == (self.job, [])


TestJobMachine = JobMachine.TestCase
