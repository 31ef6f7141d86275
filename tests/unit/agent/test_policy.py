"""Policies: every rule of the offline page at its border, and the schedule."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.simdisk import PowerCut, SimDisk

from overland.agent.data import chunk_sizes
from overland.agent.policy import (
    CommandSource,
    OfflineSettings,
    Policies,
    Policy,
    PolicyInvalid,
    Progress,
    Schedule,
    SeedPhase,
    is_due,
    next_run,
)
from overland.errors import RefusedError
from overland.format.stored import RecordDamaged
from overland.source.chunker import DEFAULT_SIZES, IMAGE_SIZES, Sizes
from overland.source.rules import PatternInvalid

SIX = {
    "staging_location": "/mnt/staging",
    "publish_settings": "/home/admin/x.publishsettings",
    "job_name": "harbour-import-07",
    "subscription_id": "11111111-2222-3333-4444-555555555555",
    "storage_account": "harbourdata",
    "container": "seeds",
}


def offline_policy(**changes: str) -> Policy:
    return Policy(
        name="files",
        sources=("/srv",),
        first_copy="offline",
        offline=OfflineSettings(**(SIX | changes)),
    )


@pytest.mark.requirement("R51")
@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("job_name", ["ab", "a" * 64, "a-_9"], ["", "a", "a" * 65, "9ab", "Ab", "a b", "-a"]),
        ("storage_account", ["abc", "a" * 24, "0ab"], ["ab", "a" * 25, "Abc", "a-b", "a_b"]),
        (
            "container",
            ["abc", "a" * 63, "0-a"],
            ["ab", "a" * 64, "a--b", "-ab", "ab-", "Abc", "a_b"],
        ),
        ("subscription_id", [SIX["subscription_id"]], ["", "x", "11111111-2222-3333-4444"]),
        ("staging_location", ["/mnt"], ["mnt", ""]),
        ("publish_settings", ["/x"], ["x", ""]),
    ],
)
def test_each_field_of_the_offline_page_keeps_its_rule(
    field: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        offline_policy(**{field: value}).checked()
    for value in bad:
        with pytest.raises(PolicyInvalid) as refused:
            offline_policy(**{field: value}).checked()
        assert refused.value.field == field, value


@pytest.mark.requirement("R50")
@pytest.mark.parametrize("left_out", sorted(SIX))
def test_offline_needs_all_six_fields(left_out: str) -> None:
    stored = msgspec.json.encode({key: value for key, value in SIX.items() if key != left_out})
    with pytest.raises(msgspec.ValidationError, match=left_out):
        msgspec.json.decode(stored, type=OfflineSettings)


def test_an_offline_first_copy_without_its_page_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match="all six"):
        Policy(name="files", sources=("/srv",), first_copy="offline").checked()


@pytest.mark.parametrize(
    "times", [(), ("22:15",), ("24:00",), ("9:00",), ("01:00", "02:00", "03:00", "04:00")]
)
def test_a_schedule_has_one_to_three_full_or_half_hours(times: tuple[str, ...]) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        msgspec.structs.replace(offline_policy(), schedule=Schedule(times=times)).checked()
    assert refused.value.field == "schedule"


@pytest.mark.parametrize(
    "sources", [(), ("srv",), ("/srv/\udcff",), ("/srv/../etc",), ("/srv/./x",), ("//srv",)]
)
def test_sources_are_absolute_and_utf8(sources: tuple[str, ...]) -> None:
    with pytest.raises(PolicyInvalid):
        msgspec.structs.replace(offline_policy(), sources=sources).checked()


@given(
    at=st.datetimes(
        min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(2030, 1, 1),  # noqa: DTZ001 - the same
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=9, minutes=30))]),
    ),
    times=st.lists(
        st.sampled_from(["00:00", "09:30", "22:00", "23:30"]), min_size=1, max_size=3, unique=True
    ),
    days=st.lists(st.sampled_from(["mon", "wed", "fri", "sat", "sun"]), min_size=1, unique=True),
)
def test_the_next_run_is_the_first_half_hour_that_the_schedule_names(
    at: datetime, times: list[str], days: list[str]
) -> None:
    schedule = msgspec.convert({"times": times, "days": days}, Schedule)
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    slow = at.replace(minute=0, second=0, microsecond=0)
    while not (slow > at and slow.strftime("%H:%M") in times and names[slow.weekday()] in days):
        slow += timedelta(minutes=30)
    assert next_run(schedule, after=at) == slow


@pytest.mark.requirement("R59")
def test_policies_come_back_as_they_were_saved() -> None:
    policies = Policies(SimDisk())
    policies.save(offline_policy())
    assert policies.names() == ["files"]
    assert policies.load("files") == offline_policy()
    assert policies.progress("files") == Progress(phase=SeedPhase.CONFIGURED)
    policies.record("files", Progress(phase=SeedPhase.ONLINE, last_point_id="x"))
    assert policies.progress("files").last_point_id == "x"
    policies.delete("files")
    assert policies.names() == []
    with pytest.raises(RefusedError, match="no policy"):
        policies.load("files")


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", "a" * 65])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(PolicyInvalid):
        Policies(SimDisk()).load(name)


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last_run_at", "due"),
    [
        (None, True),
        (NOON - timedelta(hours=1), False),
        (NOON - timedelta(hours=2, seconds=1), True),
        (NOON + timedelta(minutes=1), False),
        (NOON + timedelta(days=1000), True),
    ],
    ids=["never ran", "ran since", "a time has passed", "the clock drifted", "the clock was wrong"],
)
def test_a_policy_is_due_when_a_time_has_passed_since_its_last_run(
    last_run_at: datetime | None, *, due: bool
) -> None:
    assert is_due(Schedule(times=("10:00", "22:00")), last_run_at=last_run_at, now=NOON) is due


def test_a_policy_that_was_copied_by_hand_does_not_go_on_with_the_other_ones_seed() -> None:
    disk = SimDisk()
    policies = Policies(disk)
    policies.save(offline_policy())
    disk.write("policies/copy.policy.json", disk.read("policies/files.policy.json"))
    with pytest.raises(RecordDamaged, match="it is the policy files"):
        policies.load("copy")


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 1e7])
def test_a_command_may_be_silent_for_a_time_that_can_be_waited(timeout_s: float) -> None:
    command = CommandSource(name="x", argv=("x",), timeout_s=timeout_s)
    policy = Policy(name="files", sources=(), commands=(command,), first_copy="network")
    with pytest.raises(PolicyInvalid) as refused:
        policy.checked()
    assert refused.value.field == "timeout"


@pytest.mark.crash
def test_a_new_policy_never_goes_on_with_what_a_deleted_one_of_its_name_did() -> None:
    step = 0
    while True:
        disk = SimDisk()
        Policies(disk).save(offline_policy())
        Policies(disk).record("files", Progress(phase=SeedPhase.ONLINE, last_point_id="x"))
        disk = disk.restart(cut_at=step, seed=step)
        try:
            Policies(disk).delete("files")
            is_cut = False
        except PowerCut:
            is_cut = True
        policies = Policies(disk.restart())
        if "files" in policies.names():  # it is not deleted yet: that can be done again
            assert is_cut
            assert policies.load("files") == offline_policy()
            policies.delete("files")
        policies.save(offline_policy())
        assert policies.progress("files") == Progress(phase=SeedPhase.CONFIGURED), step
        if not is_cut:
            break
        step += 1
    assert step > 1, "there was something to cut"


@pytest.mark.parametrize("pattern", ["[", ""])
def test_a_policy_with_a_pattern_that_nobody_understands_is_left_out_of_chunk_sizes(
    pattern: str,
) -> None:
    disk = SimDisk()
    policies = Policies(disk)
    policies.save(Policy(name="good", sources=("/srv",), first_copy="network", mean_chunk_kib=512))
    bad = Policy(name="bad", sources=("/srv",), first_copy="network", exclude=(pattern,))
    disk.write("policies/bad.policy.json", msgspec.json.encode(bad))
    with pytest.raises(PatternInvalid):
        policies.load("bad")
    assert chunk_sizes(policies) == [Sizes.around(512 << 10), IMAGE_SIZES, DEFAULT_SIZES]
