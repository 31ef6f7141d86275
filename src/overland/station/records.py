"""What a station knows, in its own tables: parcels, drives that are here, and their imports.

Every method is one transaction, or a row of short ones: what it said is durable when it returns,
and a method that was killed can be called again.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Engine, RowMapping, Table, and_, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from overland.errors import IntegrityError, OverlandError, RefusedError, TransientError
from overland.format.copy_log import NOTED, BlobStatus, DispositionStatus, DriveStatus
from overland.station.itemrows import item_row, place_columns, read_item
from overland.station.items import DriveKey, Item, Place, Verdict
from overland.station.tables import drives, import_objects, imports, parcels

__all__ = ["Counts", "Failure", "Import", "Records", "Stage", "Stop", "StoredDrive"]

Stage = Literal["opening", "importing", "ended"]
"""Where the import of a drive is: its manifests are read, its objects are, or it is over."""

_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDrive:
    """A drive that came with a parcel; `path` is where it was opened last, if it could be."""

    serial: str
    parcel_id: str
    parcel_job_id: str | None
    outcome: str
    path: str | None
    received_at: str
    returned_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a drive as a whole could not be imported."""

    status: DriveStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why an import is standing still; it goes on when it is started again."""

    family: Literal["refused", "integrity", "transient", "other"]
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """The import of one drive."""

    key: DriveKey
    path: str
    attempt: int
    stage: Stage
    total_objects: int
    total_bytes: int
    manifest_bytes: int
    manifest_sha256: str
    failure: Failure | None
    ended_at: datetime | None
    stop: Stop | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many objects of a drive landed, were damaged, and are still open.

    `noted` tells what dispositions led to, such as `Renamed`, for those that landed.
    """

    landed: int = 0
    landed_bytes: int = 0
    damaged: int = 0
    open: int = 0
    noted: Mapping[str, int] = field(default_factory=dict)


class Records:
    """The tables of one station; its methods may be called from several threads."""

    def __init__(self, database: Engine) -> None:
        self._database = database

    # Parcels and drives.

    def book_in(
        self,
        *,
        parcel_id: str,
        job_id: str | None,
        tracking_number: str,
        carrier: str,
        flags: Sequence[str],
        found: Iterable[StoredDrive],
        at: datetime,
    ) -> None:
        """Keep a parcel with its drives; again is the same as once."""
        parcel = {
            "parcel_id": parcel_id,
            "job_id": job_id,
            "tracking_number": tracking_number,
            "carrier": carrier,
            "received_at": at.isoformat(),
            "flags": list(flags),
        }
        with self._database.begin() as connection:
            connection.execute(delete(parcels).where(parcels.c.parcel_id == parcel_id))
            connection.execute(insert(parcels).values(**parcel))
            for drive in found:
                row = {name: getattr(drive, name) for name in StoredDrive.__dataclass_fields__}
                connection.execute(delete(drives).where(drives.c.serial == drive.serial))
                connection.execute(insert(drives).values(**row))

    def drives(self) -> list[StoredDrive]:
        """Return the drives that are here, by serial number."""
        wanted = select(drives).where(drives.c.returned_at.is_(None)).order_by(drives.c.serial)
        with self._database.connect() as connection:
            rows = connection.execute(wanted).mappings()
            return [StoredDrive(**row) for row in rows]

    def note_path(self, serial: str, path: str) -> None:
        """Remember where a drive is attached; does nothing for a drive that is not known here.

        Case does not count in serial numbers, as with everything that people copy from labels.
        """
        same = func.lower(drives.c.serial) == serial.lower()
        self._change(drives, same, path=path)

    def note_returned(self, key: DriveKey, *, at: datetime) -> None:
        """Keep that a drive was sent back, and forget the list of its objects."""
        with self._database.begin() as connection:
            here = drives.c.serial == key.serial
            connection.execute(update(drives).where(here).values(returned_at=at.isoformat()))
            connection.execute(delete(import_objects).where(_of(import_objects, key)))

    # Imports.

    def open_import(self, key: DriveKey, *, path: str) -> Import:
        """Begin the import of a drive at `path`, or take up one that was begun."""
        with self._database.begin() as connection:
            known = connection.execute(select(imports).where(_of(imports, key))).first()
            if known is None:
                row = {"job_id": key.job_id, "serial": key.serial, "stage": "opening"}
                zeros = {"attempt": 1, "total_objects": 0, "total_bytes": 0, "manifest_bytes": 0}
                values = {**row, **zeros, "path": path, "manifest_sha256": ""}
                connection.execute(insert(imports).values(**values))
            else:
                connection.execute(update(imports).where(_of(imports, key)).values(path=path))
        found = self.find_import(key)
        assert found is not None, "it was stored above"
        return found

    def find_import(self, key: DriveKey) -> Import | None:
        """Return the import of a drive, or None if none was begun."""
        with self._database.connect() as connection:
            row = connection.execute(select(imports).where(_of(imports, key))).mappings().first()
        return None if row is None else _import(row)

    def try_again(self, key: DriveKey) -> None:
        """Count another attempt, and forget why the last one stopped."""
        forgotten = {"stop_family": None, "stop_code": None, "stop_message": None}
        self._change(imports, _of(imports, key), attempt=imports.c.attempt + 1, **forgotten)

    def list_items(
        self, key: DriveKey, items: Iterable[Item], *, manifest_bytes: int, manifest_sha256: str
    ) -> Import:
        """Store the objects of a drive, unless they are stored; return the import.

        The objects count only when `items` has ended without an error.
        """
        known = self.find_import(key)
        assert known is not None, "an import is opened before its objects are listed"
        if known.stage != "opening":
            return known
        with self._database.begin() as connection:
            connection.execute(delete(import_objects).where(_of(import_objects, key)))
        count = size_bytes = 0
        # In short transactions, so that the import of another drive never waits for this one.
        for batch in _batches(items):
            rows = [item_row(key, item) for item in batch]
            with self._database.begin() as connection:
                connection.execute(insert(import_objects), rows)
            count, size_bytes = count + len(rows), size_bytes + sum(i.size_bytes for i in batch)
        totals = {"total_objects": count, "total_bytes": size_bytes}
        manifest = {"manifest_bytes": manifest_bytes, "manifest_sha256": manifest_sha256}
        none = {"failure": None, "failure_reason": None}  # an earlier attempt may have failed
        values = {"stage": "importing", **totals, **manifest, **none}
        self._change(imports, _of(imports, key), **values)
        found = self.find_import(key)
        assert found is not None, "it was stored above"
        return found

    def begin_export(self, key: DriveKey, *, path: str) -> bool:
        """Begin to fill a drive at `path`, or begin anew; return whether it was begun before."""
        is_known = self.find_import(key) is not None
        self.open_import(key, path=path)
        with self._database.begin() as connection:
            connection.execute(delete(import_objects).where(_of(import_objects, key)))
        self._change(imports, _of(imports, key), stage="importing")
        return is_known

    def add_exported(self, key: DriveKey, item: Item) -> None:
        """Keep a blob of an export with how it went."""
        assert item.verdict is not None, "an exported blob is settled when it is kept"
        with self._database.begin() as connection:
            connection.execute(insert(import_objects), [item_row(key, item)])
        self.settle(key, item.number, item.verdict)

    def note_manifest(self, key: DriveKey, *, size_bytes: int, sha256: str) -> None:
        """Keep what the manifest of a filled drive is, for its copy."""
        values = {"manifest_bytes": size_bytes, "manifest_sha256": sha256}
        self._change(imports, _of(imports, key), **values)

    def open_items(self, key: DriveKey, *, first: int, last: int) -> list[Item]:
        """Return the objects numbered `first` to `last` whose import is open."""
        chosen = import_objects.c.number.between(first, last)
        return self._items(key, and_(chosen, import_objects.c.verdict.is_(None)))

    def damaged_items(self, key: DriveKey) -> list[Item]:
        """Return the objects that did not land."""
        column = import_objects.c.verdict
        return self._items(key, and_(column.is_not(None), column != BlobStatus.COMPLETED.value))

    def items(self, key: DriveKey) -> Iterator[Item]:
        """Yield all objects of a drive in order; memory does not grow with their number."""
        start = 0
        while batch := self._items(
            key, import_objects.c.number.between(start, start + _ROWS_AT_ONCE - 1)
        ):
            yield from batch
            start += _ROWS_AT_ONCE

    def settle(self, key: DriveKey, number: int, verdict: Verdict) -> None:
        """Keep how the import of an object went."""
        self.settle_all(key, [(number, verdict)])

    def settle_all(self, key: DriveKey, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        """Keep how the imports of some objects went, all or none, for the price of one sync."""
        with self._database.begin() as connection:
            for number, verdict in verdicts:
                where = and_(_of(import_objects, key), import_objects.c.number == number)
                values = {
                    "verdict": verdict.status.value,
                    "parts": msgspec.msgpack.encode(verdict.parts),
                    "metadata_status": verdict.metadata,
                    "properties_status": verdict.properties,
                    **place_columns(verdict.place),
                }
                connection.execute(update(import_objects).where(where).values(**values))

    def choose_place(self, key: DriveKey, number: int, place: Place) -> None:
        """Keep where a blob goes, before it is sent there."""
        where = and_(_of(import_objects, key), import_objects.c.number == number)
        self._change(import_objects, where, **place_columns(place))

    def counts(self, key: DriveKey) -> Counts:
        """Count the objects of a drive."""
        column, size_bytes = import_objects.c.verdict, import_objects.c.size_bytes
        wanted = select(column, func.count(), func.sum(size_bytes)).group_by(column)
        with self._database.connect() as connection:
            rows = connection.execute(wanted.where(_of(import_objects, key))).all()
        found = {verdict: (count, total) for verdict, count, total in rows}
        landed, landed_bytes = found.pop(BlobStatus.COMPLETED.value, (0, 0))
        waiting, _ = found.pop(None, (0, 0))
        noted = self._noted(key)
        _, skipped_bytes = noted.get(DispositionStatus.SKIPPED.value, (0, 0))
        return Counts(
            landed=landed,
            landed_bytes=landed_bytes - skipped_bytes,
            damaged=sum(count for count, _ in found.values()),
            open=waiting,
            noted={name: count for name, (count, _) in noted.items()},
        )

    def _noted(self, key: DriveKey) -> dict[str, tuple[int, int]]:
        """Return for each disposition of note how many landed objects had it, and their bytes."""
        column, size_bytes = import_objects.c.disposition, import_objects.c.size_bytes
        wanted = select(column, func.count(), func.sum(size_bytes)).group_by(column)
        chosen = and_(
            _of(import_objects, key),
            import_objects.c.verdict == BlobStatus.COMPLETED.value,
            column.in_([each.value for each in NOTED]),
        )
        with self._database.connect() as connection:
            rows = connection.execute(wanted.where(chosen)).all()
        return {name: (count, total) for name, count, total in rows}

    def fail(self, key: DriveKey, failure: Failure) -> None:
        """Keep why a drive as a whole cannot be imported."""
        values = {"failure": failure.status.value, "failure_reason": failure.reason}
        self._change(imports, _of(imports, key), **values)

    def set_end(self, key: DriveKey, *, at: datetime) -> datetime:
        """Return the instant at which the import ended: the first that was given, for good.

        The names of its logs hold it, so that writing them again writes them once.
        """
        where = and_(_of(imports, key), imports.c.ended_at.is_(None))
        self._change(imports, where, ended_at=at.isoformat())
        found = self.find_import(key)
        assert found is not None, "what ends was begun"
        assert found.ended_at is not None, "it was stored above"
        return found.ended_at

    def end(self, key: DriveKey) -> None:
        """Keep that the import is over and the cloud knows it."""
        self._change(imports, _of(imports, key), stage="ended")

    def stop(self, key: DriveKey, error: OverlandError | OSError) -> None:
        """Keep why the import stands still."""
        code = error.code if isinstance(error, OverlandError) else "operating-system"
        values = {"stop_family": _family(error), "stop_code": code, "stop_message": str(error)}
        self._change(imports, _of(imports, key), **values)

    def _items(self, key: DriveKey, where: ColumnElement[bool]) -> list[Item]:
        wanted = select(import_objects).where(_of(import_objects, key), where)
        with self._database.connect() as connection:
            rows = connection.execute(wanted.order_by(import_objects.c.number)).mappings()
            return [read_item(row) for row in rows]

    def _change(self, table: Table, where: ColumnElement[bool], **values: Any) -> None:
        # Column values of any type.
        with self._database.begin() as connection:
            connection.execute(update(table).where(where).values(**values))


def _of(table: Table, key: DriveKey) -> ColumnElement[bool]:
    return and_(table.c.job_id == key.job_id, table.c.serial == key.serial)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _ROWS_AT_ONCE)):
        yield batch


def _import(row: RowMapping) -> Import:
    failure, stop = None, None
    if row["failure"] is not None:
        failure = Failure(status=DriveStatus(row["failure"]), reason=row["failure_reason"])
    if row["stop_family"] is not None:
        stop = Stop(family=row["stop_family"], code=row["stop_code"], message=row["stop_message"])
    ended_at = row["ended_at"]
    return Import(
        key=DriveKey(job_id=row["job_id"], serial=row["serial"]),
        path=row["path"],
        attempt=row["attempt"],
        stage=row["stage"],
        total_objects=row["total_objects"],
        total_bytes=row["total_bytes"],
        manifest_bytes=row["manifest_bytes"],
        manifest_sha256=row["manifest_sha256"],
        failure=failure,
        ended_at=None if ended_at is None else datetime.fromisoformat(ended_at),
        stop=stop,
    )


def _family(error: Exception) -> Literal["refused", "integrity", "transient", "other"]:
    match error:
        case RefusedError():
            return "refused"
        case IntegrityError():
            return "integrity"
        case TransientError():
            return "transient"
        case _:
            return "other"
