"""`overland cloud allow-seeding`: what the provider lets a subscription do."""

from urllib.parse import quote

import click

from overland.cli.cloudcomputer import ApiClient, with_api
from overland.cli.outcome import show

__all__ = ["allow_seeding"]


@click.command("allow-seeding")
@click.argument("subscription_id")
@click.option("--allow/--forbid", "allowed", default=True, help="Allow is the default.")
@with_api
def allow_seeding(*, api: ApiClient, subscription_id: str, allowed: bool, as_json: bool) -> None:
    """Say whether SUBSCRIPTION_ID may make first copies by drive; the provider's to say.

    A new subscription may.  Backup over the network stays possible either way, and seeds that are
    on their way go on.
    """
    path = f"/v1/subscriptions/{quote(subscription_id)}/capabilities"
    said = api.ask(
        "PUT", path, f"subscription {subscription_id}", json={"seeding_allowed": allowed}
    )
    verb = "may" if allowed else "may not"
    show(said, f"subscription {subscription_id} {verb} seed by drive", as_json=as_json)
