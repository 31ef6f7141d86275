"""The stored form of reclaim's runs, and what a run reports.

Every function works on a connection, in a transaction of the caller.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import Connection, RowMapping, insert, select, update

from overland.values import PointId, RepositoryId
from overland.vault.owner import Owner
from overland.vault.tables import reclaims

__all__ = [
    "ReclaimReport",
    "ReclaimRequest",
    "ReclaimRun",
    "RunState",
    "end_run",
    "failed",
    "find_run",
    "last_run",
    "list_running",
    "new_run",
    "note_damaged",
    "note_deleted",
    "note_problem",
    "note_waiting",
    "write_report",
]

RunState = Literal["running", "done", "refused", "failed"]
"""*Refused* deleted nothing because something was not safe; *failed* raised on the way."""


class ReclaimRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose objects to look after, and where; the whole run holds to it."""

    source_computer_id: str
    repository_id: RepositoryId
    public_key: str
    vault_space: str

    @property
    def owner(self) -> Owner:
        """The registered source computer, with the signing key that it had then."""
        return Owner(
            source_computer_id=self.source_computer_id,
            repository_id=self.repository_id,
            public_key=bytes.fromhex(self.public_key),
        )


class ReclaimReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, or would do; *waiting* objects are unneeded and not yet for long enough.

    Of the damaged points the files in the vault are damaged or missing; those of the points that
    were put back were so until the cloud's copies took their places.
    """

    points_marked: int = 0
    points_unmarked: int = 0
    points_reclaimed: int = 0
    objects_deleted: int = 0
    bytes_deleted: int = 0
    objects_waiting: int = 0
    bytes_waiting: int = 0
    points_damaged: list[PointId] = []
    points_put_back: list[PointId] = []
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimRun:
    """One run of reclaim for one source computer."""

    run: str
    source_computer_id: str
    number: int
    request: ReclaimRequest
    state: RunState
    report: ReclaimReport
    started_at: datetime
    ended_at: datetime | None


def new_run(connection: Connection, request: ReclaimRequest, *, at: datetime) -> str:
    """Enter the next run of a source computer and return its key."""
    before = last_run(connection, request.source_computer_id)
    number = 1 if before is None else before.number + 1
    run = f"reclaim-{request.source_computer_id}-{number}"
    values = {
        "run": run,
        "source_computer_id": request.source_computer_id,
        "number": number,
        "request": msgspec.json.encode(request).decode(),
        "state": "running",
        "report": msgspec.to_builtins(ReclaimReport()),
        "started_at": at,
    }
    connection.execute(insert(reclaims).values(values))
    return run


def find_run(connection: Connection, run: str) -> ReclaimRun:
    """Return a run that was entered."""
    wanted = select(reclaims).where(reclaims.c.run == run)
    return _run(connection.execute(wanted).mappings().one())


def last_run(connection: Connection, source_computer_id: str) -> ReclaimRun | None:
    """Return the newest run of a source computer, or None before the first."""
    wanted = (
        select(reclaims)
        .where(reclaims.c.source_computer_id == source_computer_id)
        .order_by(reclaims.c.number.desc())
        .limit(1)
    )
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _run(row)


def list_running(connection: Connection) -> list[str]:
    """Return the keys of the runs that have not ended."""
    wanted = select(reclaims.c.run).where(reclaims.c.state == "running")
    return list(connection.execute(wanted.order_by(reclaims.c.started_at)).scalars())


def failed(run: ReclaimRun, problem: str) -> ReclaimRun:
    """Return the run as one of which only the engine knows that it failed."""
    report = msgspec.structs.replace(run.report, problem=problem)
    return replace(run, state="failed", report=report)


def write_report(connection: Connection, run: str, report: ReclaimReport) -> None:
    """Note what the run did to points, beside what it deleted."""
    old = find_run(connection, run).report
    _write(
        connection,
        run,
        msgspec.structs.replace(
            old,
            points_marked=old.points_marked + report.points_marked,
            points_unmarked=old.points_unmarked + report.points_unmarked,
            points_reclaimed=old.points_reclaimed + report.points_reclaimed,
        ),
    )


def note_waiting(connection: Connection, run: str, *, objects: int, size_bytes: int) -> None:
    """Note what is unneeded and stays for now."""
    old = find_run(connection, run).report
    report = msgspec.structs.replace(old, objects_waiting=objects, bytes_waiting=size_bytes)
    _write(connection, run, report)


def note_deleted(connection: Connection, run: str, *, objects: int, size_bytes: int) -> None:
    """Add what a step has deleted."""
    old = find_run(connection, run).report
    report = msgspec.structs.replace(
        old,
        objects_deleted=old.objects_deleted + objects,
        bytes_deleted=old.bytes_deleted + size_bytes,
    )
    _write(connection, run, report)


def note_problem(connection: Connection, run: str, problem: str) -> None:
    """Note why nothing is deleted."""
    old = find_run(connection, run).report
    _write(connection, run, msgspec.structs.replace(old, problem=problem))


def note_damaged(
    connection: Connection, run: str, points: Iterable[PointId], *, back: Iterable[PointId]
) -> None:
    """Note the points whose own files were damaged or missing, and which were put back."""
    old = find_run(connection, run).report
    put_back = sorted({*old.points_put_back, *back})
    damaged = sorted({*points}.difference(put_back))
    report = msgspec.structs.replace(old, points_damaged=damaged, points_put_back=put_back)
    _write(connection, run, report)


def end_run(
    connection: Connection, run: str, report: ReclaimReport, *, state: RunState, at: datetime
) -> None:
    """Note how a run ended."""
    _update(
        connection,
        run,
        {"state": state, "report": msgspec.to_builtins(report), "ended_at": at},
    )


def _write(connection: Connection, run: str, report: ReclaimReport) -> None:
    _update(connection, run, {"report": msgspec.to_builtins(report)})


def _update(connection: Connection, run: str, values: Mapping[str, object]) -> None:
    changed = connection.execute(update(reclaims).where(reclaims.c.run == run).values(values))
    assert changed.rowcount == 1, "a run is entered before it is worked on"


def _run(row: RowMapping) -> ReclaimRun:
    values = {name: row[name] for name in ReclaimRun.__dataclass_fields__}
    request = msgspec.json.decode(row["request"], type=ReclaimRequest)
    report = msgspec.convert(row["report"], ReclaimReport)
    return ReclaimRun(**(values | {"request": request, "report": report}))
