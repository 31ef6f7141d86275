"""Tenants, subscriptions and what lies in them: groups, storage accounts, containers, vaults.

Putting a thing that exists keeps it and says so; nothing here deletes data.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import insert, select

from overland.cloud import names, tables
from overland.cloud.identity import Permission, Role
from overland.cloud.refusals import Conflict, Forbidden, Invalid, ResourceAbsent
from overland.cloud.services import Call

__all__ = [
    "ResourceGroup",
    "StorageAccount",
    "Subscription",
    "Vault",
    "check_tenant",
    "create_subscription",
    "create_tenant",
    "find_account",
    "find_vault",
    "get_account",
    "get_group",
    "get_subscription",
    "get_vault",
    "list_accounts",
    "list_containers",
    "list_groups",
    "list_subscriptions",
    "list_vaults",
    "may_at_vault",
    "put_account",
    "put_container",
    "put_group",
    "put_vault",
    "require_at_vault",
]

ACCOUNT_KINDS: Final = ("StorageV2", "Storage")
"""Kinds that hold page blobs; packs are imported as those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a tenant's resources are grouped and paid by."""

    subscription_id: str
    tenant_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """A folder of resources."""

    subscription_id: str
    name: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAccount:
    """Where drives are imported to; the customer's own."""

    name: str
    subscription_id: str
    resource_group: str
    location: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where backups rest."""

    vault_id: str
    tenant_id: str
    subscription_id: str
    resource_group: str
    name: str
    location: str


def create_tenant(call: Call, name: str) -> str:
    """Make a tenant and return its id."""
    call.require(Permission.CREATE_TENANTS)
    tenant_id = call.new_id()
    checked = names.check_label(name, what="name", longest=128)
    values = {"tenant_id": tenant_id, "name": checked, "created_at": call.at}
    call.connection.execute(insert(tables.tenants).values(**values))
    return tenant_id


def check_tenant(call: Call, tenant_id: str) -> None:
    """Return if there is such a tenant.

    Raises:
        ResourceAbsent: There is none.
    """
    wanted = select(tables.tenants.c.tenant_id).where(tables.tenants.c.tenant_id == tenant_id)
    if call.connection.execute(wanted).scalar_one_or_none() is None:
        raise ResourceAbsent(f"tenant {tenant_id}")


def create_subscription(call: Call, name: str) -> Subscription:
    """Make a subscription of the caller's tenant."""
    call.require_at(Permission.WRITE_SUBSCRIPTIONS)
    found = Subscription(
        subscription_id=call.new_id(),
        tenant_id=call.principal.tenant_id,
        name=names.check_label(name, what="name", longest=128),
        created_at=call.at,
    )
    values = {each: getattr(found, each) for each in Subscription.__dataclass_fields__}
    call.connection.execute(insert(tables.subscriptions).values(**values))
    return found


def list_subscriptions(call: Call) -> list[Subscription]:
    """Return the subscriptions that the caller reaches, or a group in them, oldest first."""
    call.require(Permission.READ_SUBSCRIPTIONS)
    columns = tables.subscriptions.c
    wanted = select(tables.subscriptions).where(columns.tenant_id == call.principal.tenant_id)
    rows = call.connection.execute(wanted.order_by(columns.created_at)).mappings()
    return [Subscription(**row) for row in rows if call.principal.reaches(row["subscription_id"])]


def get_subscription(call: Call, subscription_id: str) -> Subscription:
    """Return a subscription that the caller reaches, or a group in it.

    Raises:
        Forbidden: They do not reach it, whether it exists or not.
    """
    columns = tables.subscriptions.c
    wanted = select(tables.subscriptions).where(
        columns.subscription_id == subscription_id.casefold(),
        columns.tenant_id == call.principal.tenant_id,
    )
    row = call.connection.execute(wanted).mappings().one_or_none()
    if row is None or not call.principal.reaches(row["subscription_id"]):
        raise Forbidden(f"the token does not reach subscription {subscription_id}")
    return Subscription(**row)


def put_group(
    call: Call, *, subscription_id: str, name: str, location: str
) -> tuple[ResourceGroup, bool]:
    """Make a resource group, or find the one of this name; return it and whether it is new."""
    call.require(Permission.WRITE_RESOURCES)
    subscription = get_subscription(call, subscription_id)
    call.require_at(
        Permission.WRITE_RESOURCES, subscription_id=subscription_id, resource_group=name
    )
    names.check_resource_name(name, what="resource group", longest=90)
    try:
        return get_group(call, subscription_id=subscription_id, name=name), False
    except ResourceAbsent:
        values = {
            "subscription_id": subscription.subscription_id,
            "name_key": name.casefold(),
            "name": name,
            "location": location,
            "created_at": call.at,
        }
        call.connection.execute(insert(tables.resource_groups).values(**values))
        return get_group(call, subscription_id=subscription_id, name=name), True


def get_group(call: Call, *, subscription_id: str, name: str) -> ResourceGroup:
    """Return a resource group; case does not count.

    Raises:
        ResourceAbsent: There is none.
    """
    for group in list_groups(call, subscription_id=subscription_id):
        if group.name.casefold() == name.casefold():
            return group
    raise ResourceAbsent(f"resource group {name}")


def list_groups(call: Call, *, subscription_id: str) -> list[ResourceGroup]:
    """Return the resource groups of a subscription that the caller reaches, sorted by name."""
    subscription = get_subscription(call, subscription_id)
    columns = tables.resource_groups.c
    wanted = select(columns.subscription_id, columns.name, columns.location).where(
        columns.subscription_id == subscription.subscription_id
    )
    rows = call.connection.execute(wanted.order_by(columns.name_key)).mappings()
    found = [ResourceGroup(**row) for row in rows]
    return [each for each in found if _reaches(call, each.subscription_id, each.name)]


def put_account(
    call: Call, *, subscription_id: str, resource_group: str, name: str, location: str, kind: str
) -> tuple[StorageAccount, bool]:
    """Make a storage account, or find it; return it and whether it is new.

    Raises:
        Invalid: The name breaks its rule, or accounts of this kind have no page blobs.
        Conflict: The name is taken elsewhere; account names are unique in the whole cloud.
    """
    call.require(Permission.WRITE_RESOURCES)
    group = get_group(call, subscription_id=subscription_id, name=resource_group)
    call.require_at(
        Permission.WRITE_RESOURCES, subscription_id=subscription_id, resource_group=group.name
    )
    names.check_account_name(name)
    if kind not in ACCOUNT_KINDS:
        raise Invalid("kind", f"packs need page blobs; use one of {', '.join(ACCOUNT_KINDS)}")
    existing = find_account(call, name)
    if existing is not None:
        if _place(existing) != (group.subscription_id, group.name.casefold()):
            raise Conflict("name", f"the storage account name {name} is already taken")
        return existing, False
    account = StorageAccount(
        name=name,
        subscription_id=group.subscription_id,
        resource_group=group.name,
        location=location,
        kind=kind,
    )
    values = {each: getattr(account, each) for each in StorageAccount.__dataclass_fields__}
    call.connection.execute(insert(tables.storage_accounts).values(**values, created_at=call.at))
    return account, True


def find_account(call: Call, name: str) -> StorageAccount | None:
    """Return the storage account of this name, whoever owns it; callers check that."""
    columns = tables.storage_accounts.c
    wanted = select(*(columns[each] for each in StorageAccount.__dataclass_fields__))
    row = call.connection.execute(wanted.where(columns.name == name)).mappings().one_or_none()
    return None if row is None else StorageAccount(**row)


def get_account(
    call: Call, *, subscription_id: str, name: str, resource_group: str | None = None
) -> StorageAccount:
    """Return a storage account of a subscription that the caller reaches.

    Raises:
        ResourceAbsent: The subscription, or the group if one is given, does not hold it.
    """
    for account in list_accounts(call, subscription_id=subscription_id):
        in_group = resource_group is None or (
            account.resource_group.casefold() == resource_group.casefold()
        )
        if account.name == name and in_group:
            return account
    raise ResourceAbsent(f"storage account {name}")


def list_accounts(call: Call, *, subscription_id: str) -> list[StorageAccount]:
    """Return the storage accounts of a subscription that the caller reaches, sorted by name."""
    subscription = get_subscription(call, subscription_id)
    columns = tables.storage_accounts.c
    wanted = select(*(columns[each] for each in StorageAccount.__dataclass_fields__)).where(
        columns.subscription_id == subscription.subscription_id
    )
    rows = call.connection.execute(wanted.order_by(columns.name)).mappings()
    found = [StorageAccount(**row) for row in rows]
    return [each for each in found if _reaches(call, each.subscription_id, each.resource_group)]


def put_container(call: Call, account: StorageAccount, name: str) -> bool:
    """Make a container, or find it; return whether it is new."""
    call.require_at(
        Permission.WRITE_RESOURCES,
        subscription_id=account.subscription_id,
        resource_group=account.resource_group,
    )
    names.check_container_name(name)
    if name in list_containers(call, account):
        return False
    values = {"storage_account": account.name, "name": name, "created_at": call.at}
    call.connection.execute(insert(tables.containers).values(**values))
    return True


def list_containers(call: Call, account: StorageAccount) -> list[str]:
    """Return the names of a storage account's containers, sorted."""
    columns = tables.containers.c
    wanted = select(columns.name).where(columns.storage_account == account.name)
    return list(call.connection.execute(wanted.order_by(columns.name)).scalars())


def put_vault(
    call: Call, *, subscription_id: str, resource_group: str, name: str, location: str
) -> tuple[Vault, bool]:
    """Make a vault, or find it; return it and whether it is new."""
    call.require(Permission.WRITE_VAULTS)
    group = get_group(call, subscription_id=subscription_id, name=resource_group)
    call.require_at(
        Permission.WRITE_VAULTS, subscription_id=subscription_id, resource_group=group.name
    )
    names.check_resource_name(name, what="vault", longest=50)
    for vault in list_vaults(call, subscription_id=subscription_id, resource_group=group.name):
        if vault.name.casefold() == name.casefold():
            return vault, False
    vault = Vault(
        vault_id=call.new_id(),
        tenant_id=call.principal.tenant_id,
        subscription_id=group.subscription_id,
        resource_group=group.name,
        name=name,
        location=location,
    )
    values = {each: getattr(vault, each) for each in Vault.__dataclass_fields__}
    keys = {"resource_group_key": group.name.casefold(), "name_key": name.casefold()}
    call.connection.execute(insert(tables.vaults).values(**values, **keys, created_at=call.at))
    return vault, True


def get_vault(call: Call, vault_id: str) -> Vault:
    """Return a vault of the caller's tenant.

    Raises:
        ResourceAbsent: The tenant has no such vault.
    """
    found = find_vault(call, vault_id)
    if found is None or found.tenant_id != call.principal.tenant_id:
        raise ResourceAbsent(f"vault {vault_id}")
    return found


def find_vault(call: Call, vault_id: str) -> Vault | None:
    """Return a vault by its id, whoever owns it; callers check that."""
    columns = tables.vaults.c
    wanted = select(*(columns[each] for each in Vault.__dataclass_fields__))
    row = call.connection.execute(wanted.where(columns.vault_id == vault_id)).mappings()
    found = row.one_or_none()
    return None if found is None else Vault(**found)


def list_vaults(
    call: Call, *, subscription_id: str, resource_group: str | None = None
) -> list[Vault]:
    """Return the vaults of a subscription or a group that the caller may read, by name."""
    call.require(Permission.READ_VAULTS)
    subscription = get_subscription(call, subscription_id)
    columns = tables.vaults.c
    wanted = select(*(columns[each] for each in Vault.__dataclass_fields__)).where(
        columns.subscription_id == subscription.subscription_id
    )
    if resource_group is not None:
        wanted = wanted.where(columns.resource_group_key == resource_group.casefold())
    found = [
        Vault(**row)
        for row in call.connection.execute(wanted.order_by(columns.name_key)).mappings()
    ]
    return [each for each in found if may_at_vault(call, each.vault_id, Permission.READ_VAULTS)]


def may_at_vault(call: Call, vault_id: str, permission: Permission) -> bool:
    """Return whether the caller has a permission at a vault of their tenant.

    Computers, seeds and recovery points belong to their vault: who may read or change them is
    decided by its resource group.
    """
    vault = find_vault(call, vault_id)
    if vault is None or vault.tenant_id != call.principal.tenant_id:
        return False
    return call.may(
        permission, subscription_id=vault.subscription_id, resource_group=vault.resource_group
    )


def require_at_vault(call: Call, vault_id: str, permission: Permission) -> None:
    """Return if the caller has a permission at a vault of their tenant.

    Raises:
        Forbidden: They have not.
        ResourceAbsent: The tenant has no such vault.
    """
    vault = get_vault(call, vault_id)
    call.require_at(
        permission, subscription_id=vault.subscription_id, resource_group=vault.resource_group
    )


def _reaches(call: Call, subscription_id: str, resource_group: str) -> bool:
    """Whether a person holds a role there that reads resources; machines' tokens reach all.

    Those are narrowed to a subscription before.
    """
    if call.principal.role is not Role.USER:
        return True
    return call.may(
        Permission.READ_RESOURCES, subscription_id=subscription_id, resource_group=resource_group
    )


def _place(account: StorageAccount) -> tuple[str, str]:
    return account.subscription_id, account.resource_group.casefold()
