"""Recovery points as clients see them: entered by their source computer, listed by its tenant."""

from overland.cloud import computers, names
from overland.cloud.computers import SourceComputer
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Invalid
from overland.cloud.services import Call, Services
from overland.errors import ObjectAbsent
from overland.values import PointId
from overland.vault import catalog
from overland.vault.catalog import CatalogPoint

__all__ = ["list_points", "record_point"]


def record_point(services: Services, principal: Principal, point_id: str) -> CatalogPoint:
    """Enter a recovery point whose file the source computer has put into the vault.

    The vault is looked at between two transactions, so that a slow store holds up nobody.

    Raises:
        Invalid: The vault does not hold the point's file.
        SignatureInvalid: The file is not signed by this computer.
        IntegrityError: The file is damaged, or of another repository.
    """
    principal.require(Permission.WRITE_POINTS)
    wanted = PointId(names.check_uuid(point_id, what="point_id"))
    with services.call(principal) as call:
        computer = computers.own_computer(call)
    try:
        finding = catalog.inspect(
            services.spaces.open(f"vaults/{computer.vault_id}"),
            owner=computers.owner_of(computer),
            point_id=wanted,
        )
    except ObjectAbsent as absent:
        raise Invalid("point_id", f"put {absent.name} into the vault first") from None
    with services.call(principal) as call:
        return catalog.record(call.connection, finding, at=call.at)


def list_points(call: Call, *, source_computer_id: str | None) -> list[CatalogPoint]:
    """Return the recovery points of a source computer, oldest first.

    Raises:
        Invalid: An administrator did not say of which computer.
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.READ_POINTS)
    computer = _computer(call, source_computer_id)
    return catalog.list_points(call.connection, source_computer_id=computer.source_computer_id)


def _computer(call: Call, source_computer_id: str | None) -> SourceComputer:
    wanted = source_computer_id or call.principal.scope.source_computer_id
    if wanted is None:
        raise Invalid("source_computer", "say of which source computer")
    return computers.get_computer(call, wanted)
