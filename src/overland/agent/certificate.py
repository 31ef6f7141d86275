"""This computer's certificates: made here, kept here; only the public half ever leaves.

Each lies in the agent's home as `identity/<thumbprint>.key` (PKCS#8, readable by its owner only)
and `identity/<thumbprint>.cer` (DER), the key first: a certificate that is listed has its key.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from overland.agent.certificaterefusals import CertificateExpired, CertificateNotHere
from overland.agent.offlineidentity import IDENTITY_FOLDER
from overland.crypto.secrets import Secret
from overland.errors import ObjectAbsent
from overland.format.stored import RecordDamaged
from overland.ports.files import Files

__all__ = [
    "CERTIFICATE_PREFIX",
    "LIFETIME",
    "WARNING",
    "Certificates",
    "OwnCertificate",
    "client_assertion",
]

CERTIFICATE_PREFIX: Final = "CB_AzureADCertforOfflineSeeding_"
LIFETIME: Final = timedelta(days=180)
"""How long a certificate is good: longer than a seed's clocks, shorter than a server's life."""
WARNING: Final = timedelta(days=30)
"""How long before its end a certificate is warned of: two weeks on the road, and as much again."""

_BITS: Final = 3072
_EARLY: Final = timedelta(hours=1)  # for a cloud whose clock is behind
_ASSERTION: Final = timedelta(minutes=10)
_LISTED: Final = re.compile(rf"{IDENTITY_FOLDER}/([0-9A-F]{{40}})\.cer")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """A certificate of this computer, and its private key, a secret.

    `thumbprint` is the SHA-1 that settings and people use; `sha256` names it to the cloud.
    """

    der: bytes
    private_key: Secret
    thumbprint: str
    sha256: bytes
    subject: str
    not_after: datetime

    def ends_soon(self, now: datetime) -> bool:
        """Return whether it is time to renew it."""
        return now >= self.not_after - WARNING

    def check(self, now: datetime) -> None:
        """Return if it is good now.

        Raises:
            CertificateExpired: It is not, any more.
        """
        if now >= self.not_after:
            raise CertificateExpired(self.thumbprint, ended=f"{self.not_after:%Y-%m-%d %H:%M} UTC")


class Certificates:
    """The certificates of one source computer."""

    def __init__(self, files: Files) -> None:
        """Keep them in the folder `identity` of the agent's home."""
        self._files = files

    def make(self, resource_id: str, *, now: datetime) -> OwnCertificate:
        """Make a key and a certificate of its own; on return both survive a power cut."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"{CERTIFICATE_PREFIX}{resource_id}")]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLY)
            .not_valid_after(now + LIFETIME)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        made = _described(certificate, Secret(pem))
        self._files.write(_name(made.thumbprint, "key"), pem)
        self._files.write(_name(made.thumbprint, "cer"), made.der)
        return made

    def load(self, thumbprint: str) -> OwnCertificate:
        """Return a certificate with its key.

        Raises:
            CertificateNotHere: This computer has none of this thumbprint, or not its key.
            RecordDamaged: Its files are not what was written.
        """
        name = _name(thumbprint, "cer")
        try:
            der = self._files.read(name)
            key = Secret(self._files.read(_name(thumbprint, "key")))
        except ObjectAbsent:
            raise CertificateNotHere(thumbprint) from None
        try:
            found = _described(x509.load_der_x509_certificate(der), key)
        except ValueError:
            raise RecordDamaged(name, check="it is no certificate") from None
        if found.thumbprint != thumbprint:
            raise RecordDamaged(name, check="it is another certificate")
        return found

    def thumbprints(self) -> list[str]:
        """Return the thumbprints of all of them, sorted."""
        found = (_LISTED.fullmatch(each.name) for each in self._files.names(f"{IDENTITY_FOLDER}/"))
        return sorted(match[1] for match in found if match)

    def forget(self, thumbprint: str) -> None:
        """Delete a certificate and its key; again does nothing."""
        for suffix in ("cer", "key"):
            self._files.delete(_name(thumbprint, suffix))


def client_assertion(
    certificate: OwnCertificate,
    *,
    client_id: str,
    audience: str,
    now: datetime,
    random: bytes,
) -> str:
    """Return a statement, good for ten minutes, that its sender holds a certificate's key.

    `random` makes it different from every other (RFC 7523).

    Raises:
        RecordDamaged: The key cannot be read.
    """
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + _ASSERTION).timestamp()),
        "jti": random.hex(),
    }
    named = {"x5t#S256": base64.urlsafe_b64encode(certificate.sha256).rstrip(b"=").decode()}
    try:
        return jwt.encode(claims, certificate.private_key.reveal(), "PS256", headers=named)
    except (ValueError, TypeError, jwt.PyJWTError):
        name = _name(certificate.thumbprint, "key")
        raise RecordDamaged(name, check="it is no private key") from None


def _described(certificate: x509.Certificate, key: Secret) -> OwnCertificate:
    der = certificate.public_bytes(serialization.Encoding.DER)
    return OwnCertificate(
        der=der,
        private_key=key,
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - a name, no proof
        sha256=hashlib.sha256(der).digest(),
        subject=certificate.subject.rfc4514_string(),
        not_after=certificate.not_valid_after_utc,
    )


def _name(thumbprint: str, suffix: str) -> str:
    return f"{IDENTITY_FOLDER}/{thumbprint}.{suffix}"
