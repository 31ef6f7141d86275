"""From a few bytes of chance to a document that is nearly valid.

The same bytes give the same document, so that hypothesis can shrink them and atheris can steer
them.  A document begins as a valid one of the target; then come one to four changes that fit its
kind: bytes, fields and lengths for binary ones, values for JSON, tags for XML.
"""

import json
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.fuzz.oracle import Target

__all__ = ["Choices", "document_of"]

_MOST_CHANGES: Final = 4
_MOST_BYTES: Final = 256 << 10  # of a document: what grows beyond is cut
_NUMBERS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 511, 512, 513, 1 << 16, 1 << 24, (1 << 24) + 1)
_EDGES: Final = (1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)
_BYTES: Final = (
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b"/",
    b"..",
    b"../",
    b"\\",
    b"%2e%2e",
    b"\xc3",
)
_VALUES: Final[Sequence[Any]] = (  # Any: values of JSON
    None,
    True,
    -1,
    0,
    1 << 63,
    1 << 64,
    -(1 << 70),
    10**400,
    1e308,
    0.5,
    "",
    "\0",
    "\ud800",
    "../../etc/passwd",
    "x" * 5000,
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+23:59",
    [],
    {},
    [[]],
    {"": None},
)
_TAG: Final = re.compile(rb"<[^<>]*>")
_QUOTED: Final = re.compile(rb'"[^"<>]*"')
_BOMB: Final = (
    b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
    b'<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e SYSTEM "file:///etc/passwd">]>'
)


class Choices:
    """Decisions read from bytes; when they are used up, every answer is the first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, count: int) -> int:
        """Return a number from 0 to `count` - 1."""
        width = 1 if count <= 256 else 2 if count <= 65536 else 4
        taken = self._data[self._at : self._at + width]
        self._at += width
        return int.from_bytes(taken, "little") % count

    def pick(self, options: Sequence[Any]) -> Any:  # Any: one of what the caller gives
        """Return one of the options."""
        return options[self.below(len(options))]

    def rest(self) -> bytes:
        """Return the bytes that are left."""
        return self._data[self._at :]


def document_of(target: Target, data: bytes) -> bytes:
    """Return the document that `data` leads to; every seventh is `data` itself, more or less."""
    choices = Choices(data)
    if choices.below(7) == 6:
        return choices.rest()
    document: bytes = choices.pick(target.seeds)
    for _ in range(1 + choices.below(_MOST_CHANGES)):
        change = choices.pick(_CHANGES[target.kind])
        document = change(document, choices, target)[:_MOST_BYTES]
    return document


_Change = Callable[[bytes, Choices, Target], bytes]


def _flip(document: bytes, choices: Choices, _: Target) -> bytes:
    if not document:
        return document
    at = choices.below(len(document))
    return document[:at] + bytes([document[at] ^ (1 << choices.below(8))]) + document[at + 1 :]


def _cut(document: bytes, choices: Choices, _: Target) -> bytes:
    return document[: choices.below(len(document) + 1)]


def _leave_out(document: bytes, choices: Choices, _: Target) -> bytes:
    at = choices.below(len(document) + 1)
    return document[:at] + document[at + 1 + choices.below(64) :]


def _repeat(document: bytes, choices: Choices, _: Target) -> bytes:
    at = choices.below(len(document) + 1)
    length, times = 1 + choices.below(64), 1 << choices.below(11)
    return document[:at] + document[at : at + length] * times + document[at:]


def _splice(document: bytes, choices: Choices, target: Target) -> bytes:
    other: bytes = choices.pick(target.seeds)
    return document[: choices.below(len(document) + 1)] + other[choices.below(len(other) + 1) :]


def _put_token(document: bytes, choices: Choices, target: Target) -> bytes:
    at = choices.below(len(document) + 1)
    token: bytes = choices.pick((*target.tokens, *_BYTES))
    return document[:at] + token + document[at + len(token) * choices.below(2) :]


def _put_number(document: bytes, choices: Choices, _: Target) -> bytes:
    """Overwrite what may be a count, an offset or a length."""
    form = choices.pick(("<I", "<Q", ">I", "<H"))
    size = struct.calcsize(form)
    if len(document) < size:
        return document
    at = choices.below(len(document) - size + 1) // 4 * 4
    found = struct.unpack_from(form, document, at)[0]
    number = choices.pick((found + 1, found - 1, found * 2, len(document), *_NUMBERS, *_EDGES))
    return document[:at] + struct.pack(form, number % (1 << 8 * size)) + document[at + size :]


def _change_json(document: bytes, choices: Choices, _: Target) -> bytes:
    """Put another value in the place of one of a JSON text; lines behind the text stay."""
    text, rest = document, b""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        line, feed, rest = document.partition(b"\n")
        rest = feed + rest
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return document
    places = list(_places(value, ()))
    place = choices.pick(places)
    made = _replaced(value, place, choices)
    try:
        text = json.dumps(made, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return document
    return text + rest


def _places(value: Any, place: tuple[Any, ...]) -> Any:  # Any: JSON
    yield place
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _places(below, (*place, key))
    elif isinstance(value, list):
        for number, below in enumerate(value[:50]):
            yield from _places(below, (*place, number))


def _replaced(value: Any, place: tuple[Any, ...], choices: Choices) -> Any:  # Any: JSON
    if not place:
        return _other(value, choices)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = _replaced(value[place[0]], place[1:], choices)
    return copy


def _other(value: Any, choices: Choices) -> Any:  # Any: JSON
    match choices.below(5):
        case 0:
            return choices.pick(_VALUES)
        case 1:
            return [value] * (1 << choices.below(8))
        case 2:
            return {"value": value}
        case 3 if isinstance(value, dict) and value:
            left_out = choices.pick(sorted(value))
            return {key: below for key, below in value.items() if key != left_out}
        case 4 if isinstance(value, dict):
            return value | {"unknown": choices.pick(_VALUES)}
        case _:
            deep: Any = value  # Any: JSON
            for _ in range(1 << choices.below(9)):
                deep = [deep]
            return deep


def _nest_json(document: bytes, choices: Choices, _: Target) -> bytes:
    depth = 1 << choices.below(17)
    opening, closing = (b"[", b"]") if choices.below(2) else (b'{"a":', b"}")
    return opening * depth + (document if choices.below(2) else b"0") + closing * depth


def _change_tag(document: bytes, choices: Choices, _: Target) -> bytes:
    tags = list(_TAG.finditer(document))
    if not tags:
        return document
    one: re.Match[bytes] = choices.pick(tags)
    other: re.Match[bytes] = choices.pick(tags)
    match choices.below(4):
        case 0:
            return document[: one.start()] + document[one.end() :]
        case 1:
            return (
                document[: one.start()]
                + one[0] * (1 << choices.below(12))
                + (document[one.end() :])
            )
        case 2:
            return document[: one.start()] + other[0] + document[one.end() :]
        case _:
            first, last = sorted((one, other), key=lambda tag: tag.start())
            region = document[first.start() : last.end()]
            return (
                document[: last.end()] + region * (1 + choices.below(50)) + (document[last.end() :])
            )


def _change_attribute(document: bytes, choices: Choices, target: Target) -> bytes:
    found = list(_QUOTED.finditer(document))
    if not found:
        return document
    one: re.Match[bytes] = choices.pick(found)
    text: bytes = choices.pick(
        (*target.tokens, *_BYTES, b"9" * 400, b"x" * 70_000, b"&lt;", b"&b;")
    )
    return document[: one.start()] + b'"' + text + b'"' + document[one.end() :]


def _bomb(document: bytes, choices: Choices, _: Target) -> bytes:
    at = document.find(b"?>") + 2 if choices.below(2) else 0
    return document[:at] + _BOMB + document[at:]


def _declare(document: bytes, choices: Choices, _: Target) -> bytes:
    """Say another encoding, and perhaps mean it."""
    coding = choices.pick(("utf-16", "utf-7", "latin-1", "utf-32", "idna", "no-such", "cp037"))
    body = document[document.find(b"?>") + 2 :]
    declared = f'<?xml version="1.0" encoding="{coding}"?>'.encode()
    if choices.below(2) and coding in {"utf-16", "latin-1", "utf-32"}:
        return (declared + body).decode("latin-1").encode(coding)
    return declared + body


def _nest_xml(document: bytes, choices: Choices, _: Target) -> bytes:
    depth = 1 << choices.below(15)
    return b"<Blob>" * depth + document + b"</Blob>" * (depth * choices.below(2))


def _change_request(document: bytes, choices: Choices, target: Target) -> bytes:
    """Change the head, or the body behind the empty line."""
    head, blank, body = document.partition(b"\n\n")
    if choices.below(3):
        change = choices.pick((_change_json, _change_json, _change_json, _nest_json, *_ANY))
        return head + blank + bytes(change(body, choices, target))
    change = choices.pick(_ANY)
    return bytes(change(head, choices, target)) + blank + body


_ANY: Final[tuple[_Change, ...]] = (_flip, _cut, _leave_out, _repeat, _splice, _put_token)
_CHANGES: Final[dict[str, tuple[_Change, ...]]] = {
    "binary": (*_ANY, _put_number, _put_number, _put_number),
    "text": _ANY,
    "json": (*_ANY, _change_json, _change_json, _change_json, _change_json, _nest_json),
    "xml": (*_ANY, _change_tag, _change_tag, _change_attribute, _bomb, _declare, _nest_xml),
    "request": (_change_request,),
}
