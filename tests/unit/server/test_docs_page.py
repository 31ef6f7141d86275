"""The page that describes the API: complete without a network, and dark where the system is."""

import re

import pytest
from tests.support.asgi import AsgiClient
from tests.support.cloud import LocalCloud

from overland.server.api import create_app


@pytest.fixture
def client(cloud: LocalCloud) -> AsgiClient:
    return AsgiClient(create_app(cloud.services))


def text(client: AsgiClient, path: str) -> str:
    answer = client.request("GET", path)
    assert answer.status == 200, path
    return answer.content.decode()


def test_the_page_runs_no_script_from_elsewhere(client: AsgiClient) -> None:
    page = client.request("GET", "/docs")
    assert page.status == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    linked.remove("data:,")  # no icon, instead of a request for one
    assert len(linked) >= 2, "a script and a style sheet"
    for url in linked:
        assert url.startswith("/"), f"{url} is on another host"
        assert client.request("GET", url).status == 200, url


def test_the_browser_is_told_to_run_and_ask_nothing_else(client: AsgiClient) -> None:
    page = client.request("GET", "/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    inline = re.findall(r"<script>|<style|\son\w+=|\sstyle=", page.content.decode())
    assert inline == [], "the policy would not let it run"


def test_the_page_is_dark_where_the_system_is(client: AsgiClient) -> None:
    assert 'matchMedia("(prefers-color-scheme: dark)")' in text(client, "/docs.js")
    assert "dark-mode" in text(client, "/docs.js")
    shipped = text(client, "/static-offline-docs/swagger-ui.css")
    assert "html.dark-mode .swagger-ui{" in shipped, "what the script turns on"
    style, others = text(client, "/docs.css"), text(client, "/pages.css")
    colours = others.partition("* {")[0]
    assert "@media (prefers-color-scheme: dark)" in colours
    assert style.startswith(colours), "all pages have the same colours"
    assert set(re.findall(r"var\((--[a-z-]+)\)", style)) <= set(re.findall(r"--[a-z-]+", colours))
