"""The page that describes the API: complete without a network."""

import re

from tests.support.asgi import AsgiClient
from tests.support.cloud import LocalCloud

from overland.server.api import create_app


def test_the_page_runs_no_script_from_elsewhere(cloud: LocalCloud) -> None:
    client = AsgiClient(create_app(cloud.services))
    page = client.request("GET", "/docs")
    assert page.status == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    assert len(linked) >= 2, "a script and a style sheet"
    for url in linked:
        assert url.startswith("/"), f"{url} is on another host"
        assert client.request("GET", url).status == 200, url
