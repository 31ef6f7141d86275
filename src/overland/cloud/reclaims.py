"""Reclaim as the control plane sees it: begun every day, or when an administrator asks for it."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from overland.cloud import computers, tables
from overland.cloud.computers import SourceComputer
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call, Services
from overland.vault import reclaim
from overland.vault.runs import ReclaimReport, ReclaimRequest, ReclaimRun

__all__ = ["Preview", "begin_due", "enter", "list_runs", "preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would do for one source computer."""

    computer: SourceComputer
    report: ReclaimReport


def begin_due(services: Services) -> int:
    """Begin the daily runs that are due; return how many.  May be called as often as one likes."""
    at = services.clock.now()
    begun: list[str] = []
    with services.database.begin() as connection:
        everybody = _computers(connection, tenant_id=None)
    for each in everybody:
        with services.database.begin() as connection:
            last = services.reclaim.status(connection, each.source_computer_id)
            # A run that began in the future is no reason to wait for it: the clock was wrong.
            if last is not None and last.started_at <= at < last.started_at + reclaim.EVERY:
                continue
            begun.append(services.reclaim.begin(connection, _request(each)))
        services.reclaim.launch(begun[-1])
    return len(begun)


def enter(call: Call, *, source_computer_id: str | None) -> list[str]:
    """Enter a run for each source computer of the tenant, or for one; launch them after commit.

    Raises:
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.RECLAIM)
    return [
        call.services.reclaim.begin(call.connection, _request(each))
        for each in _chosen(call, source_computer_id)
    ]


def preview(
    services: Services, principal: Principal, *, source_computer_id: str | None
) -> list[Preview]:
    """Return what a run would do for each source computer now; changes nothing.

    Of one whose run would be refused the report says why, and the others follow.

    Raises:
        ResourceAbsent: The caller may see no such computer.
        TransientError: As `Reclaim.preview`, for the first one of which it is.
    """
    principal.require(Permission.RECLAIM)
    with services.call(principal) as call:
        chosen = _chosen(call, source_computer_id)
    return [
        Preview(computer=each, report=services.reclaim.preview(_request(each))) for each in chosen
    ]


def list_runs(
    call: Call, *, source_computer_id: str | None
) -> list[tuple[SourceComputer, ReclaimRun]]:
    """Return the last run of each source computer that has had one.

    Raises:
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.RECLAIM)
    found = [
        (each, call.services.reclaim.status(call.connection, each.source_computer_id))
        for each in _chosen(call, source_computer_id)
    ]
    return [(computer, run) for computer, run in found if run is not None]


def _chosen(call: Call, source_computer_id: str | None) -> list[SourceComputer]:
    """Return the computers that are meant: the tenant's, or everybody's for the operator."""
    found = _computers(call.connection, tenant_id=call.principal.scope.tenant_id)
    seen = [each for each in found if computers.may_at(call, each, Permission.RECLAIM)]
    if source_computer_id is None:
        return seen
    chosen = [each for each in seen if each.source_computer_id == source_computer_id]
    if not chosen:
        raise ResourceAbsent(f"source computer {source_computer_id}")
    return chosen


def _computers(connection: Connection, *, tenant_id: str | None) -> list[SourceComputer]:
    wanted = select(tables.source_computers).order_by(tables.source_computers.c.created_at)
    if tenant_id is not None:
        wanted = wanted.where(tables.source_computers.c.tenant_id == tenant_id)
    fields = SourceComputer.__dataclass_fields__
    rows = connection.execute(wanted).mappings()
    return [SourceComputer(**{name: row[name] for name in fields}) for row in rows]


def _request(computer: SourceComputer) -> ReclaimRequest:
    return ReclaimRequest(
        source_computer_id=computer.source_computer_id,
        repository_id=computer.repository_id,
        public_key=computer.signing_public_key,
        vault_space=f"vaults/{computer.vault_id}",
    )
