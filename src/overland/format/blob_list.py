"""The XML list of blobs that an export takes, or did not take (`drive-manifest-v1.md` §6)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

from overland.errors import IntegrityError

__all__ = [
    "MAX_LIST_BYTES",
    "BlobListInvalid",
    "BlobSelection",
    "read_blob_list",
    "write_blob_list",
]

MAX_LIST_BYTES: Final = 64 << 20
"""Half a million names of ordinary length."""

_MAX_TEXT: Final = 1200
_ATTRIBUTES: Final = {"IncludeSnapshots", "SnapshotTime"}
_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


class BlobListInvalid(IntegrityError):
    """A list of blobs is not well formed, or breaks a rule of its schema."""

    code = "blob-list-invalid"

    def __init__(self, check: str) -> None:
        super().__init__(f"the list of blobs is not valid: {check}; correct it in a new job")
        self.check = check


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSelection:
    """Blobs by their paths `CONTAINER/BLOB`, and by prefixes `/CONTAINER/START`.

    A path with a snapshot's time names a blob that no store of ours has: `snapshots` are such.
    """

    paths: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()


def read_blob_list(data: bytes) -> BlobSelection:
    """Return what a list names; snapshots of a blob are not included, since there are none.

    Raises:
        BlobListInvalid: It is not well formed, names nothing, or breaks a rule.
    """
    if len(data) > MAX_LIST_BYTES:
        _refuse("it is too long")
    reader, parser = _Reader(), expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.characters
    markup: Callable[..., None] = _markup
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = markup
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes it by position
    except expat.ExpatError as error:
        _refuse(f"it is not well-formed XML: {expat.ErrorString(error.code)}")
    except (LookupError, UnicodeError, ValueError):
        _refuse("its encoding is unknown")
    return reader.selection()


def write_blob_list(selection: BlobSelection) -> bytes:
    """Return the list; what XML cannot say is replaced, so that it always comes into being."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<BlobList>"]
    named = (("BlobPathPrefix", selection.prefixes), ("BlobPath", selection.paths))
    for element, paths in named:
        lines += [f"  <{element}>{_text(path)}</{element}>" for path in paths]
    lines.append("</BlobList>")
    return "".join(f"{line}\n" for line in lines).encode()


class _Reader:
    """Expat's handlers for a list of texts."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {"BlobPath": [], "BlobPathPrefix": [], "snapshot": []}
        self._path: list[str] = []
        self._text = ""
        self._kind = ""

    def start(self, element: str, attributes: dict[str, str]) -> None:
        """Take note of an element that begins.

        Raises:
            BlobListInvalid: It, or an attribute of it, is not allowed here.
        """
        allowed = {"BlobPath", "BlobPathPrefix"} if self._path == ["BlobList"] else set()
        if not self._path:
            allowed = {"BlobList"}
        if element not in allowed:
            _refuse("an element is not allowed")
        if not attributes.keys() <= (_ATTRIBUTES if self._path else set()):
            _refuse("an attribute is not allowed")
        self._kind = "snapshot" if "SnapshotTime" in attributes else element
        self._path.append(element)
        self._text = ""

    def end(self, element: str) -> None:
        """Keep the path, prefix or snapshot that ends.

        Raises:
            BlobListInvalid: A path begins with a slash, a prefix does not, or there is no text.
        """
        self._path.pop()
        if element == "BlobList":
            return
        text = self._text.strip()
        if not text or (element == "BlobPathPrefix") != text.startswith("/"):
            _refuse("a path has no container, or a prefix no slash before it")
        self._found[self._kind].append(text)

    def characters(self, text: str) -> None:
        """Add to the text of an element, of which `_MAX_TEXT` characters are allowed.

        Raises:
            BlobListInvalid: It is longer, or stands outside of an element.
        """
        if self._path == ["BlobList"]:
            if text.strip():
                _refuse("text stands outside of an element")
            return
        self._text += text
        if len(self._text) > _MAX_TEXT:
            _refuse("a path is too long")

    def selection(self) -> BlobSelection:
        """Return all that was named, in the order of the list.

        Raises:
            BlobListInvalid: That is nothing.
        """
        if not any(self._found.values()):
            _refuse("it names no blob")
        return BlobSelection(
            paths=tuple(self._found["BlobPath"]),
            prefixes=tuple(self._found["BlobPathPrefix"]),
            snapshots=tuple(self._found["snapshot"]),
        )


def _markup(*_: object) -> None:
    _refuse("document types, entities and processing instructions are not allowed")


def _refuse(check: str) -> NoReturn:
    raise BlobListInvalid(check)


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else _UNPRINTABLE for c in text))
