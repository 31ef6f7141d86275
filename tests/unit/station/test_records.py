"""The station's own tables: made by their migration, and durable at each step."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData
from tests.support.docked import an_item

from overland.adapters.database import open_database
from overland.format.copy_log import BlobStatus, DriveStatus, PartStatus
from overland.station import tables
from overland.station.items import LANDED, DriveKey, Item, Verdict
from overland.station.records import Failure, Records, StoredDrive

KEY = DriveKey(job_id="job", serial="D1")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    database = open_database(tmp_path / "station.db", "station")
    yield database
    database.dispose()


def test_the_migrations_make_the_tables_that_the_program_declares(database: Engine) -> None:
    made = MetaData()
    made.reflect(database)

    assert set(made.tables) - {"alembic_version"} == set(tables.metadata.tables)
    for name, declared in tables.metadata.tables.items():
        columns = {c.name: (str(c.type), c.nullable, c.primary_key) for c in declared.columns}
        found = {
            c.name: (str(c.type), c.nullable, c.primary_key) for c in made.tables[name].columns
        }
        assert found == columns, name
        assert {i.name for i in made.tables[name].indexes} == {i.name for i in declared.indexes}


def test_a_list_of_objects_that_breaks_off_counts_for_nothing(database: Engine) -> None:
    records = Records(database)
    records.open_import(KEY, path="/drives/D1")
    item = an_item(b"object", [(0, 6)])

    def broken() -> Iterator[Item]:
        yield item
        raise OSError(5, "bad sector")

    with pytest.raises(OSError, match="bad sector"):
        records.list_items(KEY, broken(), manifest_bytes=1, manifest_sha256="")
    again = records.list_items(KEY, [item], manifest_bytes=1, manifest_sha256="")

    assert (again.stage, again.total_objects, again.total_bytes) == ("importing", 1, 6)
    assert list(records.items(KEY)) == [item]


def test_verdicts_are_kept_and_counted(database: Engine) -> None:
    records = Records(database)
    records.open_import(KEY, path="/drives/D1")
    item = an_item(b"object", [(0, 4), (4, 2)])
    numbered = [
        Item(number=n, name=f"o{n}", size_bytes=6, sha256=item.sha256, blob=item.blob)
        for n in range(3)
    ]
    records.list_items(KEY, numbered, manifest_bytes=1, manifest_sha256="")
    bad = Verdict(
        status=BlobStatus.COMPLETED_WITH_ERRORS,
        parts=(PartStatus.COMPLETED, PartStatus.CORRUPTED),
    )

    records.settle_all(KEY, [(0, LANDED), (1, bad)])

    counts = records.counts(KEY)
    assert (counts.landed, counts.landed_bytes, counts.damaged, counts.open) == (1, 6, 1, 1)
    assert [each.name for each in records.open_items(KEY, first=0, last=2)] == ["o2"]
    [damaged] = records.damaged_items(KEY)
    assert damaged.verdict == bad
    assert damaged.damaged_parts() == [(4, 2, "Corrupted")]


def test_an_end_keeps_its_first_instant_and_another_attempt_forgets_the_stop(
    database: Engine,
) -> None:
    records = Records(database)
    records.open_import(KEY, path="/drives/D1")
    first = datetime(2027, 3, 1, tzinfo=UTC)
    assert records.set_end(KEY, at=first) == first
    assert records.set_end(KEY, at=first + timedelta(days=1)) == first
    records.stop(KEY, OSError(5, "gone"))
    records.fail(KEY, Failure(status=DriveStatus.DISK_NOT_FOUND, reason="not there"))

    records.try_again(KEY)

    found = records.find_import(KEY)
    assert found is not None
    assert (found.attempt, found.stop) == (2, None)


@pytest.mark.parametrize("serial", ["FILMS1", "films1", "Films1"])
def test_the_place_of_a_drive_is_noted_whatever_the_case_of_its_serial(
    database: Engine, serial: str
) -> None:
    records = Records(database)
    drives = [
        StoredDrive(
            serial=each,
            parcel_id="p",
            parcel_job_id=None,
            outcome="received",
            path=None,
            received_at="2027-03-01",
        )
        for each in ("FILMS1", "FILMS12")
    ]
    records.book_in(
        parcel_id="p",
        job_id=None,
        tracking_number="TRACK-1",
        carrier="UPS",
        flags=(),
        found=drives,
        at=datetime(2027, 3, 1, tzinfo=UTC),
    )
    records.note_path(serial, "/drives/films")
    assert [each.path for each in records.drives()] == ["/drives/films", None]
