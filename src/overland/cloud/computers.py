"""Source computers: how one gets into a vault, and what is known of it.

A vault credentials document opens registration in one vault for ten days.  A computer that
registers again gets a new token and loses its old ones; its name, its repository and its signing
key stay bound to one another, so that a renamed or copied computer is noticed.  Each time it proves
that it holds the private key, so that vault credentials alone take over nobody's place.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping, insert, select

from overland.cloud import audit, names, resources, tables
from overland.cloud.identity import (
    GRANTED,
    Permission,
    Role,
    Scope,
    issue_token,
    revoke_computer_tokens,
)
from overland.cloud.refusals import Conflict, Forbidden, RegistrationUnproven, ResourceAbsent
from overland.cloud.services import Call
from overland.crypto import registration
from overland.errors import SignatureInvalid, SigningKeyRetired
from overland.values import RepositoryId
from overland.vault import signers
from overland.vault.owner import Owner

__all__ = [
    "Registration",
    "SourceComputer",
    "get_computer",
    "issue_vault_credentials",
    "load",
    "may_at",
    "own_computer",
    "owner_of",
    "register",
    "require_at",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceComputer:
    """A computer that is backed up, as the cloud knows it."""

    source_computer_id: str
    tenant_id: str
    vault_id: str
    name: str
    repository_id: RepositoryId
    signing_public_key: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The answer to a registration; holds the token in clear, once."""

    computer: SourceComputer
    token: str
    is_new: bool


def issue_vault_credentials(call: Call, vault_id: str) -> dict[str, object]:
    """Return the document with which computers can register in a vault for ten days.

    It holds a secret, the registration token, that nobody can get again.
    """
    call.require(Permission.ISSUE_CREDENTIALS)
    vault = resources.get_vault(call, vault_id)
    resources.require_at_vault(call, vault.vault_id, Permission.ISSUE_CREDENTIALS)
    lifetime = call.services.limits.vault_credentials
    scope = Scope(tenant_id=vault.tenant_id, vault_id=vault.vault_id)
    endpoints = call.services.endpoints
    audit.note(call, "vault-credentials.issued", target=vault.name)
    return {
        "format": 1,
        "url": endpoints.url,
        "object_url": endpoints.object_url,
        "ca_pem": endpoints.ca_pem,
        "tenant_id": vault.tenant_id,
        "vault_id": vault.vault_id,
        "vault_name": vault.name,
        "registration_token": _issue(call, Role.REGISTRATION, scope, lifetime),
        "expires_at": (call.at + lifetime).isoformat(),
    }


def register(
    call: Call,
    *,
    name: str,
    repository_id: str,
    signing_public_key: str,
    token_sha256: str,
    proof: str,
) -> Registration:
    """Enter a source computer into the vault that the caller's token is for.

    Args:
        call: The registration's transaction.
        name: What the computer is called.
        repository_id: Its repository.
        signing_public_key: Its public key, in hexadecimal digits.
        token_sha256: The digest of the token that the caller used.
        proof: The signature of all that (`overland.crypto.registration`).

    Raises:
        RegistrationUnproven: The proof is not one of the signing key's owner.
        Conflict: The name, or the repository, belongs to another registration.
        SigningKeyRetired: The signing key was replaced.
    """
    call.require(Permission.REGISTER_COMPUTERS)
    names.check_label(name, what="name", longest=255)
    repository = RepositoryId(names.check_uuid(repository_id, what="repository_id"))
    key = names.check_public_key(signing_public_key, target="signing_public_key")
    claim = registration.Claim(
        vault_id=_vault_id(call),
        name=name,
        repository_id=repository,
        signing_public_key=key,
        token_sha256=token_sha256,
    )
    _check_proof(claim, proof)
    existing = _existing(call, name=name, repository_id=repository)
    computer = existing or SourceComputer(
        source_computer_id=call.new_id(),
        tenant_id=call.principal.tenant_id,
        vault_id=_vault_id(call),
        name=name,
        repository_id=repository,
        signing_public_key=key,
        created_at=call.at,
    )
    former = owner_of(call, computer).former
    for number, each in enumerate(former, start=1):
        if each.public_key == key:
            raise SigningKeyRetired("the registration", change=number)
    if computer.signing_public_key != key:
        raise Conflict("signing_public_key", f"{name} is registered with another signing key")
    if existing is None:
        _insert(call, computer)
    revoke_computer_tokens(call.connection, computer.source_computer_id, at=call.at)
    scope = Scope(
        tenant_id=computer.tenant_id,
        vault_id=computer.vault_id,
        source_computer_id=computer.source_computer_id,
    )
    token = _issue(call, Role.AGENT, scope, call.services.limits.agent_token)
    return Registration(computer=computer, token=token, is_new=existing is None)


def get_computer(call: Call, source_computer_id: str) -> SourceComputer:
    """Return a source computer of the caller's tenant; an agent may see itself only.

    Raises:
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.READ_COMPUTERS)
    found = load(call, source_computer_id)
    own = call.principal.scope.source_computer_id
    is_theirs = found.tenant_id == call.principal.tenant_id
    is_read = is_theirs and may_at(call, found, Permission.READ_COMPUTERS)
    if not is_read or own not in (None, found.source_computer_id):
        raise ResourceAbsent(f"source computer {source_computer_id}")
    return found


def may_at(call: Call, computer: SourceComputer, permission: Permission) -> bool:
    """Return whether the caller has a permission at the vault of a computer of their tenant."""
    if call.principal.role is not Role.USER:
        return permission in GRANTED[call.principal.role]
    return resources.may_at_vault(call, computer.vault_id, permission)


def require_at(call: Call, computer: SourceComputer, permission: Permission) -> None:
    """Return if the caller has a permission at the vault of a computer that they see.

    Raises:
        Forbidden: They have not.
    """
    call.require(permission)
    if call.principal.role is Role.USER:
        resources.require_at_vault(call, computer.vault_id, permission)


def own_computer(call: Call) -> SourceComputer:
    """Return the source computer that is asking.

    Raises:
        Forbidden: The token is not that of a source computer.
    """
    own = call.principal.scope.source_computer_id
    if own is None or call.principal.role is not Role.AGENT:
        raise Forbidden("only a source computer's own token allows this")
    return load(call, own)


def owner_of(call: Call, computer: SourceComputer) -> Owner:
    """Return the computer as the vault knows it now: whose signatures count for its objects."""
    owner = Owner(
        source_computer_id=computer.source_computer_id,
        repository_id=computer.repository_id,
        public_key=bytes.fromhex(computer.signing_public_key),
    )
    return signers.present(call.connection, owner)


def load(call: Call, source_computer_id: str) -> SourceComputer:
    """Return a source computer, whoever owns it; callers check that.

    Raises:
        ResourceAbsent: There is none.
    """
    columns = tables.source_computers.c
    wanted = select(tables.source_computers).where(columns.source_computer_id == source_computer_id)
    row = call.connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise ResourceAbsent(f"source computer {source_computer_id}")
    return _computer(row)


def _check_proof(claim: registration.Claim, proof: str) -> None:
    try:
        registration.verify(claim, proof)
    except SignatureInvalid:
        raise RegistrationUnproven from None


def _existing(call: Call, *, name: str, repository_id: RepositoryId) -> SourceComputer | None:
    """Return the earlier registration of the same computer, or None."""
    columns = tables.source_computers.c
    wanted = select(tables.source_computers).where(columns.vault_id == _vault_id(call))
    for row in call.connection.execute(wanted).mappings():
        same_name = row["name_key"] == name.casefold()
        same_repository = row["repository_id"] == repository_id
        if same_name and same_repository:
            return _computer(row)
        if same_name:
            raise Conflict("name", f"{name} is registered with another repository")
        if same_repository:
            raise Conflict(
                "repository_id", f"this repository is registered as {row['name']}; keep that name"
            )
    return None


def _vault_id(call: Call) -> str:
    vault_id = call.principal.scope.vault_id
    assert vault_id is not None, "registration tokens are made for one vault"
    return vault_id


def _insert(call: Call, computer: SourceComputer) -> None:
    values = {name: getattr(computer, name) for name in SourceComputer.__dataclass_fields__}
    call.connection.execute(
        insert(tables.source_computers).values(**values, name_key=computer.name.casefold())
    )


def _computer(row: RowMapping) -> SourceComputer:
    return SourceComputer(**{name: row[name] for name in SourceComputer.__dataclass_fields__})


def _issue(call: Call, role: Role, scope: Scope, lifetime: timedelta) -> str:
    return issue_token(
        call.connection,
        role,
        scope,
        at=call.at,
        lifetime=lifetime,
        random=call.services.random,
        issued_by=call.principal,
    )
