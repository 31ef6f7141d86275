"""What a subscription may do, as its provider says: whether it may seed by drive.

A subscription of which nothing was said may.
"""

from typing import Final

from sqlalchemy import Boolean, Column, ForeignKey, String, Table, delete, insert, select

from overland.cloud import tables
from overland.cloud.identity import Permission
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Call

__all__ = ["allow_seeding", "is_seeding_allowed", "subscription_capabilities"]

subscription_capabilities: Final = Table(
    "subscription_capabilities",
    tables.metadata,
    Column(
        "subscription_id",
        String(36),
        ForeignKey("subscriptions.subscription_id"),
        primary_key=True,
    ),
    Column("seeding_allowed", Boolean, nullable=False),
)
"""What was said of a subscription; a row is replaced whole."""


def is_seeding_allowed(call: Call, subscription_id: str) -> bool:
    """Return whether the first copies of a subscription's policies may travel by drive."""
    columns = subscription_capabilities.c
    wanted = select(columns.seeding_allowed).where(columns.subscription_id == subscription_id)
    said = call.connection.execute(wanted).scalar_one_or_none()
    return said is None or bool(said)


def allow_seeding(call: Call, subscription_id: str, *, allowed: bool) -> None:
    """Say whether a subscription may seed by drive; seeds that were announced go on.

    Raises:
        ResourceAbsent: There is no such subscription.
    """
    call.require(Permission.CREATE_TENANTS)
    known = tables.subscriptions.c.subscription_id
    found = call.connection.execute(select(known).where(known == subscription_id.casefold()))
    canonical = found.scalar_one_or_none()
    if canonical is None:
        raise ResourceAbsent(f"subscription {subscription_id}")
    columns = subscription_capabilities.c
    call.connection.execute(
        delete(subscription_capabilities).where(columns.subscription_id == canonical)
    )
    call.connection.execute(
        insert(subscription_capabilities).values(subscription_id=canonical, seeding_allowed=allowed)
    )
