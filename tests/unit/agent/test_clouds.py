"""The clouds that a publish settings file may come from."""

import pytest

from overland.agent.clouds import PROFILES, profile_of


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("url", "name"),
    [
        *((each.management_endpoint, each.name) for each in PROFILES),
        ("https://management.azure.com/", "public"),
        ("https://management.usgovcloudapi.net", "usgovernment"),
        ("https://management.chinacloudapi.cn", "china"),
        ("https://cloud.example.com:8443", "own"),
        ("https://core.windows.net.example.com", "own"),
        ("https://notazure.com", "own"),
        ("", "own"),
    ],
)
def test_a_cloud_is_known_by_its_endpoint(url: str, name: str) -> None:
    assert profile_of(url).name == name


@pytest.mark.requirement("R7")
def test_every_cloud_has_its_own_download_page() -> None:
    portals = {"public": "portal.azure.com", "usgovernment": "portal.azure.us"}
    portals["china"] = "portal.azure.cn"
    blade = "/#blade/Microsoft_Azure_ClassicResources/PublishingProfileBlade"
    assert {each.name: each.download for each in PROFILES} == {
        name: f"https://{host}{blade}" for name, host in portals.items()
    }
