"""The cloud's own certificate authority, made at the first start, and the server's certificate.

RSA, because common clients of the resource manager refuse elliptic curves.  Clients trust
`ca.pem` and nothing else; the authority's key never leaves the home folder.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from overland.errors import ObjectAbsent
from overland.ports.files import Files

__all__ = ["CA_FILE", "SERVER_FILE", "SERVER_KEY_FILE", "ensure_certificates"]

CA_FILE: Final = "ca.pem"
SERVER_FILE: Final = "server.pem"
SERVER_KEY_FILE: Final = "server.key"
_CA_KEY_FILE: Final = "ca.key"

_CA_BITS: Final = 3072
_SERVER_BITS: Final = 2048
_CA_LIFETIME: Final = timedelta(days=3650)
_SERVER_LIFETIME: Final = timedelta(days=397)
_RENEWED_BEFORE: Final = timedelta(days=30)
_SKEW: Final = timedelta(hours=1)  # clocks of clients may be slow


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def ensure_certificates(files: Files, names: Sequence[str], *, at: datetime) -> str:
    """Make what is missing, and return the authority's certificate as PEM.

    The server's certificate is made anew when it will soon be over or does not cover all names; the
    authority lasts ten years, and stays.  After a power cut the next call makes what is not whole.

    Args:
        files: The home folder.
        names: Host names and addresses that clients may use.
        at: Now.
    """
    authority = _load(files, CA_FILE, _CA_KEY_FILE)
    if authority is None:
        authority = _new_authority(at)
        _save(files, authority, CA_FILE, _CA_KEY_FILE)
    server = _load(files, SERVER_FILE, SERVER_KEY_FILE)
    if server is None or not _is_good(server.certificate, authority, names, at=at):
        _save(files, _new_server(authority, names, at), SERVER_FILE, SERVER_KEY_FILE)
    return authority.certificate.public_bytes(serialization.Encoding.PEM).decode()


def _new_authority(at: datetime) -> _Pair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_CA_BITS)
    subject = _name("Overland cloud authority")
    certificate = (
        _builder(subject, subject, key, at=at, lifetime=_CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate=certificate, key=key)


def _new_server(authority: _Pair, names: Sequence[str], at: datetime) -> _Pair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_SERVER_BITS)
    issuer, issuer_key = authority.certificate.subject, authority.key.public_key()
    certificate = (
        _builder(_name("Overland cloud"), issuer, key, at=at, lifetime=_SERVER_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(certificate=certificate, key=key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    *,
    at: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + lifetime)
    )


def _is_good(
    certificate: x509.Certificate, authority: _Pair, names: Sequence[str], *, at: datetime
) -> bool:
    """Return whether a certificate is the authority's, covers all names, and lasts a while."""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = certificate.not_valid_after_utc - _RENEWED_BEFORE > at
    return lasts and all(each in covered for each in _general_names(names))


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _load(files: Files, certificate_name: str, key_name: str) -> _Pair | None:
    """Return a pair, or None when it is absent or a power cut left one half of an older one."""
    try:
        certificate = x509.load_pem_x509_certificate(files.read(certificate_name))
        key = serialization.load_pem_private_key(files.read(key_name), password=None)
    except ObjectAbsent:
        return None
    assert isinstance(key, rsa.RSAPrivateKey), "we make no others"
    if certificate.public_key() != key.public_key():
        return None
    return _Pair(certificate=certificate, key=key)


def _save(files: Files, pair: _Pair, certificate_name: str, key_name: str) -> None:
    key = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.write(key_name, key)
    files.write(certificate_name, pair.certificate.public_bytes(serialization.Encoding.PEM))
