"""A tenant's people, and a person at the pages with a browser that keeps cookies."""

import html
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from tests.support.asgi import Answer, AsgiClient
from tests.support.cloud import LocalCloud, LocalHttp

from overland.cloud.passwords import Cost
from overland.cloud.proofs import Claimed, change_password
from overland.cloud.signin import CLIENT_ID

__all__ = ["CHEAP", "PASSWORD", "Browser", "Town", "token_form"]

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
PASSWORD = "four words of somebody"
_FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Browser:
    """Opens pages and sends their forms, as a browser does: hidden fields, cookies, no scripts."""

    def __init__(self, cloud: LocalCloud) -> None:
        cloud.app.state.services = cloud.services
        self._client = AsgiClient(cloud.app)
        self.hidden: dict[str, str] = {}
        self.cookie: str | None = None

    def open(self, path: str) -> Answer:
        return self._seen(self._client.request("GET", path, headers={"cookie": self.cookie}))

    def send(self, path: str, **fields: str) -> Answer:
        body = urlencode({**self.hidden, **fields}).encode()
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(body)),
            "cookie": self.cookie,
        }
        return self._seen(self._client.request("POST", path, headers=headers, pieces=[body]))

    def _seen(self, answer: Answer) -> Answer:
        text = answer.content.decode()
        self.hidden = {name: html.unescape(value) for name, value in _FIELD.findall(text)}
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer


@dataclass(frozen=True, kw_only=True)
class Town:
    """A cloud with one tenant, in which passwords cost little."""

    cloud: LocalCloud
    tenant_id: str
    admin: LocalHttp

    @classmethod
    def of(cls, cloud: LocalCloud) -> "Town":
        cloud.services = replace(cloud.services, password_cost=CHEAP)
        tenant_id, admin = cloud.tenant()
        return cls(cloud=cloud, tenant_id=tenant_id, admin=cloud.http(admin))

    def invite(self, name: str, role: str | None = None, **place: str) -> Any:
        body = {"name": name, "role": role, **place}
        return self.admin.ok("POST", "/v1/users", body)

    def claimed(self, name: str, password: str = PASSWORD, *, code: str = "") -> Claimed:
        return Claimed(
            tenant_id=self.tenant_id,
            name=name,
            password=password,
            one_time_code=code,
            address="192.0.2.7",
        )

    def settle(self, name: str, role: str | None = None, **place: str) -> Any:
        """Make a person who has chosen a password."""
        made = self.invite(name, role, **place)
        claimed = self.claimed(name, made["invitation"])
        change_password(self.cloud.services, claimed, PASSWORD)
        return made

    def ask_code(self, **changes: str) -> Any:
        form = {"client_id": CLIENT_ID, "client_name": "overland of ada on quay", **changes}
        return self.form("devicecode", form)[1]

    def form(self, endpoint: str, form: dict[str, str]) -> tuple[int, Any]:
        """Send a form to a sign-in endpoint of the tenant."""
        self.cloud.app.state.services = self.cloud.services
        body = urlencode(form).encode()
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "content-length": str(len(body)),
        }
        path = f"/{self.tenant_id}/oauth2/v2.0/{endpoint}"
        answer = AsgiClient(self.cloud.app).request("POST", path, headers=headers, pieces=[body])
        return answer.status, answer.json()

    def sign_in(self, name: str, *, code: str = "", password: str = PASSWORD) -> Any:
        """Return the tokens of a person who confirmed a device code on the page."""
        asked = self.ask_code()
        browser = Browser(self.cloud)
        browser.open("/device")
        fields = {"code": asked["user_code"], "name": name, "password": password, "totp": code}
        seen = browser.send("/device", **fields)
        assert seen.status == 200, seen.content.decode()
        assert browser.send("/device/decision", decision="allow").status == 200
        status, tokens = self.form("token", token_form(device_code=asked["device_code"]))
        assert status == 200, tokens
        return tokens

    def person(self, name: str, role: str | None = None, **place: str) -> LocalHttp:
        """Return the API as a new person sees it, who has signed in."""
        self.settle(name, role, **place)
        return self.cloud.http(self.sign_in(name)["access_token"])


def token_form(*, device_code: str = "", refresh_token: str = "") -> dict[str, str]:
    """Return what a command asks the token endpoint."""
    if device_code:
        return {"grant_type": _DEVICE, "client_id": CLIENT_ID, "device_code": device_code}
    return {
        "grant_type": "refresh_token",
        "client_id": CLIENT_ID,
        "refresh_token": refresh_token,
    }
