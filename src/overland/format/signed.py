"""A signed JSON document: one line that says it, one line that signs it (`seed-manifest-v1.md` §2).

This module splits and joins the lines.  Signing and verifying are `crypto.sign`'s: the caller
hands the body, the purpose and the signature there, and decides whose key it trusts.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from overland.errors import IntegrityError

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Signature",
    "SignedDocument",
    "SignedDocumentInvalid",
    "countersigned",
    "decode_countersigned",
    "decode_signature",
    "decode_signed",
    "encode_signed",
    "sign_in_place",
]

MAX_DOCUMENT_BYTES: Final = 384 << 20  # of `seed_manifest.MAX_OBJECTS` packs: 376 MB
_MAX_SIGNATURE_LINE_BYTES: Final = 1024
_SEARCHED_BYTES: Final = 1 << 20  # at a time, for the end of the first line

_Signed = TypeVar("_Signed", bytes, memoryview)


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


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What the second line of a signed document says, and how long the body before it is."""

    body_bytes: int
    public_key: bytes
    signature: bytes


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


def sign_in_place(
    text: bytearray,
    purpose: str,
    *,
    public_key: bytes,
    sign: Callable[[memoryview], bytes],
    before: int = 0,
) -> None:
    """Make a body the document that `encode_signed` returns, with no second one in memory.

    Args:
        text: Something that a signature wants before the body, and the body; on return the
            document.
        purpose: As above.
        public_key: As above.
        sign: Returns the signature of its argument, all of `text`, and lets go of it.
        before: How long that something is.
    """
    with memoryview(text) as whole:
        line = _line(purpose, whole, public_key, sign)
    del text[:before]
    assert text.find(b"\n") < 0, "a body is one line"
    text += b"\n" + line
    assert len(text) <= MAX_DOCUMENT_BYTES, "a seed has fewer objects (§5)"


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
    found = decode_signature(memoryview(document), purpose, name=name)
    return SignedDocument(
        purpose=purpose,
        body=document[: found.body_bytes],
        public_key=found.public_key,
        signature=found.signature,
    )


def decode_signature(document: memoryview, purpose: str, *, name: str) -> Signature:
    """Return the same of a long document, whose body stays where it is.

    Raises:
        SignedDocumentInvalid: As `decode_signed`.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise SignedDocumentInvalid(name, check="it is too long")
    for at in range(0, len(document), _SEARCHED_BYTES):
        found = bytes(document[at : at + _SEARCHED_BYTES]).find(b"\n")
        if found >= 0:
            return _signature(document, at + found, purpose, name=name)
    raise SignedDocumentInvalid(name, check="it has no signature line")


def decode_countersigned(
    document: bytes, first: str, second: str, *, name: str
) -> tuple[SignedDocument, SignedDocument]:
    """Return both signatures of what `countersigned` made; the second one's body is the first all.

    Raises:
        SignedDocumentInvalid: It is cut, too long, or its lines say other purposes.
    """
    cut = document.rfind(b"\n", 0, -1) + 1
    inner = decode_signed(document[:cut], first, name=name)
    outer = _signature(memoryview(document), cut - 1, second, name=name)
    return inner, SignedDocument(
        purpose=second,
        body=document[:cut],
        public_key=outer.public_key,
        signature=outer.signature,
    )


def _line(
    purpose: str, signed: _Signed, public_key: bytes, sign: Callable[[_Signed], bytes]
) -> bytes:
    line = _SignatureLine(
        algorithm="ed25519",
        purpose=purpose,
        public_key=public_key.hex(),
        signature=sign(signed).hex(),
    )
    return msgspec.json.encode(line) + b"\n"


def _signature(document: memoryview, end: int, purpose: str, *, name: str) -> Signature:
    """Read the line behind the line feed at `end`."""
    line = document[end + 1 :]
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
    return Signature(
        body_bytes=end,
        public_key=bytes.fromhex(signature.public_key),
        signature=bytes.fromhex(signature.signature),
    )
