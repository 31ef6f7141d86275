"""Targets: what programs and people send to sign in: certificates, assertions, tokens."""

import atexit
import base64
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import delete
from tests.fuzz.oracle import MAX_MESSAGE, Target
from tests.support.applicants import Program, Tenancy
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey

from overland.agent.offlineidentity import OfflineIdentity, encode_identity, parse_identity
from overland.cloud import accesstokens
from overland.cloud.certificatefiles import public_key_of, read_certificate
from overland.cloud.tables_applications import used_assertions

__all__ = ["IDENTITY"]

_PROGRAM: Final = Program()


@cache
def _tenancy() -> tuple[Tenancy, str]:
    """Return a tenant, and its application with a certificate."""
    folder = Path(tempfile.mkdtemp(prefix="overland-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    journey = Journey(cloud=LocalCloud(folder))
    world = journey.world
    tenancy = Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)
    application_id = tenancy.application()
    tenancy.enroll(application_id, _PROGRAM, journey.computer_id)
    return tenancy, application_id


def _certificate(data: bytes) -> bool:
    found = read_certificate(data)
    assert public_key_of(found).key_size >= 2048, "weak keys are refused"
    assert found.subject.isprintable(), "people read it"
    return True


def _certificate_seeds() -> Sequence[bytes]:
    return [_PROGRAM.der, _PROGRAM.pem.encode()]


def _sign_in(data: bytes) -> bool:
    """Send a form to the token endpoint, where neither replay nor rate hide what is behind."""
    tenancy, _ = _tenancy()
    tenancy.cloud.services.token_rate._windows.clear()
    with tenancy.cloud.database.begin() as connection:
        connection.execute(delete(used_assertions))
    answer = tenancy.post(data)
    assert answer.status in {200, 400, 401}, answer.content[:500]
    if answer.status != 200:
        assert answer.json()["error_description"], "every refusal says why"
        assert len(answer.content) <= MAX_MESSAGE
    return answer.status == 200


def _forms() -> Sequence[bytes]:
    tenancy, application_id = _tenancy()
    claims = tenancy.claims(application_id, jti="fuzz")
    shown = [
        _PROGRAM.assertion(claims, algorithm=algorithm, kind=kind)
        for algorithm, kind in (("RS256", "x5t"), ("PS256", "x5t#S256"), ("PS256", "x5c"))
    ]
    return [urlencode(tenancy.form(each)).encode() for each in shown]


def _verify(data: bytes) -> bool:
    tenancy, _ = _tenancy()
    cloud = tenancy.cloud
    with cloud.database.connect() as connection:
        accesstokens.verify(connection, data.decode("latin-1"), at=cloud.clock.now())
    return True


def _tokens() -> Sequence[bytes]:
    tenancy, application_id = _tenancy()
    return [tenancy.token(application_id, _PROGRAM).encode()]


def _identity_file(data: bytes) -> bool:
    found = parse_identity(data)
    assert parse_identity(encode_identity(found)) == found, "what is kept is what was meant"
    assert "PRIVATE KEY" not in found.ca_pem
    return True


def _identity_files() -> Sequence[bytes]:
    identity = OfflineIdentity(
        tenant_id="11111111-1111-4111-8111-111111111111",
        client_id="22222222-2222-4222-8222-222222222222",
        user_id="33333333-3333-4333-8333-333333333333",
        subscription_id="44444444-4444-4444-8444-444444444444",
        url="https://cloud.example:8443",
        ca_pem=_PROGRAM.pem,
        storage_account="harbourdata",
        thumbprint=_PROGRAM.sha1.upper(),
    )
    return [encode_identity(identity)]


_JOSE: Final = (
    *(b".", b"=", b"e30", b"eyJhbGciOiJub25lIn0", b"&scope=", b"&client_id=", b"%00", b"%ff"),
    *(base64.b64encode(each).rstrip(b"=") for each in (b'{"alg":"RS256"}', b'{"exp":1e999}')),
)

IDENTITY: Final = (
    Target(
        name="certificate",
        kind="binary",
        make_seeds=_certificate_seeds,
        attempt=_certificate,
        tokens=(b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"\x30\x84", b"\x80"),
    ),
    Target(
        name="offline-application-params",
        kind="xml",
        make_seeds=_identity_files,
        attempt=_identity_file,
        tokens=(b"<TenantId>", b"</Url>", b"<Thumbprint/>", b"<!DOCTYPE x>", b"<?x?>", b"&lt;"),
    ),
    Target(
        name="client-assertion",
        kind="text",
        make_seeds=_forms,
        attempt=_sign_in,
        tokens=_JOSE,
        constant_bytes=8 << 20,
    ),
    Target(
        name="access-token",
        kind="text",
        make_seeds=_tokens,
        attempt=_verify,
        tokens=_JOSE,
        constant_bytes=4 << 20,
    ),
)
"""The targets of sign-in."""
