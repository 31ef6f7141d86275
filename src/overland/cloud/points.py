"""Recovery points as clients see them: entered by their source computer, listed by its tenant.

The vault is looked at between two transactions, so that a slow store holds up nobody; when
objects were deleted meanwhile, it is looked at again (`overland.vault.chains`).
"""

from dataclasses import dataclass, replace

from overland.cloud import computers, names
from overland.cloud.computers import SourceComputer
from overland.cloud.identity import Permission, Principal
from overland.cloud.refusals import Conflict, Invalid, ResourceAbsent
from overland.cloud.services import Call, Services
from overland.errors import ObjectAbsent
from overland.jobs.seeds import find_seed
from overland.jobs.states import SeedState
from overland.ports.objects import Objects
from overland.values import PointId, ReplacementId
from overland.vault import catalog, chains, marks, replacing
from overland.vault.catalog import MAX_MISSING_NAMED, CatalogPoint, Finding
from overland.vault.chains import Event, look_again
from overland.vault.owner import Owner
from overland.vault.replacing import ChainRepacked
from overland.vault.retention import Retention

__all__ = [
    "Chains",
    "PointRequest",
    "delete_point",
    "list_chains",
    "list_events",
    "list_points",
    "put_retention",
    "record_point",
    "undelete_point",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRequest:
    """A point to enter; the version is None when the source computer named none."""

    point_id: str
    chain_version: int | None = None
    policy_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """All points and accepted replacements of a source computer, and their version."""

    version: int
    points: list[CatalogPoint]
    replacements: tuple[ReplacementId, ...]


def record_point(services: Services, principal: Principal, request: PointRequest) -> CatalogPoint:
    """Enter a recovery point whose file the source computer has put into the vault.

    An incomplete one is answered with what it lacks, of its bases too.

    Raises:
        Invalid: The vault does not hold the point's file.
        ChainRepacked: Packs of its chain were replaced since its run began; it is not entered.
        SignatureInvalid: The file is not signed by this computer.
        IntegrityError: The file is damaged, or of another repository.
        KeyChangeMissing: A former key signed a document, and its key change can be read nowhere.
        VaultChanged: Objects were being deleted at each of several looks; try again.
    """
    principal.require(Permission.WRITE_POINTS)
    wanted = PointId(names.check_uuid(request.point_id, what="point_id"))
    if request.policy_id is not None:
        names.check_uuid(request.policy_id, what="policy_id")
    with services.call(principal) as call:
        computer = computers.own_computer(call)
        owner, store = computers.owner_of(call, computer), _store(services, computer)
    recorded = look_again(lambda: _record(services, principal, request, wanted, owner, store))
    if recorded is None:
        raise ChainRepacked(wanted)
    return recorded


def _record(
    services: Services,
    principal: Principal,
    request: PointRequest,
    wanted: PointId,
    owner: Owner,
    store: Objects,
) -> CatalogPoint | None:
    """Look and enter; None when packs that the point may rely on were replaced."""
    with services.call(principal) as call:
        fence = chains.read_fence(call.connection, owner)
    replacements = replacing.load_accepted(store, fence)
    try:
        finding = catalog.inspect(store, fence=fence, point_id=wanted, replacements=replacements)
    except ObjectAbsent as absent:
        raise Invalid("point_id", f"put {absent.name} into the vault first") from None
    is_stale = finding.names_replaced or (
        finding.public.base is not None and (request.chain_version or 0) < fence.replaced_at_version
    )
    with services.call(principal) as call:
        chains.require_epoch(call.connection, fence)
        known = _find(call, owner, wanted)
        if known is not None and known.reclaimed_at is not None:
            return None
        if is_stale and (known is None or known.published_at is None):
            if known is None:
                catalog.reject(call.connection, finding, at=call.at)
            return None
        point = catalog.record(call.connection, finding, at=call.at)
        if request.policy_id is not None:
            marks.set_policy(call.connection, point, request.policy_id, owner)
            if point.state != "incomplete":
                chains.note_recorded(call.connection, owner, request.policy_id)
        grace = services.reclaim.grace
        marks.apply_rules(call.connection, owner, at=call.at, grace=grace)
        return _with_missing(call, owner, finding)


def _with_missing(call: Call, owner: Owner, finding: Finding) -> CatalogPoint:
    """Return the recorded point; what its bases lack is missing to it too."""
    computer = owner.source_computer_id
    listed = catalog.list_points(call.connection, source_computer_id=computer)
    rows = {each.point_id: each for each in listed}
    point = rows[finding.public.point_id]
    missing: dict[str, None] = {}
    each: PointId | None = point.point_id
    while each is not None and each in rows:
        row = rows.pop(each)
        missing |= dict.fromkeys(row.missing)
        each = row.base
    return replace(point, missing=tuple(missing)[:MAX_MISSING_NAMED])


def list_points(call: Call, *, source_computer_id: str | None) -> list[CatalogPoint]:
    """Return the recovery points of a source computer that are not reclaimed, oldest first.

    Raises:
        Invalid: An administrator did not say of which computer.
        ResourceAbsent: The caller may see no such computer.
    """
    listed = list_chains(call, source_computer_id=source_computer_id).points
    return [each for each in listed if each.reclaimed_at is None]


def list_chains(call: Call, *, source_computer_id: str | None) -> Chains:
    """Return all points of a source computer, reclaimed ones too, and their version.

    Raises:
        Invalid: An administrator did not say of which computer.
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.READ_POINTS)
    owner = computers.owner_of(call, _computer(call, source_computer_id, Permission.READ_POINTS))
    fence = chains.read_fence(call.connection, owner)
    listed = catalog.list_points(call.connection, source_computer_id=owner.source_computer_id)
    return Chains(version=fence.version, points=listed, replacements=fence.accepted)


def list_events(call: Call, *, source_computer_id: str | None) -> list[Event]:
    """Return who marked, took back, reclaimed or replaced what, oldest first.

    Raises:
        Invalid: An administrator did not say of which computer.
        ResourceAbsent: The caller may see no such computer.
    """
    call.require(Permission.READ_POINTS)
    computer = _computer(call, source_computer_id, Permission.READ_POINTS)
    return chains.list_events(call.connection, source_computer_id=computer.source_computer_id)


def delete_point(call: Call, point_id: str, *, source_computer_id: str | None) -> CatalogPoint:
    """Mark a recovery point; it is reclaimed after the time of grace, unless taken back.

    Raises:
        Invalid: Its id is no UUID, or an administrator did not say of which computer.
        ResourceAbsent: There is none.
        PointReclaimed: It is too late to mark it.
        PointStays: It is the newest of its policy that can be restored.
        Conflict: It is a seed that travels, or based on one; the seed is abandoned first.
    """
    call.require(Permission.DELETE_POINTS)
    owner, point = _own_point(call, point_id, source_computer_id)
    if point.state == "waiting-for-seed":
        _require_abandoned(call, owner, point)
    grace = call.services.reclaim.grace
    actor = call.principal.name
    marks.mark(call.connection, point, owner=owner, at=call.at, grace=grace, actor=actor)
    return _own_point(call, point_id, source_computer_id)[1]


def undelete_point(call: Call, point_id: str, *, source_computer_id: str | None) -> CatalogPoint:
    """Take the mark of a point back, whoever or whatever set it; again changes nothing.

    Raises:
        Invalid: Its id is no UUID, or an administrator did not say of which computer.
        ResourceAbsent: There is none.
        PointReclaimed: It is too late.
    """
    call.require(Permission.DELETE_POINTS)
    owner, point = _own_point(call, point_id, source_computer_id)
    marks.unmark(call.connection, point, owner=owner, at=call.at, actor=call.principal.name)
    return _own_point(call, point_id, source_computer_id)[1]


def put_retention(call: Call, policy_id: str, retention: Retention) -> None:
    """Give a policy of the calling computer its rule; it holds for old points too, at once.

    Raises:
        Invalid: The policy's id is no UUID.
        RetentionInvalid: It keeps too little, or too much.
    """
    call.require(Permission.WRITE_POINTS)
    owner = computers.owner_of(call, computers.own_computer(call))
    policy = names.check_uuid(policy_id, what="policy_id")
    actor = call.principal.name
    marks.set_retention(call.connection, owner, policy, retention, at=call.at, actor=actor)
    grace = call.services.reclaim.grace
    marks.apply_rules(call.connection, owner, at=call.at, grace=grace)


def _own_point(
    call: Call, point_id: str, source_computer_id: str | None
) -> tuple[Owner, CatalogPoint]:
    wanted = PointId(names.check_uuid(point_id, what="point_id"))
    owner = computers.owner_of(call, _computer(call, source_computer_id, Permission.DELETE_POINTS))
    found = _find(call, owner, wanted)
    if found is None:
        raise ResourceAbsent(f"recovery point {point_id}")
    return owner, found


def _find(call: Call, owner: Owner, point_id: PointId) -> CatalogPoint | None:
    return catalog.find_point(
        call.connection, point_id, source_computer_id=owner.source_computer_id
    )


def _require_abandoned(call: Call, owner: Owner, point: CatalogPoint) -> None:
    """Check that nobody waits for the seed any more that the point waits for."""
    listed = catalog.list_points(call.connection, source_computer_id=owner.source_computer_id)
    rows = {each.point_id: each for each in listed}
    each: CatalogPoint | None = point
    while each is not None:
        rows.pop(each.point_id)
        seed = None if each.seed_id is None else find_seed(call.connection, each.seed_id)
        if seed is not None and seed.state not in (SeedState.ABANDONED, SeedState.ONLINE):
            raise Conflict(
                "point_id", f"seed {seed.seed_id} is on its way; abandon it first, or wait for it"
            )
        each = None if each.base is None else rows.get(each.base)


def _store(services: Services, computer: SourceComputer) -> Objects:
    return services.spaces.open(f"vaults/{computer.vault_id}")


def _computer(call: Call, source_computer_id: str | None, permission: Permission) -> SourceComputer:
    wanted = source_computer_id or call.principal.scope.source_computer_id
    if wanted is None:
        raise Invalid("source_computer", "say of which source computer")
    found = computers.get_computer(call, wanted)
    computers.require_at(call, found, permission)
    return found
