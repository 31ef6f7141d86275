"""The cloud's own authority and its server certificate."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store
from tests.support.simdisk import SimDisk

from overland.server.certificates import CA_FILE, SERVER_FILE, ensure_certificates

AT = datetime(2027, 3, 1, tzinfo=UTC)
NAMES = ["localhost", "127.0.0.1", "::1", "backup.example.org"]


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    disk = SimDisk()
    ensure_certificates(disk, NAMES, at=AT)
    return {info.name: disk.read(info.name) for info in disk.names()}


@pytest.fixture
def disk(made: dict[str, bytes]) -> SimDisk:
    fresh = SimDisk()
    for name, content in made.items():
        fresh.write(name, content)
    return fresh


def server(disk: SimDisk) -> x509.Certificate:
    return x509.load_pem_x509_certificate(disk.read(SERVER_FILE))


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_client_accepts_every_name(disk: SimDisk, name: str) -> None:
    store = Store([x509.load_pem_x509_certificate(disk.read(CA_FILE))])
    try:
        wanted: x509.DNSName | x509.IPAddress = x509.IPAddress(ip_address(name))
    except ValueError:
        wanted = x509.DNSName(name)
    verifier = PolicyBuilder().store(store).time(AT).build_server_verifier(wanted)
    assert len(verifier.verify(server(disk), [])) == 2


def test_keys_are_rsa_and_long_enough(disk: SimDisk) -> None:
    for name, bits in ((CA_FILE, 3072), (SERVER_FILE, 2048)):
        key = x509.load_pem_x509_certificate(disk.read(name)).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size >= bits


def test_the_authority_is_what_clients_get(disk: SimDisk) -> None:
    pem = ensure_certificates(disk, NAMES, at=AT)
    assert pem.encode() == disk.read(CA_FILE)
    ssl.create_default_context(cadata=pem)


def test_a_good_certificate_is_kept(disk: SimDisk, made: dict[str, bytes]) -> None:
    ensure_certificates(disk, NAMES[:2], at=AT + timedelta(days=300))
    assert {info.name: disk.read(info.name) for info in disk.names()} == made


@pytest.mark.parametrize("why", ["it will soon be over", "another name", "its key is lost"])
def test_a_certificate_is_made_again_by_the_same_authority(
    disk: SimDisk, made: dict[str, bytes], why: str
) -> None:
    names, at = NAMES, AT
    match why:
        case "it will soon be over":
            at = AT + timedelta(days=368)
        case "another name":
            names = [*NAMES, "second.example.org"]
        case _:
            disk.delete("server.key")
    ensure_certificates(disk, names, at=at)
    assert disk.read(SERVER_FILE) != made[SERVER_FILE]
    assert disk.read(CA_FILE) == made[CA_FILE]
    server(disk).verify_directly_issued_by(x509.load_pem_x509_certificate(disk.read(CA_FILE)))
