"""Replacements as source computers send them: accepted when nothing kept needs what goes."""

import contextlib

from overland.cloud import computers, names, seedwork
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Invalid
from overland.cloud.services import Services
from overland.errors import ObjectAbsent, OutOfSpace
from overland.ports.objects import Objects
from overland.values import ReplacementId
from overland.vault import catalog, chains, replacing
from overland.vault.owner import Owner

__all__ = ["accept_replacement"]


def accept_replacement(
    services: Services, principal: Principal, replacement_id: str, *, chain_version: int
) -> int:
    """Let a replacement that is in the vault take effect; return the version afterwards.

    Accepting again changes nothing.

    Raises:
        Invalid: The vault does not hold the document.
        ChainChanged: Something was recorded since `chain_version`.
        VaultChanged: Objects were deleted at each look; try again.
        ReplacementRefused: It would take away what a point needs.
        IntegrityError: It is damaged, not this computer's, or a document that it concerns is.
        KeyChangeMissing: A former key signed one of these, and its key change can be read nowhere.
    """
    principal.require(Permission.WRITE_POINTS)
    wanted = ReplacementId(names.check_uuid(replacement_id, what="replacement_id"))
    with services.call(principal) as call:
        computer = computers.own_computer(call)
        owner = computers.owner_of(call, computer)
    store = services.spaces.open(f"vaults/{computer.vault_id}")
    version = chains.look_again(
        lambda: _accept(services, principal, wanted, owner, store, chain_version)
    )
    # A full vault gets its copy before anything is deleted because of the replacement.
    with contextlib.suppress(OutOfSpace):
        replacing.keep_copy(store, owner, wanted)
    return version


def _accept(
    services: Services,
    principal: Principal,
    wanted: ReplacementId,
    owner: Owner,
    store: Objects,
    chain_version: int,
) -> int:
    with services.call(principal) as call:
        fence = chains.read_fence(call.connection, owner)
        listed = catalog.list_points(call.connection, source_computer_id=owner.source_computer_id)
    if wanted in fence.accepted:
        return fence.version
    if chain_version != fence.version:
        raise replacing.ChainChanged(expected=chain_version, found=fence.version)

    def find_manifest(seed_id: str) -> str | None:
        """Return where the manifest of a seed lies that counts, or None; see `manifest_of`."""
        with services.call(principal) as call:
            return seedwork.manifest_of(call.connection, seed_id)

    try:
        proposal = replacing.propose(
            store,
            fence=fence,
            listed=listed,
            replacement_id=wanted,
            manifest_of=find_manifest,
        )
    except ObjectAbsent as absent:
        raise Invalid("replacement_id", f"put {absent.name} into the vault first") from None
    with services.call(principal) as call:
        return replacing.accept(
            call.connection,
            proposal,
            chain_version=chain_version,
            at=call.at,
            actor=principal.name,
        )
