"""Reading an XML drive manifest from a stranger's drive (`drive-manifest-v1.md` §3).

One pass, blob by blob: memory is bounded by the largest blob's list of parts, whatever the file's
size.  Document types, entities and processing instructions are refused before they can expand.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from overland.format.drive_blob import (
    DISPOSITIONS,
    MAX_RANGES,
    VERSION,
    Blob,
    BlobList,
    Block,
    Disposition,
    ManifestXmlInvalid,
    PageRange,
    SideFile,
    check_blob,
)

__all__ = ["DriveXml", "read_manifest"]

_FEED_BYTES: Final = 64 << 10
_MAX_SILENT_BYTES: Final = 256 << 10  # one tag or comment is shorter
_MAX_TEXT: Final = 8192  # a SAS is the longest text that occurs
_MAX_ID: Final = 256
_VERSIONS: Final = frozenset({VERSION, "2011-10-01"})
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_HASH: Final = re.compile(r"[0-9A-F]{32}")

# §3.2: which elements may stand in which; texts are the leaves that hold characters.
_CHILDREN: Final = {
    "": {"DriveManifest"},
    "DriveManifest": {"Drive"},
    "Drive": {"DriveId", "StorageAccountKey", "ContainerSas", "ClientCreator", "BlobList"},
    "BlobList": {"MetadataPath", "PropertiesPath", "Blob"},
    "Blob": {
        "BlobPath",
        "FilePath",
        "ClientData",
        "Snapshot",
        "Length",
        "ImportDisposition",
        "PageRangeList",
        "BlockList",
        "MetadataPath",
        "PropertiesPath",
    },
    "PageRangeList": {"PageRange"},
    "BlockList": {"Block"},
}
_TEXTS: Final = (_CHILDREN["Drive"] | _CHILDREN["BlobList"] | _CHILDREN["Blob"]) - _CHILDREN.keys()
_REPEATABLE: Final = frozenset({"BlobList", "Blob", "PageRange", "Block"})
_ATTRIBUTES: Final = {
    "DriveManifest": {"Version"},
    "BlobList": {"Id"},
    "MetadataPath": {"Hash"},
    "PropertiesPath": {"Hash"},
    "PageRange": {"Offset", "Length", "Hash"},
    "Block": {"Offset", "Length", "Id", "Hash"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveXml:
    """A drive manifest being read: the drive, and its blobs, which are read as they are asked for.

    Only when `blobs` has ended without an error was the whole manifest valid.
    """

    drive_id: str
    client_creator: str | None
    blobs: Iterator[Blob]


def read_manifest(
    source: bytes | Iterable[bytes | memoryview],
    *,
    name: str = "DriveManifest.xml",
    check_names: bool = True,
) -> DriveXml:
    """Begin to read a manifest: return the drive's id and the iterator of its blobs.

    Args:
        source: The file, whole or in blocks of any size (`Files.blocks`, an open binary file).
        name: Used in errors only.
        check_names: Refuse the manifest for a blob's paths.  Without it, who asks
            `file_path_problem` and `is_blob_path` blob by blob can import the others.

    Raises:
        ManifestXmlInvalid: Now, or from `blobs`: the XML is not well formed, or breaks a rule.
    """
    blocks = (source,) if isinstance(source, bytes) else source
    reader = _Reader(name, check_names=check_names)
    blobs = _blobs(reader, blocks)
    first = next(blobs, None)
    if reader.drive_id is None:
        reader.refuse("there is no DriveId before the blobs")
    return DriveXml(
        drive_id=reader.drive_id,
        client_creator=reader.client_creator,
        blobs=_chained(first, blobs),
    )


def _chained(first: Blob | None, rest: Iterator[Blob]) -> Iterator[Blob]:
    if first is not None:
        yield first
    yield from rest


def _blobs(reader: "_Reader", blocks: Iterable[bytes | memoryview]) -> Iterator[Blob]:
    for block in blocks:
        view = memoryview(block)
        for start in range(0, len(view), _FEED_BYTES):
            reader.feed(view[start : start + _FEED_BYTES])
            yield from reader.take()
    reader.close()
    yield from reader.take()


@dataclass(slots=True)
class _Draft:
    """A blob between its start tag and its end tag."""

    texts: dict[str, str] = field(default_factory=dict)
    ranges: list[PageRange] | None = None
    blocks: list[Block] | None = None
    metadata: SideFile | None = None
    properties: SideFile | None = None


class _Reader:
    """Expat's handlers, and the state between them."""

    def __init__(self, name: str, *, check_names: bool) -> None:
        self._check_names = check_names
        self.drive_id: str | None = None
        self.client_creator: str | None = None
        self._name = name
        self._path = [""]
        self._seen: list[set[str]] = [set()]
        self._text: list[str] = []
        self._text_length = 0
        self._hash: str | None = None
        self._list = BlobList()
        self._draft: _Draft | None = None
        self._ready: list[Blob] = []
        self._silent_bytes = 0
        self._parser = self._new_parser()

    def feed(self, data: memoryview) -> None:
        """Parse up to `_FEED_BYTES` more."""
        self._silent_bytes += len(data)
        self._parse(bytes(data), final=False)
        if self._silent_bytes > _MAX_SILENT_BYTES:
            # Expat would read an endless tag again with every block.
            self.refuse("a tag is too long")

    def close(self) -> None:
        """Say that the file has ended."""
        self._parse(b"", final=True)

    def take(self) -> list[Blob]:
        """Return the blobs that have been completed since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def refuse(self, check: str) -> NoReturn:
        """Raise `ManifestXmlInvalid` with the rule that is broken, and nothing of the content."""
        raise ManifestXmlInvalid(self._name, check=check)

    def _parse(self, data: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            self.refuse(f"it is not well-formed XML: {expat.ErrorString(error.code)}")
        except (LookupError, UnicodeError, ValueError):
            self.refuse("its encoding is unknown")

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("UTF-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.CommentHandler = self._comment
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ProcessingInstructionHandler = self._instruction
        return parser

    def _doctype(self, *_: object) -> None:
        self.refuse("document types and entities are not allowed")

    def _instruction(self, *_: object) -> None:
        self.refuse("processing instructions are not allowed")

    def _comment(self, _: str) -> None:
        self._silent_bytes = 0

    def _characters(self, text: str) -> None:
        self._silent_bytes = 0
        if self._path[-1] not in _TEXTS:
            if text.strip():
                self.refuse(f"text stands in {self._path[-1]}")
            return
        self._text_length += len(text)
        if self._text_length > _MAX_TEXT:
            self.refuse("a text is too long")
        self._text.append(text)

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        self._silent_bytes = 0
        parent = self._path[-1]
        if element not in _CHILDREN.get(parent, ()):
            self.refuse(f"an element is not allowed in {parent or 'the document'}")
        if element in self._seen[-1] and element not in _REPEATABLE:
            self.refuse(f"{element} is there twice")
        if not attributes.keys() <= _ATTRIBUTES.get(element, set()):
            self.refuse(f"an attribute of {element} is unknown")
        self._seen[-1].add(element)
        self._path.append(element)
        self._seen.append(set())
        self._text, self._text_length = [], 0
        self._open(element, attributes)

    def _open(self, element: str, attributes: dict[str, str]) -> None:
        if element == "DriveManifest":
            if attributes.get("Version") not in _VERSIONS:
                self.refuse("its version is unknown")
        elif element == "BlobList":
            if self.drive_id is None:
                self.refuse("there is no DriveId before the blobs")
            self._list = BlobList(id=self._id(attributes))
        elif element == "Blob":
            self._draft = _Draft()
        elif element in {"MetadataPath", "PropertiesPath"}:
            self._hash = self._md5(attributes) if "Hash" in attributes else None
        elif self._draft is not None:
            self._open_part(element, attributes, self._draft)

    def _open_part(self, element: str, attributes: dict[str, str], draft: _Draft) -> None:
        if element == "PageRangeList":
            draft.ranges = []
        elif element == "BlockList":
            draft.blocks = []
        elif element == "PageRange":
            assert draft.ranges is not None, "a PageRange stands in a PageRangeList"
            draft.ranges.append(PageRange(*self._part(attributes)))
            self._bound(draft.ranges)
        elif element == "Block":
            assert draft.blocks is not None, "a Block stands in a BlockList"
            draft.blocks.append(Block(*self._part(attributes), self._id(attributes)))
            self._bound(draft.blocks)

    def _end(self, element: str) -> None:
        self._silent_bytes = 0
        self._path.pop()
        seen = self._seen.pop()
        text, draft = "".join(self._text), self._draft
        self._text = []
        if element == "Blob":
            self._finish_blob()
        elif element in {"MetadataPath", "PropertiesPath"}:
            self._keep_side_file(element, SideFile(path=text, md5=self._hash))
        elif element == "Drive":
            if "DriveId" not in seen:
                self.refuse("there is no DriveId before the blobs")
        elif element == "DriveId":
            self.drive_id = text.strip()
            if not self.drive_id:
                self.refuse("the DriveId is empty")
        elif element == "ClientCreator":
            self.client_creator = text
        elif draft is not None and element in _TEXTS:
            draft.texts[element] = text

    def _finish_blob(self) -> None:
        draft, self._draft = self._draft, None
        assert draft is not None, "an end tag follows its start tag"
        texts = draft.texts
        missing = {"BlobPath", "FilePath", "Length"} - texts.keys()
        if missing:
            self.refuse(f"a blob has no {min(missing)}")
        blob = Blob(
            blob_path=texts["BlobPath"],
            file_path=texts["FilePath"],
            length=self._number(texts["Length"].strip()),
            disposition=self._disposition(texts.get("ImportDisposition", "rename")),
            page_ranges=None if draft.ranges is None else tuple(draft.ranges),
            blocks=None if draft.blocks is None else tuple(draft.blocks),
            metadata=draft.metadata,
            properties=draft.properties,
            blob_list=self._list,
        )
        check_blob(blob, name=self._name, names=self._check_names)
        self._ready.append(blob)

    def _keep_side_file(self, element: str, side: SideFile) -> None:
        is_metadata = element == "MetadataPath"
        if self._draft is None:
            self._list = BlobList(
                id=self._list.id,
                metadata=side if is_metadata else self._list.metadata,
                properties=self._list.properties if is_metadata else side,
            )
        elif is_metadata:
            self._draft.metadata = side
        else:
            self._draft.properties = side

    def _disposition(self, text: str) -> Disposition:
        found = next((d for d in DISPOSITIONS if d == text.strip()), None)
        if found is None:
            self.refuse("a disposition is unknown")
        return found

    def _part(self, attributes: dict[str, str]) -> tuple[int, int, str]:
        if not {"Offset", "Length", "Hash"} <= attributes.keys():
            self.refuse("a part has no offset, length or hash")
        offset, length = attributes["Offset"], attributes["Length"]
        return self._number(offset), self._number(length), self._md5(attributes)

    def _id(self, attributes: dict[str, str]) -> str | None:
        found = attributes.get("Id")
        if found is not None and len(found) > _MAX_ID:
            self.refuse("an id is too long")
        return found

    def _md5(self, attributes: dict[str, str]) -> str:
        # Published manifests have stray blanks inside the attribute.
        md5 = attributes["Hash"].strip().upper()
        if _HASH.fullmatch(md5) is None:
            self.refuse("a hash is not an MD5 in hexadecimal digits")
        return md5

    def _number(self, text: str) -> int:
        if _NUMBER.fullmatch(text) is None:
            self.refuse("a number is not allowed")
        return int(text)

    def _bound(self, parts: list[PageRange] | list[Block]) -> None:
        if len(parts) > MAX_RANGES:
            self.refuse("a blob has too many parts")
