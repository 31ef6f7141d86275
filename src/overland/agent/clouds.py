"""The clouds that publish settings files come from, by the endpoint that a file names.

Nothing here is ever called: endpoints come from the file alone (R7).  A profile tells an operator
which cloud a file belongs to, and where another one is downloaded.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["OWN", "PROFILES", "CloudProfile", "profile_of"]

_BLADE: Final = "#blade/Microsoft_Azure_ClassicResources/PublishingProfileBlade"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudProfile:
    """One cloud: what it is called, its domain, and where its publish settings are."""

    name: str
    title: str
    domains: tuple[str, ...]
    management_endpoint: str
    download: str


PROFILES: Final = (
    CloudProfile(
        name="public",
        title="Azure public",
        domains=("core.windows.net", "azure.com"),
        management_endpoint="https://management.core.windows.net",
        download=f"https://portal.azure.com/{_BLADE}",
    ),
    CloudProfile(
        name="usgovernment",
        title="Azure US government",
        domains=("usgovcloudapi.net", "azure.us"),
        management_endpoint="https://management.core.usgovcloudapi.net",
        download=f"https://portal.azure.us/{_BLADE}",
    ),
    CloudProfile(
        name="china",
        title="Azure China",
        domains=("chinacloudapi.cn", "azure.cn"),
        management_endpoint="https://management.core.chinacloudapi.cn",
        download=f"https://portal.azure.cn/{_BLADE}",
    ),
)

OWN: Final = CloudProfile(
    name="own",
    title="own cloud",
    domains=(),
    management_endpoint="",
    download="`overland cloud publish-settings`",
)
"""Whatever no other profile fits; its endpoints stand in its files."""


def profile_of(url: str) -> CloudProfile:
    """Return the cloud that an endpoint belongs to."""
    host = (urlsplit(url).hostname or "").lower()
    for profile in PROFILES:
        if any(host == domain or host.endswith(f".{domain}") for domain in profile.domains):
            return profile
    return OWN
