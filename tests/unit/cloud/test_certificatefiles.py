"""A `.cer` is read as DER and as PEM; everything else is refused, in bounded time."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.support.applicants import END, EPOCH, Program

from overland.cloud.certificatefiles import (
    MAX_CERTIFICATE_BYTES,
    public_key_of,
    read_certificate,
)
from overland.cloud.refusals import Invalid

PROGRAM = Program()


@pytest.mark.parametrize(
    "content",
    [
        PROGRAM.der,
        PROGRAM.pem.encode(),
        b"\r\n" + PROGRAM.pem.replace("\n", "\r\n").encode() + b"\n",
    ],
    ids=["der", "pem", "pem of another system"],
)
def test_both_forms_give_the_same_certificate(content: bytes) -> None:
    found = read_certificate(content)
    assert (found.der, found.sha1, found.sha256) == (PROGRAM.der, PROGRAM.sha1, PROGRAM.sha256)
    assert (found.not_before, found.not_after) == (EPOCH, END)
    assert found.subject == f"CN={PROGRAM.name}"
    assert public_key_of(found).public_numbers() == PROGRAM.key.public_key().public_numbers()


def _curved() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "curve")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, EPOCH, END)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _pfx() -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"x", PROGRAM.key, PROGRAM.certificate, None, NoEncryption()
    )


@pytest.mark.parametrize("exponent", [1, 3, 65535], ids=str)
def test_a_key_by_which_others_can_sign_is_refused(exponent: int) -> None:
    known = b"\x02\x03\x01\x00\x01"  # the exponent 65537
    assert PROGRAM.der.count(known) == 1
    content = PROGRAM.der.replace(known, b"\x02\x03" + exponent.to_bytes(3, "big"))
    with pytest.raises(Invalid):
        read_certificate(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an X.509"),
        (b"0", "not an X.509"),
        (b"hello", "not an X.509"),
        (PROGRAM.der[:-1], "not an X.509"),
        (PROGRAM.der + b"x", "not an X.509"),
        (PROGRAM.pem.encode() * 2, "one certificate"),
        (PROGRAM.key_pem.encode(), "private key"),
        ((PROGRAM.key_pem + PROGRAM.pem).encode(), "private key"),
        ((PROGRAM.pem + PROGRAM.key_pem).encode(), "private key"),
        (_pfx(), "PFX"),
        (_curved(), "RSA"),
        (Program(number=3, bits=1024).der, "RSA"),
        (b"0" * (MAX_CERTIFICATE_BYTES + 1), "at most"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_refused_and_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as refused:
        read_certificate(content)
    assert refused.value.target == "certificate"


def test_the_days_and_the_names_are_not_judged_here() -> None:
    old = Program(not_before=EPOCH, not_after=datetime(2021, 1, 1, tzinfo=UTC), name="x\ny" * 20)
    found = read_certificate(old.der)
    assert found.not_after.year == 2021
    assert found.subject.isprintable()
    assert len(found.subject) <= 256


@given(st.data())
def test_no_changed_certificate_fails_in_another_way(data: st.DataObject) -> None:
    content = bytearray(PROGRAM.der)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    for each in (bytes(content), cut, base64.b64encode(cut)):
        try:
            public_key_of(read_certificate(each))
        except Invalid:
            continue


@given(st.binary(max_size=400))
def test_no_bytes_fail_in_another_way(content: bytes) -> None:
    for each in (content, b"-----BEGIN CERTIFICATE-----\n" + content, b"0\x82" + content):
        with pytest.raises(Invalid):
            read_certificate(each)
