"""Targets: what strangers may send to the cloud's two planes, and what they may hand to people.

A request is a text: `METHOD PATH`, headers one a line, an empty line, the body.  The header `as`
says whose token is sent.
"""

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from tests.fuzz.oracle import Target
from tests.support import format_samples as sample
from tests.support.asgi import Answer, AsgiClient
from tests.support.cloud import ARM, LocalCloud
from tests.support.cloudsamples import Journey, job_body, ship_body
from tests.support.dataplane import KEY, grant_token, objects_app
from tests.support.landed import MemorySpaces, put
from tests.support.manualclock import ManualClock

from overland.agent.setup import parse_vault_credentials
from overland.cloud import grants
from overland.crypto import registration, sign
from overland.diskprep.publish_settings import parse_publish_settings

__all__ = ["SERVICES"]

_NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
_SPACE: Final = "accounts/harbour/seeds"
_HEADER: Final = re.compile(r"([A-Za-z0-9-]{1,40}): ?([ -~]{0,10000})")
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,10}) (/[!-~]{0,20000})")


class _Requests:
    """An application, and the tokens of those who may ask it."""

    def __init__(self, client: AsgiClient, tokens: Mapping[str, str]) -> None:
        self._client, self._tokens = client, tokens

    def send(self, document: bytes) -> bool:
        """Send the request that the text describes; return whether it was carried out."""
        head, _, body = document.partition(b"\n\n")
        first, *lines = head.decode("latin-1").split("\n")
        asked = _REQUEST_LINE.fullmatch(first)
        if asked is None:
            return False  # the server's own parser refuses it, before any of our code
        headers = {found[1].lower(): found[2] for found in map(_HEADER.fullmatch, lines) if found}
        token = self._tokens.get(headers.pop("as", ""))
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        headers.setdefault("content-length", str(len(body)))
        answer = self._client.request(asked[1], asked[2], headers=headers, pieces=[body])
        _check(answer, method=asked[1])
        return answer.status < 300


def _check(answer: Answer, *, method: str) -> None:
    assert answer.status < 500, f"{answer.status}: {answer.content[:500]!r}"
    assert len(answer.content) <= 1 << 20, f"an answer of {len(answer.content)} bytes"
    if answer.status >= 400 and method != "HEAD":
        error = answer.json()["error"]
        if isinstance(error, str):  # of sign-in, in the words of OAuth
            error = {"code": error, "message": answer.json()["error_description"]}
        assert error["code"], "every refusal has a code"
        assert error["message"], "every refusal says why"


def _request(method: str, path: str, body: object = None, *, by: str = "admin") -> bytes:
    text = b"" if body is None else msgspec.json.encode(body)
    return f"{method} {path}\nas: {by}\ncontent-type: application/json".encode() + b"\n\n" + text


# The control plane.


@cache
def _journey() -> Journey:
    folder = Path(tempfile.mkdtemp(prefix="overland-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    journey = Journey(cloud=LocalCloud(folder))
    journey.to_dock()
    return journey


@cache
def _api() -> _Requests:
    journey = _journey()
    cloud = journey.cloud
    cloud.app.state.services = cloud.services
    tokens = {
        "root": cloud.root_token,
        "admin": journey.world.admin,
        "agent": str(journey.agent._token),
        "station": str(journey.station._token),
    }
    return _Requests(AsgiClient(cloud.app), tokens)


def _api_seeds() -> Sequence[bytes]:
    journey = _journey()
    world, seed = journey.world, journey.seed
    events = f"/v1/station/jobs/{journey.job_id}/drives/{journey.serials[0]}/events"
    parcel = {"tracking_number": "TRACK-0002", "carrier": "FedEx", "serials": ["ZX91K7Q0"]}
    where = {"location": "westeurope", "tags": {"a": "b"}, "properties": {}}
    return [
        _request("PUT", world.job_path("another-job"), job_body(world, serials=["ZX91K7Q9"])),
        _request("PUT", journey.job_path, job_body(world, seed_id=seed.seed_id)),
        _request("PATCH", journey.job_path, ship_body()),
        _request("GET", journey.jobs_url(group=True) + "&$top=5"),
        _request("POST", journey.job_path.replace("?", "/listBitLockerKeys?")),
        _request("PUT", f"{world.group}?{ARM}", where),
        _request("PUT", f"{world.account_id}?{ARM}", {**where, "kind": "StorageV2"}),
        _request("POST", "/v1/tenants", {"name": "x"}, by="root"),
        _request("POST", "/v1/tokens", {"role": "station", "expires_in_days": 30}, by="root"),
        _request("POST", "/v1/subscriptions", {"name": "x"}),
        _request("POST", "/v1/tenants/mine/applications", {"name": "x"}),
        _request("POST", "/v1/tenants/mine/applications/x/certificates", {"certificate": "x"}),
        _request("POST", f"/v1/vaults/{world.vault_id}/credentials"),
        _request("POST", "/v1/seeds", journey.seed_body(), by="agent"),
        _request("PATCH", journey.seed_path, {"job_name": "other"}, by="agent"),
        _request("PUT", f"{journey.seed_path}/manifest", by="agent") + seed.document,
        _request("POST", "/v1/grants", {"kind": "vault"}, by="agent"),
        _request("POST", "/v1/points", {"point_id": seed.point_id}, by="agent"),
        _request("GET", "/v1/points", by="agent"),
        _request("POST", "/v1/station/parcels", parcel, by="station"),
        _request("POST", events, {"event": "started", "percent": 5}, by="station"),
        _request("GET", "/v1/custody?job=harbour-first"),
    ]


# The data plane.


@cache
def _plane() -> _Requests:
    spaces = MemorySpaces()
    put(spaces.open(_SPACE), "seed-1/a", b"0123456789")
    put(spaces.open(_SPACE), "seed-2/secret", b"another tenant's")
    app = objects_app(spaces)
    return _Requests(AsgiClient(app), {"holder": grant_token(_SPACE, "seed-1/")})


def _send_object(document: bytes) -> bool:
    return _plane().send(document)


def _plane_seeds() -> Sequence[bytes]:
    digest = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"  # of 0123456789
    return [
        f"GET /{_SPACE}/seed-1/a\nas: holder\nrange: bytes=2-4\n\n".encode(),
        f"HEAD /{_SPACE}/seed-1/a\nas: holder\n\n".encode(),
        f"GET /{_SPACE}?list&prefix=seed-1/&after=seed-1/0&top=5\nas: holder\n\n".encode(),
        f"PUT /{_SPACE}/seed-1/b\nas: holder\nx-overland-sha256: {digest}\n\n".encode()
        + b"0123456789",
        f"DELETE /{_SPACE}/seed-1/c\nas: holder\n\n".encode(),
    ]


# Tokens and documents that people carry.


@cache
def _grant() -> str:
    return grant_token(_SPACE, "seed-1/")


def _verify_grant(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    grants.verify(text, public_key=sign.public_key(KEY), at=ManualClock().now())
    return True


def _claim() -> registration.Claim:
    return registration.Claim(
        vault_id="vault",
        name="srv-1",
        repository_id=sample.REPOSITORY,
        signing_public_key=sign.public_key(KEY).hex(),
        token_sha256="0" * 64,
    )


def _verify_proof(data: bytes) -> bool:
    registration.verify(_claim(), data.decode("utf-8", "replace"))
    return True


def _credentials(data: bytes) -> bool:
    found = parse_vault_credentials(data, now=_NOW)
    assert "token" not in repr(found).replace("token=…", ""), "a token is never shown"
    return True


def _credentials_seed() -> bytes:
    return msgspec.json.encode(
        {
            "format": 1,
            "url": "https://cloud.test",
            "object_url": "https://objects.test",
            "ca_pem": "PEM",
            "vault_id": "v",
            "vault_name": "vault-1",
            "registration_token": "secret",
            "expires_at": "2030-01-01T00:00:00+00:00",
        }
    )


def _publish_settings(data: bytes) -> bool:
    parse_publish_settings(data)
    return True


def _publish_settings_seeds() -> Sequence[bytes]:
    first = (
        '<?xml version="1.0" encoding="utf-8"?><PublishData><PublishProfile '
        'PublishMethod="AzureServiceManagementAPI" Url="https://one.test/" '
        'ManagementCertificate="MAYCAQMEAQA="><Subscription Id="11111111" Name="one" />'
        "</PublishProfile></PublishData>"
    )
    second = (
        '<?xml version="1.0" encoding="utf-8"?><PublishData '
        'xmlns:o="urn:overland"><PublishProfile SchemaVersion="2.0" '
        'PublishMethod="AzureServiceManagementAPI"><Subscription '
        'ServiceManagementUrl="https://two.test" Id="2" Name="two" o:Token="t" '
        'o:CaCertificate="UEVN" o:Expires="2030-01-01T00:00:00+00:00" />'
        "</PublishProfile></PublishData>"
    )
    return [first.encode(), second.encode()]


_PATHS: Final = (
    b"%2e%2e",
    b"%2F",
    b"%00",
    b"%ff",
    b"%c3%a9",
    b"/../",
    b"//",
    b"/./",
    b"?api-version=2021-01-01",
    b"&api-version=2021-01-01",
    b"$skiptoken=",
    b"seed-2/secret",
    b"\nrange: bytes=0-",
    b"\nrange: bytes=-0",
    b"\nrange: bytes=99999999999999999999-",
    b"\nrange: bytes=0-1,3-4",
    b"\ncontent-length: -1",
    b"\ncontent-length: 99999999999999999999",
    b"\ncontent-length: 1e3",
    b"\ntransfer-encoding: chunked",
    b"\ncontent-type: application/xml",
    b"\nauthorization: Bearer x",
    b"\nif-match: *",
    b"SUBSCRIPTIONS",
    b"9" * 30,
    b'"a":',
    b"NaN",
    b"1e999",
)

SERVICES: Final = (
    Target(
        name="api",
        kind="request",
        make_seeds=_api_seeds,
        attempt=lambda document: _api().send(document),
        tokens=_PATHS,
        constant_bytes=24 << 20,
        bytes_per_byte=512,
    ),
    Target(
        name="object-plane",
        kind="request",
        make_seeds=_plane_seeds,
        attempt=_send_object,
        tokens=_PATHS,
        constant_bytes=8 << 20,
    ),
    Target(
        name="grant",
        kind="text",
        make_seeds=lambda: [_grant().encode()],
        attempt=_verify_grant,
        tokens=(b".", b"=", b"+", b"og1."),
        is_sealed=True,
    ),
    Target(
        name="registration-proof",
        kind="text",
        make_seeds=lambda: [registration.prove(_claim(), KEY).encode()],
        attempt=_verify_proof,
        is_sealed=True,
    ),
    Target(
        name="vault-credentials",
        kind="json",
        make_seeds=lambda: [_credentials_seed()],
        attempt=_credentials,
        tokens=(b"+99:99", b"T25:00", b"24:00:00", b"Z"),
    ),
    Target(
        name="publish-settings",
        kind="xml",
        make_seeds=_publish_settings_seeds,
        attempt=_publish_settings,
        tokens=(b"+99:99", b"%%%", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"xmlns:o=''"),
        bytes_per_byte=256,
    ),
)
"""The targets of services and of documents that people carry."""
