"""A signed JSON document: one line that says it, one line that signs it (`seed-manifest-v1.md` §2).

This module splits and joins the lines.  Signing and verifying are `crypto.sign`'s: the caller
hands the body, the purpose and the signature there, and decides whose key it trusts.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import IntegrityError

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "SignedDocument",
    "SignedDocumentInvalid",
    "countersigned",
    "decode_countersigned",
    "decode_signed",
    "encode_signed",
]

MAX_DOCUMENT_BYTES: Final = 256 << 20
_MAX_SIGNATURE_LINE_BYTES: Final = 1024


class SignedDocumentInvalid(IntegrityError):
    """A file is not a signed document of the expected purpose."""

    code = "signed-document-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is not a usable signed document: {check}; take another copy")
        self.name, self.check = name, check


class _SignatureLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    algorithm: Literal["ed25519"]
    purpose: str
    public_key: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]


class SignedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a signed document, for `crypto.sign.verify`.  Nothing is proven yet."""

    purpose: str
    body: bytes
    public_key: bytes
    signature: bytes


def encode_signed(
    purpose: str, body: bytes, *, public_key: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return the document: the body's line and the signature's line.

    Args:
        purpose: What the signature is for; stands in the document too.
        body: JSON in one line, without a line feed.
        public_key: The 32-byte key that verifies.
        sign: Returns the Ed25519 signature of its argument, the body, for `purpose`.
    """
    assert b"\n" not in body, "a body is one line"
    document = b"".join((body, b"\n", _line(purpose, body, public_key, sign)))
    assert len(document) <= MAX_DOCUMENT_BYTES, "a seed has fewer objects (§5)"
    return document


def countersigned(
    document: bytes, purpose: str, *, public_key: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return a signed document with one line more, by which another key signs all of it.

    Args:
        document: What `encode_signed` made; the second signature is of these bytes.
        purpose: What the second signature is for.
        public_key: The 32-byte key that verifies it.
        sign: Returns the Ed25519 signature of its argument for `purpose`.
    """
    return document + _line(purpose, document, public_key, sign)


def decode_signed(document: bytes, purpose: str, *, name: str) -> SignedDocument:
    """Return the parts of a document whose signature line says `purpose`.

    Raises:
        SignedDocumentInvalid: It is cut, too long, of another purpose, or not a signed document.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise SignedDocumentInvalid(name, check="it is too long")
    body, found, line = document.partition(b"\n")
    if not found:
        raise SignedDocumentInvalid(name, check="it has no signature line")
    return _decode(body, line, purpose, name=name)


def decode_countersigned(
    document: bytes, first: str, second: str, *, name: str
) -> tuple[SignedDocument, SignedDocument]:
    """Return both signatures of what `countersigned` made; the second one's body is the first all.

    Raises:
        SignedDocumentInvalid: It is cut, too long, or its lines say other purposes.
    """
    cut = document.rfind(b"\n", 0, -1) + 1
    inner = decode_signed(document[:cut], first, name=name)
    return inner, _decode(document[:cut], document[cut:], second, name=name)


def _line(purpose: str, signed: bytes, public_key: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    line = _SignatureLine(
        algorithm="ed25519",
        purpose=purpose,
        public_key=public_key.hex(),
        signature=sign(signed).hex(),
    )
    return msgspec.json.encode(line) + b"\n"


def _decode(body: bytes, line: bytes, purpose: str, *, name: str) -> SignedDocument:
    if len(line) > _MAX_SIGNATURE_LINE_BYTES:
        raise SignedDocumentInvalid(name, check="it has no signature line")
    try:
        signature = msgspec.json.decode(line, type=_SignatureLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignedDocumentInvalid(name, check=f"its signature line: {error}") from None
    if msgspec.json.encode(signature) + b"\n" != line:
        raise SignedDocumentInvalid(name, check="its signature line is not in canonical form")
    if signature.purpose != purpose:
        raise SignedDocumentInvalid(name, check=f"it is not signed for {purpose}")
    return SignedDocument(
        purpose=purpose,
        body=body,
        public_key=bytes.fromhex(signature.public_key),
        signature=bytes.fromhex(signature.signature),
    )
