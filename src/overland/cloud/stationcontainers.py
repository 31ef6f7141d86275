"""The containers of a job's storage account, as the station needs them."""

from typing import Final

from sqlalchemy import insert, select

from overland.cloud import names, tables
from overland.cloud.permissions import Permission
from overland.cloud.services import Call

__all__ = ["ROOT_CONTAINER", "containers_of", "ensure_container"]

ROOT_CONTAINER: Final = "$root"
"""Where blobs lie whose path names no container."""


def ensure_container(call: Call, account: str, name: str) -> None:
    """Make a container that a drive or its logs need in the storage account of its job.

    Raises:
        Invalid: No container can be called so.
    """
    call.require(Permission.WORK_AT_STATION)
    if name != ROOT_CONTAINER:
        names.check_container_name(name)
    if name not in containers_of(call, account):
        values = {"storage_account": account, "name": name, "created_at": call.at}
        call.connection.execute(insert(tables.containers).values(**values))


def containers_of(call: Call, account: str) -> list[str]:
    """Return the names of the containers of a storage account, sorted."""
    call.require(Permission.WORK_AT_STATION)
    columns = tables.containers.c
    wanted = select(columns.name).where(columns.storage_account == account)
    return list(call.connection.execute(wanted.order_by(columns.name)).scalars())
