"""The resource manager's own client libraries sign in at our cloud, over TLS, unchanged.

They talk to 127.0.0.1 only: a guard refuses every other connection of the process.
"""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import msal  # type: ignore[import-untyped] # it has none
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from tests.support.applicants import Program, SecureCloud, Tenancy, secure_cloud
from tests.support.cloud import LocalCloud
from tests.support.cloudsamples import Journey
from tests.support.manualclock import ManualClock

from overland.cloud.accesstokens import AUDIENCE

SCOPE = f"{AUDIENCE}/.default"
PROGRAM = Program()


@pytest.fixture(autouse=True)
def _only_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:  # Any: the family's own
        assert self.family == socket.AF_UNIX or address[0] in {"127.0.0.1", "::1"}, address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    (tmp_path / "cloud").mkdir()
    clock = ManualClock(datetime.now(tz=UTC).replace(microsecond=0))
    with LocalCloud(tmp_path / "cloud", clock) as cloud:
        yield Journey(cloud=cloud)


@pytest.fixture
def secure(journey: Journey, tmp_path: Path) -> Iterator[SecureCloud]:
    (tmp_path / "tls").mkdir()
    with secure_cloud(journey.cloud, tmp_path / "tls") as served:
        yield served


@pytest.fixture
def tenancy(journey: Journey) -> Tenancy:
    world = journey.world
    return Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)


@pytest.fixture
def client_id(tenancy: Tenancy, journey: Journey) -> str:
    application_id = tenancy.application()
    tenancy.enroll(application_id, PROGRAM, journey.computer_id)
    return application_id


@pytest.mark.requirement("R47")
@pytest.mark.parametrize("how", ["oidc", "authority", "discovery"])
def test_msal_gets_a_token_that_opens_the_seed_and_is_checked_by_published_keys(
    how: str, journey: Journey, secure: SecureCloud, tenancy: Tenancy, client_id: str
) -> None:
    journey.announce()
    base = f"{secure.url}/{tenancy.tenant_id}"
    ways: dict[str, dict[str, Any]] = {
        "oidc": {"oidc_authority": f"{base}/v2.0"},
        "authority": {"authority": base, "instance_discovery": False},
        "discovery": {
            "authority": base,
            "instance_discovery": f"{secure.url}/common/discovery/instance",
        },
    }
    app = msal.ConfidentialClientApplication(
        client_id,
        client_credential={"private_key": PROGRAM.key_pem, "thumbprint": PROGRAM.sha1},
        verify=str(secure.ca_file),
        **ways[how],
    )
    answer = app.acquire_token_for_client([SCOPE])
    assert "access_token" in answer, answer
    token = answer["access_token"]
    found = secure.get(journey.seed_path, token)
    assert (found.status_code, found.json()["state"]) == (200, "Configured")

    keys = secure.get(f"/{tenancy.tenant_id}/discovery/v2.0/keys").json()["keys"]
    (key,) = [each for each in keys if each["kid"] == jwt.get_unverified_header(token)["kid"]]
    issuer = f"{base}/v2.0"
    claims = jwt.decode(
        token, jwt.PyJWK(key), algorithms=["RS256"], audience=AUDIENCE, issuer=issuer
    )
    assert (claims["tid"], claims["azp"]) == (tenancy.tenant_id, client_id)
    assert 0 < claims["exp"] - time.time() <= 3601


def test_msal_with_its_default_algorithm_and_its_chain(
    secure: SecureCloud, tenancy: Tenancy, client_id: str, tmp_path: Path
) -> None:
    """With a PFX the library signs PS256 and names by `x5t#S256`; or sends `x5c`, on request."""
    pfx = tmp_path / "program.pfx"
    content = pkcs12.serialize_key_and_certificates(
        b"program", PROGRAM.key, PROGRAM.certificate, None, NoEncryption()
    )
    pfx.write_bytes(content)
    for more in ({}, {"public_certificate": True}):
        app = msal.ConfidentialClientApplication(
            client_id,
            client_credential={"private_key_pfx_path": str(pfx), **more},
            oidc_authority=f"{secure.url}/{tenancy.tenant_id}/v2.0",
            verify=str(secure.ca_file),
        )
        assert "access_token" in app.acquire_token_for_client([SCOPE])


def test_one_msal_client_asks_for_several_scopes_with_one_assertion(
    journey: Journey, secure: SecureCloud, tenancy: Tenancy, client_id: str
) -> None:
    journey.announce()
    app = msal.ConfidentialClientApplication(
        client_id,
        client_credential={"private_key": PROGRAM.key_pem, "thumbprint": PROGRAM.sha1},
        oidc_authority=f"{secure.url}/{tenancy.tenant_id}/v2.0",
        verify=str(secure.ca_file),
    )
    narrow = f"{AUDIENCE}/seed/{journey.seed.seed_id}"
    for scope in (SCOPE, narrow):
        assert "access_token" in app.acquire_token_for_client([scope])
    again = app.acquire_token_for_client([SCOPE])
    assert again["token_source"] == "cache"


def test_msal_says_why_a_certificate_was_refused(
    secure: SecureCloud, tenancy: Tenancy, client_id: str
) -> None:
    stranger = Program(number=7)
    app = msal.ConfidentialClientApplication(
        client_id,
        client_credential={"private_key": stranger.key_pem, "thumbprint": stranger.sha1},
        oidc_authority=f"{secure.url}/{tenancy.tenant_id}/v2.0",
        verify=str(secure.ca_file),
    )
    answer = app.acquire_token_for_client([SCOPE])
    assert answer["error"] == "invalid_client"
    assert "this certificate" in answer["error_description"]


@pytest.mark.requirement("R47")
@pytest.mark.parametrize("send_chain", [False, True])
def test_certificate_credential_of_azure_identity(
    journey: Journey, secure: SecureCloud, tenancy: Tenancy, client_id: str, *, send_chain: bool
) -> None:
    journey.announce()
    with CertificateCredential(
        tenant_id=tenancy.tenant_id,
        client_id=client_id,
        certificate_data=(PROGRAM.key_pem + PROGRAM.pem).encode(),
        authority=secure.url,
        disable_instance_discovery=True,
        connection_verify=str(secure.ca_file),
        send_certificate_chain=send_chain,
    ) as credential:
        for scope in (SCOPE, "https://management.azure.com/.default"):
            token = credential.get_token(scope).token
            assert secure.get("/v1/seeds", token).json()[0]["seed_id"] == journey.seed.seed_id


def test_azure_identity_trusts_our_authority_only_when_told_and_a_known_tenant_only(
    secure: SecureCloud, tenancy: Tenancy, client_id: str
) -> None:
    for tenant_id in (tenancy.tenant_id, "00000000-0000-4000-8000-00000000abcd"):
        verify = tenant_id != tenancy.tenant_id
        with (
            CertificateCredential(
                tenant_id=tenant_id,
                client_id=client_id,
                certificate_data=(PROGRAM.key_pem + PROGRAM.pem).encode(),
                authority=secure.url,
                disable_instance_discovery=True,
                retry_total=0,
                **({"connection_verify": str(secure.ca_file)} if verify else {}),
            ) as credential,
            pytest.raises((ClientAuthenticationError, ValueError, OSError)),
        ):
            credential.get_token(SCOPE)
