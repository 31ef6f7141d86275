"""Applications: identities of programs, known by the certificates that were entered for them.

Several computers can share one application, each with a certificate of its own.  A certificate
speaks for one source computer, and what it opens is bounded by that: the import jobs of that
computer's seeds, what has arrived of them, and the beginning of their adoption.  Who enters the
certificate says which computer it is; a certificate that was entered without one opens nothing
until a computer claims it, with its own token and with the certificate's private key.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from overland.cloud import audit, computers, names
from overland.cloud import tables_applications as tables
from overland.cloud.certificatefiles import Certificate, read_certificate
from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import Conflict, Forbidden, Invalid, ResourceAbsent
from overland.cloud.services import Call

__all__ = [
    "MINE",
    "Application",
    "Enrolled",
    "add_certificate",
    "add_owner",
    "bind_certificate",
    "create",
    "delete_application",
    "find_certificates",
    "get",
    "list_applications",
    "load",
    "owners",
    "remove_certificate",
    "remove_owner",
]

MINE: Final = "mine"
"""Stands for the caller's own tenant in paths."""

_MAX_APPLICATIONS: Final = 1000  # of a tenant
_MAX_CERTIFICATES: Final = 200  # of an application: servers that share it
_MAX_OWNERS: Final = 100
_MAX_NAME_CHARS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application of a tenant; its id is also its OAuth client id."""

    application_id: str
    tenant_id: str
    name: str
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A certificate that was entered for an application, and the computer it speaks for."""

    application_id: str
    certificate: Certificate
    source_computer_id: str | None
    added_by: str
    added_at: datetime


def create(call: Call, tenant_id: str, name: str) -> tuple[Application, bool]:
    """Make an application, or find the one of this name; say whether it is new.

    The person who makes it is its first owner.

    Raises:
        Invalid: The name breaks the rule.
        Conflict: The tenant has too many.
    """
    _require(call, tenant_id)
    names.check_label(name, what="name", longest=_MAX_NAME_CHARS)
    columns = tables.applications.c
    own = columns.tenant_id == call.principal.tenant_id
    named = select(tables.applications).where(own, columns.name_key == name.casefold())
    row = call.connection.execute(named).mappings().one_or_none()
    if row is not None:
        return _application(row), False
    if (
        call.connection.execute(select(func.count()).where(own)).scalar() or 0
    ) >= _MAX_APPLICATIONS:
        raise Conflict("name", f"a tenant has at most {_MAX_APPLICATIONS} applications")
    made = Application(
        application_id=call.new_id(),
        tenant_id=call.principal.tenant_id,
        name=name,
        created_by=call.principal.name,
        created_at=call.at,
    )
    values = {field: getattr(made, field) for field in Application.__dataclass_fields__}
    call.connection.execute(insert(tables.applications).values(**values, name_key=name.casefold()))
    audit.note(call, "application-created", target=_target(made.application_id, name))
    if call.principal.role is Role.USER and call.principal.subject_id is not None:
        add_owner(call, tenant_id, made.application_id, call.principal.subject_id)
    return made, True


def list_applications(
    call: Call, tenant_id: str, *, name: str | None = None, owner: str | None = None
) -> list[Application]:
    """Return the tenant's applications by name: all, the one so called, or somebody's own."""
    _require(call, tenant_id)
    columns = tables.applications.c
    wanted = select(tables.applications).where(columns.tenant_id == call.principal.tenant_id)
    if name is not None:
        wanted = wanted.where(columns.name_key == name.casefold())
    if owner is not None:
        owned = tables.application_owners.c
        theirs = select(owned.application_id).where(owned.user_id == owner)
        wanted = wanted.where(columns.application_id.in_(theirs))
    rows = call.connection.execute(wanted.order_by(columns.name_key)).mappings()
    return [_application(row) for row in rows]


def get(call: Call, tenant_id: str, application_id: str) -> Application:
    """Return an application.

    Raises:
        ResourceAbsent: The tenant has none of this id.
    """
    _require(call, tenant_id)
    found = load(call.connection, application_id, tenant_id=call.principal.tenant_id)
    if found is None:
        raise ResourceAbsent(f"application {application_id}")
    return found


def delete_application(call: Call, tenant_id: str, application_id: str) -> None:
    """Remove an application with its certificates; its tokens open nothing from now on."""
    found = get(call, tenant_id, application_id)
    for table in (
        tables.application_certificates,
        tables.application_owners,
        tables.applications,
    ):
        here = table.c.application_id == found.application_id
        call.connection.execute(delete(table).where(here))
    audit.note(call, "application-deleted", target=_target(found.application_id, found.name))


def owners(call: Call, application: Application) -> list[str]:
    """Return the ids of the users who answer for an application, first added first."""
    columns = tables.application_owners.c
    wanted = select(columns.user_id).where(columns.application_id == application.application_id)
    return list(
        call.connection.execute(wanted.order_by(columns.added_at, columns.user_id)).scalars()
    )


def add_owner(call: Call, tenant_id: str, application_id: str, user_id: str) -> None:
    """Enter a user as owner; again does nothing.  Rights come from roles, not from this.

    Raises:
        Invalid: `user_id` is no UUID; whether there is such a user, nobody asks.
        Conflict: The application has too many owners.
    """
    found = get(call, tenant_id, application_id)
    user = names.check_uuid(user_id, what="user_id")
    known = owners(call, found)
    if user in known:
        return
    if len(known) >= _MAX_OWNERS:
        raise Conflict("user_id", f"an application has at most {_MAX_OWNERS} owners")
    values = {"application_id": found.application_id, "user_id": user, "added_at": call.at}
    call.connection.execute(insert(tables.application_owners).values(**values))
    audit.note(call, "owner-added", target=_target(found.application_id, user))


def remove_owner(call: Call, tenant_id: str, application_id: str, user_id: str) -> None:
    """Remove an owner; who is none stays none, and then the audit has no row of it."""
    found = get(call, tenant_id, application_id)
    columns = tables.application_owners.c
    removed = call.connection.execute(
        delete(tables.application_owners).where(
            columns.application_id == found.application_id, columns.user_id == user_id
        )
    )
    if removed.rowcount:
        audit.note(call, "owner-removed", target=_target(found.application_id, user_id))


def add_certificate(
    call: Call,
    tenant_id: str,
    application_id: str,
    *,
    content: bytes,
    source_computer_id: str | None,
) -> tuple[Enrolled, bool]:
    """Enter a certificate beside those that are there; say whether it is new.

    Args:
        call: The request.
        tenant_id: Whose application it is.
        application_id: The application.
        content: The `.cer` file.
        source_computer_id: For which computer it speaks; None until that claims it.

    Raises:
        Invalid: It is no fit certificate, or has expired; or there is no such computer.
        Conflict: It speaks for another computer already, or there are too many.
    """
    application = get(call, tenant_id, application_id)
    certificate = read_certificate(content)
    if call.at >= certificate.not_after:
        raise Invalid(
            "certificate",
            f"it expired at {certificate.not_after.isoformat()}; make a new one",
        )
    computer_id = None
    if source_computer_id is not None:
        computer_id = _computer_of_tenant(call, source_computer_id)
    present = find_certificates(call.connection, application.application_id)
    for each in present:
        if each.certificate.sha256 == certificate.sha256:
            return (bind_certificate(call, each, computer_id) if computer_id else each), False
    if len(present) >= _MAX_CERTIFICATES:
        raise Conflict("certificate", f"an application has at most {_MAX_CERTIFICATES}")
    made = Enrolled(
        application_id=application.application_id,
        certificate=certificate,
        source_computer_id=computer_id,
        added_by=call.principal.name,
        added_at=call.at,
    )
    call.connection.execute(insert(tables.application_certificates).values(**_row(made)))
    audit.note(call, "certificate-added", target=_target(made.application_id, certificate.sha1))
    return made, True


def bind_certificate(call: Call, enrolled: Enrolled, source_computer_id: str) -> Enrolled:
    """Let a certificate speak for a computer, from now on and for no other.

    Raises:
        Conflict: It speaks for another already.
    """
    if enrolled.source_computer_id not in (None, source_computer_id):
        raise Conflict(
            "certificate",
            "it speaks for another source computer; each computer makes a certificate of its own",
        )
    columns = tables.application_certificates.c
    call.connection.execute(
        update(tables.application_certificates)
        .where(
            columns.application_id == enrolled.application_id,
            columns.sha256 == enrolled.certificate.sha256,
        )
        .values(source_computer_id=source_computer_id)
    )
    target = _target(enrolled.application_id, enrolled.certificate.sha1)
    audit.note(call, "certificate-bound", target=target)
    (bound,) = (
        each
        for each in find_certificates(call.connection, enrolled.application_id)
        if each.certificate.sha256 == enrolled.certificate.sha256
    )
    return bound


def remove_certificate(call: Call, tenant_id: str, application_id: str, thumbprint: str) -> None:
    """Remove a certificate, named by its SHA-256 or SHA-1 thumbprint; its tokens end now.

    Raises:
        ResourceAbsent: The application has none of this thumbprint.
    """
    application = get(call, tenant_id, application_id)
    wanted = thumbprint.replace(":", "").lower()
    columns = tables.application_certificates.c
    for each in find_certificates(call.connection, application.application_id):
        if wanted in (each.certificate.sha256, each.certificate.sha1):
            here = columns.application_id == application.application_id
            call.connection.execute(
                delete(tables.application_certificates).where(
                    here, columns.sha256 == each.certificate.sha256
                )
            )
            target = _target(application.application_id, each.certificate.sha1)
            audit.note(call, "certificate-removed", target=target)
            return
    raise ResourceAbsent("certificate of this thumbprint at the application")


def find_certificates(connection: Connection, application_id: str) -> list[Enrolled]:
    """Return an application's certificates, first added first; whose it is, callers check."""
    columns = tables.application_certificates.c
    wanted = select(tables.application_certificates).where(columns.application_id == application_id)
    rows = connection.execute(wanted.order_by(columns.added_at, columns.sha256)).mappings()
    return [_enrolled(row) for row in rows]


def load(connection: Connection, application_id: str, *, tenant_id: str) -> Application | None:
    """Return a tenant's application, or None if it has none of this id."""
    columns = tables.applications.c
    wanted = select(tables.applications).where(
        columns.application_id == application_id, columns.tenant_id == tenant_id
    )
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _application(row)


def _require(call: Call, tenant_id: str) -> None:
    call.require_at(Permission.MANAGE_APPLICATIONS)
    if tenant_id not in (MINE, call.principal.tenant_id):
        raise Forbidden("these are the applications of another tenant")


def _target(application_id: str, what: str) -> str:
    return f"application {application_id}: {what}"


def _computer_of_tenant(call: Call, source_computer_id: str) -> str:
    text = names.check_uuid(source_computer_id, what="source_computer_id")
    try:
        computer = computers.load(call, text)
    except ResourceAbsent:
        computer = None
    if computer is None or computer.tenant_id != call.principal.tenant_id:
        raise Invalid("source_computer_id", f"there is no source computer {text}")
    return text


def _application(row: RowMapping) -> Application:
    return Application(**{name: row[name] for name in Application.__dataclass_fields__})


def _enrolled(row: RowMapping) -> Enrolled:
    return Enrolled(
        application_id=row["application_id"],
        certificate=Certificate(**{name: row[name] for name in Certificate.__dataclass_fields__}),
        source_computer_id=row["source_computer_id"],
        added_by=row["added_by"],
        added_at=row["added_at"],
    )


def _row(enrolled: Enrolled) -> dict[str, object]:
    certificate = enrolled.certificate
    return {
        **{name: getattr(certificate, name) for name in Certificate.__dataclass_fields__},
        "application_id": enrolled.application_id,
        "source_computer_id": enrolled.source_computer_id,
        "added_by": enrolled.added_by,
        "added_at": enrolled.added_at,
    }
