"""Resource groups, storage accounts, containers and vaults, as the resource manager has them.

Lists have one page; locations are kept as they were given.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from overland.cloud import resources
from overland.cloud.identity import Permission
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call
from overland.server.answers import MADE
from overland.server.bodies import AccountBody, ResourceBody
from overland.server.caller import Caller, Needs
from overland.server.views import (
    Json,
    account_view,
    container_view,
    group_view,
    vault_view,
)

__all__ = ["router"]


def api_version(
    version: Annotated[
        str, Query(alias="api-version", pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$")
    ],
) -> str:
    """Return the version that the request is written for; every date gets the same answers."""
    return version


router = APIRouter(tags=["Resources"], dependencies=[Depends(api_version)])

_SUBSCRIPTION: Final = "/subscriptions/{subscription_id}"
_GROUPS: Final = _SUBSCRIPTION + "/resourceGroups"
_GROUP: Final = _GROUPS + "/{resource_group}"
_ACCOUNTS: Final = "/providers/Microsoft.Storage/storageAccounts"
_ACCOUNT: Final = _GROUP + _ACCOUNTS + "/{account}"
_CONTAINERS: Final = _ACCOUNT + "/blobServices/{service}/containers"
_VAULTS: Final = "/providers/Microsoft.RecoveryServices/vaults"

Reader = Annotated[Caller, Depends(Needs(Permission.READ_RESOURCES))]
Writer = Annotated[Caller, Depends(Needs(Permission.WRITE_RESOURCES))]
VaultReader = Annotated[Caller, Depends(Needs(Permission.READ_VAULTS))]
VaultWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_VAULTS))]


@router.put(_GROUP, responses=MADE)
def put_group(
    subscription_id: str,
    resource_group: str,
    body: ResourceBody,
    response: Response,
    caller: Writer,
) -> Json:
    """Make a resource group (201), or find it (200)."""
    with caller.call() as call:
        group, is_new = resources.put_group(
            call, subscription_id=subscription_id, name=resource_group, location=body.location
        )
    response.status_code = 201 if is_new else 200
    return group_view(group)


@router.get(_GROUPS)
def list_groups(subscription_id: str, caller: Reader) -> Json:
    """Return the resource groups of a subscription."""
    with caller.call() as call:
        found = resources.list_groups(call, subscription_id=subscription_id)
    return {"value": [group_view(each) for each in found]}


@router.get(_GROUP)
def get_group(subscription_id: str, resource_group: str, caller: Reader) -> Json:
    """Return a resource group."""
    with caller.call() as call:
        return group_view(
            resources.get_group(call, subscription_id=subscription_id, name=resource_group)
        )


@router.put(_ACCOUNT)
def put_account(
    subscription_id: str,
    resource_group: str,
    account: str,
    body: AccountBody,
    caller: Writer,
) -> Json:
    """Make a storage account, or find it."""
    with caller.call() as call:
        found, _ = resources.put_account(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            name=account,
            location=body.location,
            kind=body.kind,
        )
    return account_view(found)


@router.get(_SUBSCRIPTION + _ACCOUNTS)
def list_accounts(subscription_id: str, caller: Reader) -> Json:
    """Return the storage accounts of a subscription."""
    with caller.call() as call:
        found = resources.list_accounts(call, subscription_id=subscription_id)
    return {"value": [account_view(each) for each in found]}


@router.get(_GROUP + _ACCOUNTS)
def list_group_accounts(subscription_id: str, resource_group: str, caller: Reader) -> Json:
    """Return the storage accounts of a resource group."""
    with caller.call() as call:
        group = resources.get_group(call, subscription_id=subscription_id, name=resource_group)
        found = resources.list_accounts(call, subscription_id=subscription_id)
    here = [each for each in found if each.resource_group == group.name]
    return {"value": [account_view(each) for each in here]}


@router.get(_ACCOUNT)
def get_account(subscription_id: str, resource_group: str, account: str, caller: Reader) -> Json:
    """Return a storage account."""
    with caller.call() as call:
        return account_view(
            resources.get_account(
                call,
                subscription_id=subscription_id,
                resource_group=resource_group,
                name=account,
            )
        )


@router.put(_CONTAINERS + "/{container}", responses=MADE)
def put_container(
    subscription_id: str,
    resource_group: str,
    account: str,
    service: str,
    container: str,
    response: Response,
    caller: Writer,
    body: ResourceBody | None = None,
) -> Json:
    """Make a container (201), or find it (200)."""
    del body  # accepted for other clients; a container has no settings
    with caller.call() as call:
        found = _account(call, subscription_id, resource_group, account, service)
        is_new = resources.put_container(call, found, container)
    response.status_code = 201 if is_new else 200
    return container_view(found, container)


@router.get(_CONTAINERS)
def list_containers(
    subscription_id: str, resource_group: str, account: str, service: str, caller: Reader
) -> Json:
    """Return the containers of a storage account."""
    with caller.call() as call:
        found = _account(call, subscription_id, resource_group, account, service)
        names = resources.list_containers(call, found)
    return {"value": [container_view(found, each) for each in names]}


@router.get(_CONTAINERS + "/{container}")
def get_container(
    subscription_id: str,
    resource_group: str,
    account: str,
    service: str,
    container: str,
    caller: Reader,
) -> Json:
    """Return a container."""
    with caller.call() as call:
        found = _account(call, subscription_id, resource_group, account, service)
        if container not in resources.list_containers(call, found):
            raise ResourceAbsent(f"container {container}")
    return container_view(found, container)


@router.put(_GROUP + _VAULTS + "/{vault}", responses=MADE)
def put_vault(
    subscription_id: str,
    resource_group: str,
    vault: str,
    body: ResourceBody,
    response: Response,
    caller: VaultWriter,
) -> Json:
    """Make a vault (201), or find it (200)."""
    with caller.call() as call:
        found, is_new = resources.put_vault(
            call,
            subscription_id=subscription_id,
            resource_group=resource_group,
            name=vault,
            location=body.location,
        )
    response.status_code = 201 if is_new else 200
    return vault_view(found)


@router.get(_SUBSCRIPTION + _VAULTS)
def list_vaults(subscription_id: str, caller: VaultReader) -> Json:
    """Return the vaults of a subscription."""
    with caller.call() as call:
        found = resources.list_vaults(call, subscription_id=subscription_id)
    return {"value": [vault_view(each) for each in found]}


@router.get(_GROUP + _VAULTS)
def list_group_vaults(subscription_id: str, resource_group: str, caller: VaultReader) -> Json:
    """Return the vaults of a resource group."""
    with caller.call() as call:
        found = resources.list_vaults(
            call, subscription_id=subscription_id, resource_group=resource_group
        )
    return {"value": [vault_view(each) for each in found]}


@router.get(_GROUP + _VAULTS + "/{vault}")
def get_vault(subscription_id: str, resource_group: str, vault: str, caller: VaultReader) -> Json:
    """Return a vault."""
    with caller.call() as call:
        found = resources.list_vaults(
            call, subscription_id=subscription_id, resource_group=resource_group
        )
    for each in found:
        if each.name.casefold() == vault.casefold():
            return vault_view(each)
    raise ResourceAbsent(f"vault {vault}")


def _account(
    call: Call, subscription_id: str, resource_group: str, account: str, service: str
) -> resources.StorageAccount:
    if service.casefold() != "default":
        raise ResourceAbsent(f"blob service {service}")
    return resources.get_account(
        call, subscription_id=subscription_id, resource_group=resource_group, name=account
    )
