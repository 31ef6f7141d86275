"""Publish settings: the file that lets a copy computer create one subscription's import jobs.

The documented file gives its holder the whole account.  Ours has the same elements, so that its
readers find the subscription, and instead of a certificate a token that ends by itself and can
create and ship import jobs only, of one name if one is given.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.sax.saxutils import quoteattr

from overland.cloud import audit, names, resources
from overland.cloud.identity import Permission, Role, Scope, issue_token
from overland.cloud.services import Call

__all__ = ["NAMESPACE", "PublishSettings", "issue_publish_settings"]

NAMESPACE: Final = "urn:overland:publish-settings:1"
"""The namespace of the attributes that the documented file does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSettings:
    """The file's text, which holds a secret, and when the secret ends."""

    xml: str
    expires_at: datetime


def issue_publish_settings(
    call: Call, subscription_id: str, *, job_name: str | None
) -> PublishSettings:
    """Make a token for disk preparation and return it as a publish settings file."""
    call.require(Permission.ISSUE_PUBLISH_SETTINGS)
    subscription = resources.get_subscription(call, subscription_id)
    call.require_at(Permission.ISSUE_PUBLISH_SETTINGS, subscription_id=subscription_id)
    if job_name is not None:
        names.check_resource_name(job_name, what="job_name")
    lifetime = call.services.limits.publish_settings
    scope = Scope(
        tenant_id=subscription.tenant_id,
        subscription_id=subscription.subscription_id,
        job_name=job_name,
    )
    token = issue_token(
        call.connection,
        Role.DISKPREP,
        scope,
        at=call.at,
        lifetime=lifetime,
        random=call.services.random,
        issued_by=call.principal,
    )
    audit.note(call, "publish-settings.issued", target=subscription.name)
    expires_at = call.at + lifetime
    attributes = {
        "ServiceManagementUrl": call.services.endpoints.url,
        "Id": subscription.subscription_id,
        "Name": subscription.name,
        "ManagementCertificate": "",
        "overland:Token": token,
        "overland:CaCertificate": base64.b64encode(
            call.services.endpoints.ca_pem.encode()
        ).decode(),
        "overland:Expires": expires_at.isoformat(),
    }
    if job_name is not None:
        attributes["overland:JobName"] = job_name
    return PublishSettings(xml=_document(attributes), expires_at=expires_at)


def _document(attributes: dict[str, str]) -> str:
    lines = "".join(f"\n      {name}={quoteattr(text)}" for name, text in attributes.items())
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<PublishData xmlns:overland="{NAMESPACE}">\n'
        '  <PublishProfile SchemaVersion="2.0" PublishMethod="AzureServiceManagementAPI">\n'
        f"    <Subscription{lines} />\n"
        "  </PublishProfile>\n"
        "</PublishData>\n"
    )
