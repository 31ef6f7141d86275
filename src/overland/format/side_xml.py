"""Files of metadata and of properties beside a drive's blobs (`drive-manifest-v1.md` §5).

Element name and text are name and value.  Document types, entities and processing instructions are
refused before they can expand.
"""

import re
from collections.abc import Mapping
from typing import Final, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

from overland.errors import IntegrityError

__all__ = [
    "EXPORT_PROPERTIES",
    "MAX_SIDE_BYTES",
    "PROPERTIES",
    "SideXmlInvalid",
    "read_metadata",
    "read_properties",
    "write_metadata",
    "write_properties",
]

MAX_SIDE_BYTES: Final = 64 << 10
"""Metadata of a blob is at most 8 KiB; a file with its tags and blanks is shorter than this."""

PROPERTIES: Final = (
    "Content-Type",
    "Content-MD5",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
)
"""The properties that an import sets, in the order in which they are written."""

EXPORT_PROPERTIES: Final = ("Last-Modified", "Etag", "Content-Length")
"""What only an export tells; an import reads past them."""

_MAX_METADATA: Final = 8192
_MAX_DEPTH: Final = 2
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


class SideXmlInvalid(IntegrityError):
    """A file of metadata or properties is not well formed, or breaks a rule of its schema."""

    code = "side-xml-invalid"

    def __init__(self, check: str) -> None:
        super().__init__(f"a metadata or properties file is not valid: {check}")
        self.check = check


def read_metadata(data: bytes) -> dict[str, str]:
    """Return a blob's metadata, in the file's order.

    Raises:
        SideXmlInvalid: It is not well formed, too long, or has a name that metadata cannot have.
    """
    found = _read(data, root="Metadata")
    if any(_NAME.fullmatch(name) is None for name in found):
        _refuse("a metadata name is not an identifier")
    if sum(len(name) + len(value) for name, value in found.items()) > _MAX_METADATA:
        _refuse("the metadata is too long")
    return found


def read_properties(data: bytes) -> dict[str, str]:
    """Return the properties that an import sets.

    Raises:
        SideXmlInvalid: It is not well formed, too long, or has an unknown property.
    """
    found = _read(data, root="Properties")
    if not found.keys() <= {*PROPERTIES, *EXPORT_PROPERTIES}:
        _refuse("a property is unknown")
    return {name: value for name, value in found.items() if name in PROPERTIES}


def write_metadata(metadata: Mapping[str, str]) -> bytes:
    """Return the file for a blob's metadata; the same values give the same bytes."""
    return _write("Metadata", metadata)


def write_properties(properties: Mapping[str, str]) -> bytes:
    """Return the file for a blob's properties, those of an export first."""
    order = (*EXPORT_PROPERTIES, *PROPERTIES)
    return _write("Properties", {name: properties[name] for name in order if name in properties})


class _Reader:
    """Expat's handlers for a root with texts in it."""

    def __init__(self, root: str) -> None:
        self.found: dict[str, str] = {}
        self._root, self._depth, self._name = root, 0, ""
        self._text: list[str] = []

    def start(self, element: str, attributes: dict[str, str]) -> None:
        """Take note of an element that begins.

        Raises:
            SideXmlInvalid: It has an attribute, is too deep or there twice, or is another root.
        """
        self._depth += 1
        if self._depth > _MAX_DEPTH or attributes:
            _refuse("an element or attribute is not allowed")
        if self._depth == 1 and element != self._root:
            _refuse(f"its root is not {self._root}")
        if self._depth == _MAX_DEPTH:
            self._name, self._text = element, []
            if element in self.found:
                _refuse("a name is there twice")

    def end(self, _: str) -> None:
        """Keep the value of the element that ends, without blanks around it.

        Raises:
            SideXmlInvalid: It is not printable.
        """
        if self._depth == _MAX_DEPTH:
            value = "".join(self._text).strip()
            if not value.isprintable():
                _refuse("a value is not printable")
            self.found[self._name] = value
        self._depth -= 1

    def characters(self, text: str) -> None:
        """Add to the value of an element.

        Raises:
            SideXmlInvalid: The text stands outside of one.
        """
        if self._depth == _MAX_DEPTH:
            self._text.append(text)
        elif text.strip():
            _refuse("text stands outside of an element")


def _read(data: bytes, *, root: str) -> dict[str, str]:
    if len(data) > MAX_SIDE_BYTES:
        _refuse("it is too long")
    reader, parser = _Reader(root), expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _markup
    parser.ProcessingInstructionHandler = _markup
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes it by position
    except expat.ExpatError as error:
        _refuse(f"it is not well-formed XML: {expat.ErrorString(error.code)}")
    except (LookupError, UnicodeError, ValueError):
        _refuse("its encoding is unknown")
    return reader.found


def _markup(*_: object) -> None:
    _refuse("document types, entities and processing instructions are not allowed")


def _refuse(check: str) -> NoReturn:
    raise SideXmlInvalid(check)


def _write(root: str, values: Mapping[str, str]) -> bytes:
    lines = [f"  <{name}>{escape(value)}</{name}>" for name, value in values.items()]
    head = ['<?xml version="1.0" encoding="UTF-8"?>', f"<{root}>"]
    return "".join(f"{line}\n" for line in (*head, *lines, f"</{root}>")).encode()
