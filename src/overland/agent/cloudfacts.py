"""What the cloud answers to a preflight (`POST /v1/preflight`)."""

import msgspec

__all__ = ["CloudFacts"]


class CloudFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is so in the cloud; every field is an answer of its own."""

    now: str
    version: str
    vault_id: str
    vault_name: str
    vault_subscription_id: str
    is_subscription_known: bool
    is_seeding_allowed: bool
    account_kind: str | None
    account_location: str | None
    holds_page_blobs: bool
    is_container_known: bool
    is_container_empty: bool
    job_problem: str | None
    job_warning: str | None
