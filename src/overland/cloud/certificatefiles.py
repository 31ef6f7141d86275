"""Certificates as people upload them: a `.cer` file, DER or PEM, read within bounds.

Only the public half ever comes here.  Nobody vouches for a certificate but who uploads it: its
signature, its chain and its names are not looked at; its key and its days are.
"""

import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from overland.cloud.refusals import Invalid

__all__ = ["MAX_CERTIFICATE_BYTES", "Certificate", "public_key_of", "read_certificate"]

MAX_CERTIFICATE_BYTES: Final = 16 << 10

_MIN_BITS: Final = 2048
_MAX_BITS: Final = 8192  # checking a signature by a larger key takes too long
_MIN_EXPONENT: Final = 65537  # NIST SP 800-56B §6.2; with 1, anybody signs
_MAX_EXPONENT: Final = 1 << 32  # as above
_MAX_SUBJECT_CHARS: Final = 256
_BEGIN: Final = b"-----BEGIN "
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_TARGET: Final = "certificate"
_PKCS12: Final = bytes.fromhex("020103")  # the version, behind the outer length


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What counts of a certificate.

    Attributes:
        der: The certificate itself.
        sha256: Its thumbprint, which names it here, in lower-case hexadecimal digits.
        sha1: Its thumbprint as the original's tools show it.
        subject: Whom it names, for people.
        not_before: From when on it is good.
        not_after: Until when.
    """

    der: bytes
    sha256: str
    sha1: str
    subject: str
    not_before: datetime
    not_after: datetime


def read_certificate(content: bytes) -> Certificate:
    """Return the one certificate that `content` holds, as DER or as PEM.

    Raises:
        Invalid: It is too long, no certificate, several, or one without a fit RSA key; or it
            holds a private key, which does not belong here.
    """
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise Invalid(_TARGET, f"a certificate has at most {MAX_CERTIFICATE_BYTES} bytes")
    try:
        with warnings.catch_warnings():  # an odd certificate is refused, or taken without a word
            warnings.simplefilter("error")
            return _described(_parse(content))
    except (ValueError, TypeError, UnsupportedAlgorithm, Warning, x509.InvalidVersion):
        raise Invalid(_TARGET, "this is not an X.509 certificate as DER or PEM (.cer)") from None


def public_key_of(certificate: Certificate) -> rsa.RSAPublicKey:
    """Return the key that signs for a certificate which `read_certificate` let in."""
    key = x509.load_der_x509_certificate(certificate.der).public_key()
    assert isinstance(key, rsa.RSAPublicKey), "no others are let in"
    return key


def _parse(content: bytes) -> x509.Certificate:
    text = content.strip()
    if b"PRIVATE KEY-----" in text:
        raise Invalid(
            _TARGET,
            "the file holds a private key, which never leaves its computer; "
            "export the certificate without it",
        )
    if text.startswith(_BEGIN):
        if text.count(_BEGIN) != 1 or not text.startswith(_PEM):
            raise Invalid(_TARGET, "the file has to hold one certificate and nothing else")
        return x509.load_pem_x509_certificate(text)
    if content[:1] == b"\x30" and _PKCS12 in content[2:8]:
        raise Invalid(
            _TARGET, "this is a PFX file, which holds a private key; export the .cer instead"
        )
    return x509.load_der_x509_certificate(content)


def _described(found: x509.Certificate) -> Certificate:
    key = found.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not _MIN_BITS <= key.key_size <= _MAX_BITS:
        raise Invalid(_TARGET, f"use an RSA key of {_MIN_BITS} to {_MAX_BITS} bits")
    if not _MIN_EXPONENT <= key.public_numbers().e <= _MAX_EXPONENT:
        raise Invalid(_TARGET, "the key's exponent is too small or too large; use 65537")
    subject = found.subject.rfc4514_string()
    if not subject.isprintable():
        subject = subject.encode("unicode_escape").decode()
    return Certificate(
        der=found.public_bytes(serialization.Encoding.DER),
        sha256=found.fingerprint(hashes.SHA256()).hex(),
        sha1=found.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - a name that clients know, no proof
        subject=subject[:_MAX_SUBJECT_CHARS],
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )
