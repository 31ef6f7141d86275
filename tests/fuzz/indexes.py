"""Targets: index files, replacements and key changes, as they are signed, and as an insider's.

The second kind has no seal: a key may be stolen, and a writer may have a fault.
"""

import struct
from functools import cache
from typing import Final

import msgspec
from tests.fuzz.oracle import Target
from tests.support import format_samples as sample
from tests.support import key_change_samples

from overland.crypto.keys import Purpose
from overland.crypto.sign import public_key, sign, verify
from overland.format import index
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    name_of,
    verify_key_change,
)
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    decode_replacement,
    encode_replacement,
)
from overland.format.signed import countersigned, decode_signed, encode_signed
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


def _key_change(data: bytes) -> bool:
    name = name_of(data, 1)  # whoever changes one gives it a fitting name
    found = verify_key_change(data, name=name, verify=verify)
    # Who enters one looks whether the keys are the present one and the one that is to come.
    keys = sample.signer(), key_change_samples.new_signer()
    named = found.old_public_key, found.new_public_key
    return named == tuple(public_key(key).hex() for key in keys)


def _key_change_body(data: bytes) -> bool:
    old, new = sample.signer(), key_change_samples.new_signer()
    made = encode_signed(
        KEY_CHANGE_PURPOSE,
        data.replace(b"\n", b" "),
        public_key=public_key(old),
        sign=lambda text: sign(old, KEY_CHANGE_PURPOSE, text),
    )
    whole = countersigned(
        made,
        KEY_CHANGE_NEW_PURPOSE,
        public_key=public_key(new),
        sign=lambda text: sign(new, KEY_CHANGE_NEW_PURPOSE, text),
    )
    found = verify_key_change(whole, name=name_of(whole, 1), verify=verify)
    assert msgspec.json.encode(found) == data, "a key change has one encoding"
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
    Target(
        name="key-change",
        kind="json",
        make_seeds=lambda: [key_change_samples.change_file()],
        attempt=_key_change,
        is_sealed=True,
    ),
    Target(
        name="key-change-body",
        kind="json",
        make_seeds=lambda: [msgspec.json.encode(key_change_samples.change())],
        attempt=_key_change_body,
    ),
)
"""The targets of index files, replacements and key changes."""
