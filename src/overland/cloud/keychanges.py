"""Changes of a source computer's signing key, as the vault's owner asks for them.

Old and new signature alone could be a thief's, who has the home folder.  So the request carries
fresh vault credentials, like a registration, and the change names their digest.
"""

from dataclasses import dataclass

from sqlalchemy import update

from overland.cloud import audit, computers, tables
from overland.cloud.computers import SourceComputer
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Invalid, ResourceAbsent
from overland.cloud.services import Call, Services
from overland.errors import ObjectAbsent
from overland.vault import chains, keychanging
from overland.vault.keychanging import KeyChangeBehind
from overland.vault.owner import Owner

__all__ = ["Changed", "change_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The signing key that counts now, and since which change."""

    number: int
    signing_public_key: str
    chain_version: int


def change_key(
    services: Services,
    principal: Principal,
    source_computer_id: str,
    *,
    number: int,
    sha256: str,
    token_sha256: str,
) -> Changed:
    """Let a key change that is in the vault take effect; again gives the same answer.

    Args:
        services: Of the cloud.
        principal: Whose token asks: vault credentials.
        source_computer_id: Whose key.
        number: Of the change.
        sha256: Of its file.
        token_sha256: The digest of the token that asks.

    Raises:
        ResourceAbsent: There is no such computer in the vault of the credentials.
        Invalid: The vault does not hold the change.
        KeyChangeBehind: It is not the next change of this computer.
        ChainChanged: Something was recorded since its list was made.
        KeyChangeRefused: It is for other credentials, or leaves out what others rely on.
        IntegrityError: It is not signed by both keys, damaged, or of another repository.
        OutOfSpace: The vault has no room for the copy of it; nothing was changed.
    """
    principal.require(Permission.REGISTER_COMPUTERS)
    with services.call(principal) as call:
        computer, owner = _own(call, source_computer_id)
        version = chains.read_fence(call.connection, owner).version
    if _is_known(owner, number, sha256):
        return Changed(
            number=number,
            signing_public_key=owner.signers.successor(number).hex(),
            chain_version=version,
        )
    if number != len(owner.former) + 1:
        raise KeyChangeBehind(number, known=len(owner.former))
    store = services.spaces.open(f"vaults/{computer.vault_id}")
    try:
        opened = keychanging.open_change(
            store,
            owner=owner,
            vault_id=computer.vault_id,
            number=number,
            sha256=sha256,
            token_sha256=token_sha256,
        )
    except ObjectAbsent as absent:
        raise Invalid("sha256", f"put {absent.name} into the vault first") from None
    key = opened.change.new_public_key
    with services.call(principal) as call:
        version = keychanging.accept(
            call.connection, owner, opened, at=call.at, actor=principal.name
        )
        _save_key(call, computer, key)
    return Changed(number=number, signing_public_key=key, chain_version=version)


def _save_key(call: Call, computer: SourceComputer, key: str) -> None:
    of_computer = tables.source_computers.c.source_computer_id == computer.source_computer_id
    changed = update(tables.source_computers).where(of_computer).values(signing_public_key=key)
    call.connection.execute(changed)
    audit.note(call, "signing-key.changed", target=computer.name)


def _own(call: Call, source_computer_id: str) -> tuple[SourceComputer, Owner]:
    """Return the computer, if it is in the vault that the credentials are for."""
    computer = computers.load(call, source_computer_id)
    if computer.vault_id != call.principal.scope.vault_id:
        raise ResourceAbsent(f"source computer {source_computer_id}")
    return computer, computers.owner_of(call, computer)


def _is_known(owner: Owner, number: int, sha256: str) -> bool:
    return number <= len(owner.former) and owner.former[number - 1].change_sha256 == sha256
