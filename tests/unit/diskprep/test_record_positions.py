"""Which objects wait for a drive is what sets of positions tell, in few bytes."""

import tracemalloc
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from overland.diskprep.record import DriveRecord, DriveState, Preparation, runs_of

MANY = 200_000


def preparation(
    wanted: set[int], drives: list[tuple[DriveState, set[int]]], *, top_up: int = 1
) -> Preparation:
    return Preparation(
        seed_id="seed",
        job_name="job",
        staging="staging",
        subscription_id="subscription",
        storage_account="account",
        container="container",
        seed_manifest_sha256="0" * 64,
        object_count=len(wanted),
        object_bytes=0,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        drives=tuple(
            DriveRecord(
                serial=f"D{sequence}",
                path=f"/drive/{sequence}",
                sequence=sequence,
                state=state,
                capacity_bytes=1,
                runs=runs_of(sorted(numbers)),
                object_bytes=0,
            )
            for sequence, (state, numbers) in enumerate(drives, 1)
        ),
        top_up=top_up,
        runs=runs_of(sorted(wanted)) if top_up else (),
    )


numbers = st.sets(st.integers(0, 30))


@given(
    wanted=numbers,
    drives=st.lists(st.tuples(st.sampled_from(DriveState), numbers), max_size=4),
    is_first=st.booleans(),
)
def test_what_waits_is_what_no_drive_has(
    wanted: set[int], drives: list[tuple[DriveState, set[int]]], *, is_first: bool
) -> None:
    if is_first:
        wanted = set(range(len(wanted)))
    record = preparation(wanted, drives, top_up=0 if is_first else 1)
    cared = [own for state, own in drives if state is not DriveState.GIVEN_UP]
    assert [*record.waiting()] == sorted(wanted - set[int]().union(*cared))
    sealed = [own for state, own in drives if state is DriveState.SEALED]
    assert [*record.not_on(record.sealed())] == sorted(wanted - set[int]().union(*sealed))


def test_what_waits_takes_five_bytes_for_each_object() -> None:
    half = set(range(0, MANY, 2)) | set(range(MANY // 2))
    record = preparation(set(range(MANY)), [(DriveState.SEALED, half)], top_up=0)
    tracemalloc.start()
    try:
        assert len(record.waiting()) == MANY - len(half)
        peak = tracemalloc.get_traced_memory()[1]
        assert len({n for drive in record.drives for n in drive.numbers()}) == len(half)
        assert tracemalloc.get_traced_memory()[1] > 2 * 12 * MANY
    finally:
        tracemalloc.stop()
    assert peak < 12 * MANY, "with the list of runs, of which there are many here"
