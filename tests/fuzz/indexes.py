"""Targets: index files and replacements, sealed or signed as they are, and as an insider's.

The second kind has no seal: a key may be stolen, and a writer may have a fault.
"""

import struct
from functools import cache
from typing import Final

from tests.fuzz.oracle import Target
from tests.support import format_samples as sample

from overland.crypto.keys import Purpose
from overland.crypto.sign import public_key, sign, verify
from overland.format import index
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    decode_replacement,
    encode_replacement,
)
from overland.format.signed import decode_signed, encode_signed
from overland.sealing.indexfile import open_index
from overland.values import replacement_name

__all__ = ["INDEXES"]

_HEAD_BYTES: Final = 48
_BLOCK_ROWS: Final = 256
_TAG_BYTES: Final = 16


def _index(data: bytes) -> bool:
    _, master, _ = sample.keys()
    subkey = master.subkeys(Purpose.INDEX)
    open_index(subkey, data, repository_id=sample.REPOSITORY, name="index")
    return True


def _index_parts(data: bytes) -> bool:
    """The plaintexts of all parts, joined; the file is as long as they say."""
    head = data[:_HEAD_BYTES]
    _, segments, chunks = struct.unpack_from("<III", head.ljust(12, b"\0"))
    parts = 3 + -(-segments // _BLOCK_ROWS) - (-chunks // _BLOCK_ROWS)
    size_bytes = index.HEADER_BYTES + len(data) + parts * _TAG_BYTES
    shape = index.decode_head(head, size_bytes=size_bytes, name="index")
    found = index.decode_index(shape, memoryview(data)[_HEAD_BYTES:], name="index")
    assert index.encode_index(found.directories())[1] == data, "an index has one encoding"
    return True


@cache
def _replacement_document() -> bytes:
    signer = sample.signer()
    return encode_signed(
        REPLACEMENT_PURPOSE,
        encode_replacement(sample.replacement()),
        public_key=public_key(signer),
        sign=lambda body: sign(signer, REPLACEMENT_PURPOSE, body),
    )


def _replacement(data: bytes) -> bool:
    signed = decode_signed(data, REPLACEMENT_PURPOSE, name="replacement")
    owner = public_key(sample.signer())
    verify(owner, REPLACEMENT_PURPOSE, signed.body, signed.signature)
    # Who reads one looks whether the key it brings is the owner's, as for a seed's manifest.
    return _replacement_body(signed.body) and signed.public_key == owner


def _replacement_body(data: bytes) -> bool:
    name = replacement_name(sample.replacement().replacement_id)
    found = decode_replacement(data, name=name)
    assert encode_replacement(found) == data, "a replacement has one encoding"
    return True


INDEXES: Final = (
    Target(
        name="index",
        kind="binary",
        make_seeds=lambda: [sample.seal_index(sample.index_plain())],
        attempt=_index,
        is_sealed=True,
    ),
    Target(
        name="index-parts",
        kind="binary",
        make_seeds=lambda: [b"".join(sample.index_plain())],
        attempt=_index_parts,
    ),
    Target(
        name="replacement",
        kind="json",
        make_seeds=lambda: [_replacement_document()],
        attempt=_replacement,
        is_sealed=True,
    ),
    Target(
        name="replacement-body",
        kind="json",
        make_seeds=lambda: [encode_replacement(sample.replacement())],
        attempt=_replacement_body,
    ),
)
"""The targets of index files and replacements."""
