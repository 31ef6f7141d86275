"""Programs that sign in by certificate: keys, certificates, assertions, a cloud behind TLS."""

import base64
import functools
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tests.support.asgi import Answer, AsgiClient
from tests.support.cloud import LocalCloud
from tests.support.dataplane import serving_app
from tests.support.tls import Authority
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.adapters.posix import PosixFiles
from overland.cloud.applicationtokens import ASSERTION_TYPE
from overland.server.api import create_app
from overland.server.certificates import (
    CA_FILE,
    SERVER_FILE,
    SERVER_KEY_FILE,
    ensure_certificates,
)
from overland.server.serving import Server  # waits for no client that keeps its connection

__all__ = ["Program", "SecureCloud", "Tenancy", "rsa_key", "secure_cloud"]

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2050, 1, 1, tzinfo=UTC)


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key of this number, the same each time within the process."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program with a key and a certificate of its own."""

    number: int = 0
    name: str = "CB_AzureADCertforOfflineSeeding_1"
    not_before: datetime = EPOCH
    not_after: datetime = END
    bits: int = 2048

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return rsa_key(self.number, self.bits)

    @functools.cached_property
    def certificate(self) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(self.number + 1)
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @property
    def sha1(self) -> str:
        return self.certificate.fingerprint(hashes.SHA1()).hex()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def names(self, kind: str) -> dict[str, object]:
        """Return the part of an assertion's header that names the certificate."""
        values: dict[str, object] = {
            "x5t": _base64url(bytes.fromhex(self.sha1)),
            "x5t#S256": _base64url(bytes.fromhex(self.sha256)),
            "x5c": [base64.b64encode(self.der).decode()],
        }
        return {kind: values[kind]}

    def assertion(
        self,
        claims: dict[str, object],
        *,
        algorithm: str = "RS256",
        kind: str = "x5t",
        header: dict[str, object] | None = None,
    ) -> str:
        headers = self.names(kind) if header is None else header
        return jwt.encode(claims, self.key_pem, algorithm=algorithm, headers=headers)


@dataclass(kw_only=True)
class Tenancy:
    """A tenant's applications as its administrator sees them, and its token endpoint."""

    cloud: LocalCloud
    tenant_id: str
    admin_token: str
    _serial: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 20)))

    @property
    def path(self) -> str:
        return f"/v1/tenants/{self.tenant_id}/applications"

    @property
    def endpoint(self) -> str:
        return f"{self.cloud.services.endpoints.url}/{self.tenant_id}/oauth2/v2.0/token"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return self.cloud.http(self.admin_token).ok(method, path, body)

    def application(self, name: str = "AzureOfflineBackup_1") -> str:
        made: str = self.ask("POST", self.path, {"name": name})["application_id"]
        return made

    def enroll(
        self, application_id: str, program: Program, computer_id: str | None = None
    ) -> dict[str, Any]:
        body = {"certificate": program.pem, "source_computer_id": computer_id}
        made: dict[str, Any] = self.ask("POST", f"{self.path}/{application_id}/certificates", body)
        return made

    def claims(self, application_id: str, **changes: object) -> dict[str, object]:
        """Return the claims of a good assertion, changed; None leaves one out."""
        now = self.cloud.clock.now()
        claims: dict[str, object] = {
            "aud": self.endpoint,
            "iss": application_id,
            "sub": application_id,
            "iat": now.timestamp(),
            "exp": (now + timedelta(minutes=10)).timestamp(),
            "jti": f"assertion-{next(self._serial)}",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def form(self, assertion: str, **changes: str) -> dict[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            "scope": "api://overland/.default",
            **changes,
        }

    def post(self, form: dict[str, str] | bytes, **headers: str) -> Answer:
        """Send a form to the token endpoint."""
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        self.cloud.app.state.services = self.cloud.services
        client = AsgiClient(self.cloud.app)
        kind = {"content-type": "application/x-www-form-urlencoded"}
        length = {"content-length": str(len(body))}
        path = f"/{self.tenant_id}/oauth2/v2.0/token"
        return client.request("POST", path, headers=kind | length | headers, pieces=[body])

    def token(self, application_id: str, program: Program, scope: str = ".default") -> str:
        """Return an access token for the application."""
        form = self.form(program.assertion(self.claims(application_id)), scope=scope)
        answer = self.post(form)
        assert answer.status == 200, answer.content
        token: str = answer.json()["access_token"]
        return token


@dataclass(frozen=True, kw_only=True)
class SecureCloud:
    """A cloud that listens at 127.0.0.1 with a certificate of its own authority."""

    cloud: LocalCloud
    url: str
    ca_file: Path

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        context = ssl.create_default_context(cafile=self.ca_file)
        with httpx.Client(verify=context) as client:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            return client.get(self.url + path, headers=headers)


@contextmanager
def secure_cloud(cloud: LocalCloud, folder: Path) -> Iterator[SecureCloud]:
    """Serve a cloud as `overland cloud serve` does: TLS, by the certificates that it makes."""
    ensure_certificates(PosixFiles(folder), ["127.0.0.1", "localhost"], at=datetime.now(tz=UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / SERVER_FILE, folder / SERVER_KEY_FILE)
    ca_pem = (folder / CA_FILE).read_text()
    app = create_app(cloud.services)
    authority = Authority(ca_pem=ca_pem, server_context=context)
    with serving_app(app, authority, http=H11Protocol, kind=Server) as url:
        endpoints = replace(cloud.services.endpoints, url=url, ca_pem=ca_pem)
        cloud.services = replace(cloud.services, endpoints=endpoints)
        app.state.services = cloud.services
        yield SecureCloud(cloud=cloud, url=url, ca_file=folder / CA_FILE)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
