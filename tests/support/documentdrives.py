"""Drives as the published document describes them, made without a line of Overland.

`make_drive` lays out a drive of a random tree: files, files of metadata and properties, and a
manifest that lists them as block blobs and page blobs with every disposition.  It damages what it
was told to damage, and says of each blob how an import into a container that holds `present` has
to end.  `read_log` reads what a service left, as strictly as the document is.

Nothing here imports the program, so that an error of ours in reading the document cannot be made
here in the same way.
"""

import base64
import hashlib
import random
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

__all__ = [
    "FAULTS",
    "DocumentDrive",
    "Expected",
    "ExportedBlob",
    "LoggedBlob",
    "LoggedDrive",
    "make_drive",
    "read_exported",
    "read_log",
    "renamed",
]

FAULTS = (
    "flipped-bit",
    "wrong-hash",
    "cut-off",
    "missing-file",
    "bad-file-name",
    "long-file-name",
    "bad-container",
    "bad-metadata-hash",
    "missing-metadata",
    "broken-metadata",
    "bad-metadata-name",
    "broken-properties",
)

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One block or page range of a manifest; `md5` is what the manifest says."""

    offset: int
    length: int
    md5: str
    id: str | None = None


@dataclass(slots=True)
class Expected:
    """One blob of the manifest, and how its import has to end."""

    blob_path: str
    file_path: str
    length: int
    disposition: str
    is_paged: bool
    parts: list[Part]
    content: bytes
    says_disposition: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    status: str = "Completed"
    came: str = "Created"
    final_path: str = ""
    part_statuses: list[str] = field(default_factory=list)
    metadata_status: str | None = None
    properties_status: str | None = None
    side_lines: list[str] = field(default_factory=list)
    landed: bool = True


@dataclass(slots=True)
class DocumentDrive:
    """What lies on a drive, by its path with `/`, and what an import of it has to do."""

    serial: str
    manifest_path: str
    files: dict[str, bytes]
    blobs: list[Expected]
    status: str = ""

    @property
    def manifest(self) -> bytes:
        return self.files[self.manifest_path.removeprefix("\\").replace("\\", "/")]

    def md5(self) -> str:
        """Return the manifest's hash as the older documents have it."""
        return hashlib.md5(self.manifest).hexdigest().upper()

    def sha256(self) -> str:
        """Return the manifest's hash as the newer examples have it."""
        return hashlib.sha256(self.manifest).hexdigest().upper()


def make_drive(
    seed: int,
    *,
    serial: str = "WD-DOC0001",
    count: int = 12,
    faults: tuple[str, ...] = (),
    present: Mapping[str, bytes] | None = None,
    largest: int = 40 * _KIB,
) -> DocumentDrive:
    """Return a drive; the same seed gives the same one.

    Args:
        seed: Of the random tree.
        serial: The drive's serial number.
        count: How many sound blobs it has.
        faults: One more blob is made for each, and damaged so.
        present: Blobs that are there before the import, by path; dispositions meet them.
        largest: Bytes of the largest blob.
    """
    maker = _Maker(seed, serial, dict(present or {}), largest)
    for number in range(count):
        maker.add(number, fault=None)
    for number, fault in enumerate(faults, start=count):
        maker.add(number, fault=fault)
    return maker.drive()


class _Maker:
    def __init__(self, seed: int, serial: str, present: dict[str, bytes], largest: int) -> None:
        self._random = random.Random(seed)
        self._serial, self._taken, self._largest = serial, dict(present), largest
        self._files: dict[str, bytes] = {}
        self._blobs: list[Expected] = []
        self._shared = self._make_shared()

    # The tree.

    def add(self, number: int, *, fault: str | None) -> None:
        rng = self._random
        is_paged = rng.random() < 0.4
        content = self._content(is_paged=is_paged)
        folder = "/".join(
            rng.choice(["charts", "süd", "a b", "x.y"]) for _ in range(rng.randrange(3))
        )
        name = f"{folder}/" if folder else ""
        name += rng.choice([f"blob{number}", f"blob {number}.bin", f"tide.{number}.tar.gz"])
        container = rng.choice(["harbour", "harbour-2", "$root"])
        if container == "$root":
            name = name.rpartition("/")[2]
        path = f"{container}/{name}"
        taken = [each for each in self._taken if each not in {b.blob_path for b in self._blobs}]
        if fault is None and taken and rng.random() < 0.5:
            path = rng.choice(taken)
        disposition = rng.choice(["rename", "no-overwrite", "overwrite"])
        blob = self._laid(
            f"files/{number:03d} {path.replace('/', '_')}", path, content, is_paged=is_paged
        )
        blob.disposition = disposition
        blob.says_disposition = disposition != "rename" or rng.random() < 0.5
        self._add_sides(blob, number, fault)
        self._damage(blob, fault)
        self._settle(blob)
        self._blobs.append(blob)

    def _content(self, *, is_paged: bool) -> bytes:
        rng = self._random
        size = rng.choice([0, 1, 511, 512, 4096, rng.randrange(self._largest)])
        return rng.randbytes(size // 512 * 512 if is_paged else size)

    def _laid(self, file: str, path: str, content: bytes, *, is_paged: bool) -> Expected:
        """Cut a file into parts; between the ranges of a page blob the file has other bytes."""
        rng = self._random
        parts, blob = [], bytearray(content)
        if is_paged:
            offset, blob = 0, bytearray(len(content))
            while offset < len(content):
                length = min(512 * rng.randrange(1, 17), len(content) - offset)
                if rng.random() < 0.7:
                    piece = content[offset : offset + length]
                    parts.append(Part(offset, length, _md5(piece)))
                    blob[offset : offset + length] = piece
                offset += length
        else:
            style, offset = rng.choice(["none", "counter", "md5"]), 0
            while offset < len(content):
                length = min(rng.randrange(1, 9000), len(content) - offset)
                piece = content[offset : offset + length]
                parts.append(Part(offset, length, _md5(piece), _id(style, len(parts), piece)))
                offset += length
        self._files[file] = content
        return Expected(
            blob_path=path,
            file_path="\\" + file.replace("/", "\\"),
            length=len(content),
            disposition="rename",
            is_paged=is_paged,
            parts=parts,
            content=bytes(blob),
        )

    # Metadata and properties.

    def _make_shared(self) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Files that the whole list has for default."""
        metadata = {"Project": "Lantern & Sons", "Year": "2027"}
        properties = {"Content-Type": "application/octet-stream", "Cache-Control": "no-cache"}
        lines = [
            self._side("wai/list-meta.xml", "Metadata", metadata, "MetadataPath"),
            self._side("wai/list-props.xml", "Properties", properties, "PropertiesPath"),
        ]
        return metadata, properties, lines

    def _side(self, file: str, root: str, values: Mapping[str, str], element: str) -> str:
        inner = "".join(f"\n  <{name}>{escape(v)}</{name}>" for name, v in values.items())
        data = f'<?xml version="1.0" encoding="UTF-8"?>\r\n<{root}>{inner}\n</{root}>'.encode()
        return self._side_line(file, data, element)

    def _side_line(self, file: str, data: bytes, element: str, md5: str | None = None) -> str:
        self._files[file] = data
        path = "\\" + file.replace("/", "\\")
        return f'<{element} Hash="{md5 or _md5(data)}">{escape(path)}</{element}>'

    def _add_sides(self, blob: Expected, number: int, fault: str | None) -> None:
        rng = self._random
        blob.metadata, blob.properties = dict(self._shared[0]), dict(self._shared[1])
        blob.metadata_status = blob.properties_status = "Completed"
        if rng.random() < 0.3:
            blob.metadata = {"Owner": f"berth {number}"}
            file = f"wai/{number}.meta.xml"
            blob.side_lines.append(self._side(file, "Metadata", blob.metadata, "MetadataPath"))
        if rng.random() < 0.3:
            blob.properties = {"Content-Language": "da", "Content-Encoding": "identity"}
            exported = {"Last-Modified": "Mon, 01 Mar 2027 12:00:00 GMT", **blob.properties}
            file = f"wai/{number}.props.xml"
            blob.side_lines.append(self._side(file, "Properties", exported, "PropertiesPath"))
        if fault is None or ("metadata" not in fault and "properties" not in fault):
            return
        element = "PropertiesPath" if "properties" in fault else "MetadataPath"
        blob.side_lines = [line for line in blob.side_lines if f"<{element}" not in line]
        file, good = f"wai/{number}.bad.xml", b"<Metadata><A>b</A></Metadata>"
        match fault:
            case "bad-metadata-hash":
                line, code = self._side_line(file, good, element, _md5(b"other")), "Corrupted"
            case "missing-metadata":
                line, code = self._side_line(file, good, element), "FileNotFound"
                del self._files[file]
            case "bad-metadata-name":
                line = f"<{element}>\\wai\\..\\..\\passwd</{element}>"
                code = "FileNameInvalid"
            case _:
                line, code = self._side_line(file, b"<Metadata><A>", element), "XmlReadFailed"
        blob.side_lines.append(line)
        blob.status = "CompletedWithErrors"
        if element == "MetadataPath":
            blob.metadata, blob.metadata_status = {}, code
        else:
            blob.properties, blob.properties_status = {}, code

    # Damage.

    def _damage(self, blob: Expected, fault: str | None) -> None:
        blob.part_statuses = ["Completed"] * len(blob.parts)
        file = blob.file_path[1:].replace("\\", "/")
        match fault:
            case "flipped-bit" | "wrong-hash" | "cut-off":
                self._damage_parts(blob, file, fault)
            case "missing-file":
                del self._files[file]
                self._cancel(blob, "FileNotFound")
            case "bad-file-name":
                blob.file_path = self._random.choice(
                    ["\\..\\secret", "files\\x", "\\files\\\\x", "\\a\\.\\b", "\\c:\\x", "\\"]
                )
                self._cancel(blob, "FileNameInvalid")
            case "long-file-name":
                blob.file_path = "\\" + "n" * 300
                self._cancel(blob, "FileNameTooLong")
            case "bad-container":
                bad = ["Harbour/x", "../x", "harbour/../../x", "harbour//x", "ha--rbour/x", "x"]
                blob.blob_path = self._random.choice(bad)
                self._cancel(blob, "BlobRequestFailed")

    def _damage_parts(self, blob: Expected, file: str, fault: str) -> None:
        if not blob.parts:  # nothing to damage: let it be of one part
            content = self._random.randbytes(1024)
            self._files[file] = blob.content = content
            blob.length, blob.is_paged = len(content), False
            blob.parts = [Part(0, len(content), _md5(content))]
            blob.part_statuses = ["Completed"]
        number = self._random.randrange(len(blob.parts))
        bad = blob.parts[number]
        good = "Cancelled" if blob.is_paged else "Uncommitted"
        blob.part_statuses = [good] * len(blob.parts)
        if fault == "flipped-bit":
            data = bytearray(self._files[file])
            data[self._random.randrange(bad.offset, bad.offset + bad.length)] ^= 4
            self._files[file] = bytes(data)
            blob.part_statuses[number] = "Corrupted"
        elif fault == "wrong-hash":
            blob.parts[number] = Part(bad.offset, bad.length, _md5(b"no"), bad.id)
            blob.part_statuses[number] = "Corrupted"
        else:
            self._files[file] = self._files[file][: bad.offset + bad.length - 1]
            for each in range(number, len(blob.parts)):
                blob.part_statuses[each] = "FileUnexpectedEnd"
        self._cancel(blob, "CompletedWithErrors", parts=False)

    def _cancel(self, blob: Expected, status: str, *, parts: bool = True) -> None:
        blob.status, blob.came, blob.landed = status, "Cancelled", False
        blob.metadata_status = blob.properties_status = "Cancelled"
        if parts:
            blob.part_statuses = ["Cancelled"] * len(blob.parts)

    # What a container then holds.

    def _settle(self, blob: Expected) -> None:
        """Say what the disposition leads to, in the order in which the manifest lists blobs."""
        blob.final_path = blob.blob_path
        exists = blob.blob_path in self._taken
        if (
            exists
            and blob.disposition == "no-overwrite"
            and blob.status
            in {
                "Completed",
                "CompletedWithErrors",
                "FileNotFound",
                "FileNameInvalid",
                "FileNameTooLong",
            }
        ):
            blob.status, blob.came, blob.landed = "Completed", "Skipped", False
            blob.part_statuses = ["Cancelled"] * len(blob.parts)
            blob.metadata_status = blob.properties_status = "Cancelled"
            return
        if not blob.landed:
            return
        if exists and blob.disposition == "rename":
            number = 2
            while (path := renamed(blob.blob_path, number)) in self._taken:
                number += 1
            blob.final_path, blob.came = path, "Renamed"
        elif exists:
            blob.came = "Overwritten"
        self._taken[blob.final_path] = blob.content

    # The manifest.

    def drive(self) -> DocumentDrive:
        rng = self._random
        end = rng.choice(["\n", "\r\n", ""])
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<DriveManifest Version="{rng.choice(["2014-11-01", "2011-10-01"])}">',
            "<Drive>",
            f"<DriveId>{self._serial}</DriveId>",
            *rng.choice([[], ["<StorageAccountKey>bm90IGEga2V5</StorageAccountKey>"]]),
            *rng.choice([[], ["<ClientCreator>test-prep 1.0</ClientCreator>"]]),
        ]
        cut = rng.randrange(len(self._blobs) + 1)
        for number, some in enumerate((self._blobs[:cut], self._blobs[cut:])):
            lines.append(f'<BlobList Id="session#1-{number}">')
            lines += self._shared[2]
            lines += [line for blob in some for line in self._blob_lines(blob)]
            lines.append("</BlobList>")
        lines += ["</Drive>", "</DriveManifest>"]
        path = rng.choice(
            ["\\DriveManifest.xml", "\\5f6e0c1a-0000-4000-8000-000000000000.manifest"]
        )
        self._files[path[1:]] = (end.join(lines) + end).encode()
        return DocumentDrive(self._serial, path, self._files, self._blobs, self._status())

    def _blob_lines(self, blob: Expected) -> list[str]:
        kind = ("PageRangeList", "PageRange") if blob.is_paged else ("BlockList", "Block")
        parts = []
        for part in blob.parts:
            named = "" if part.id is None else f' Id="{part.id}"'
            stray = self._random.choice(["", " "])
            where = f'Offset="{part.offset}" Length="{part.length}"'
            parts.append(f'<{kind[1]} {where}{named} Hash="{stray}{part.md5}"/>')
        says = f"<ImportDisposition>{blob.disposition}</ImportDisposition>"
        return [
            "<Blob>",
            f"<BlobPath>{escape(blob.blob_path)}</BlobPath>",
            f"<FilePath>{escape(blob.file_path)}</FilePath>",
            *self._random.choice([[], ["<ClientData>keep me out</ClientData>"]]),
            f"<Length>{blob.length}</Length>",
            *([says] if blob.says_disposition else []),
            f"<{kind[0]}>",
            *parts,
            f"</{kind[0]}>",
            *blob.side_lines,
            "</Blob>",
        ]

    def _status(self) -> str:
        if any(blob.status != "Completed" for blob in self._blobs):
            return "CompletedWithErrors"
        noted = any(blob.came in {"Renamed", "Skipped", "Overwritten"} for blob in self._blobs)
        return "CompletedWithWarnings" if noted else "Completed"


def renamed(path: str, number: int) -> str:
    """Return a blob's path after the documented rename rule."""
    container, name = path.split("/", 1)
    dot = name.rfind(".")
    if dot < 0:
        return f"{container}/{name} ({number})"
    return f"{container}/{name[:dot]} ({number}){name[dot:]}"


def _id(style: str, number: int, piece: bytes) -> str | None:
    if style == "none":
        return None
    if style == "counter":
        return base64.b64encode(number.to_bytes(4, "little")).decode()
    return "MD5/" + base64.b64encode(hashlib.md5(piece).digest()).decode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest().upper()


# Copy logs.


@dataclass(frozen=True, slots=True)
class LoggedBlob:
    """One blob of a copy log; parts are offset, length and status."""

    status: str
    blob_path: str
    file_path: str
    length: int
    disposition: str
    came: str
    is_paged: bool
    parts: list[tuple[int, int, str]]
    metadata: str | None
    properties: str | None


@dataclass(frozen=True, slots=True)
class LoggedDrive:
    """A copy log."""

    drive_id: str
    status: str
    blobs: list[LoggedBlob]


def read_log(text: str, *, is_export: bool = False) -> LoggedDrive:
    """Return what a log of version 2014-11-01 says; whatever is not in the document fails."""
    root = ET.fromstring(text)
    assert (root.tag, root.attrib) == ("DriveLog", {"Version": "2014-11-01"})
    assert {child.tag for child in root} <= {"DriveId", "Blob", "Status"}
    drive_id, status = root.findtext("DriveId"), root.findtext("Status")
    assert drive_id
    assert status
    return LoggedDrive(
        drive_id, status, [_logged(each, is_export=is_export) for each in root.findall("Blob")]
    )


def _logged(blob: ET.Element, *, is_export: bool) -> LoggedBlob:
    allowed = {"BlobPath", "FilePath", "Length", "ImportDisposition", "Metadata", "Properties"}
    lists = {"PageRangeList", "BlockList"} & {child.tag for child in blob}
    assert len(lists) == 1, "either ranges or blocks"
    assert {child.tag for child in blob} <= allowed | lists
    disposition = blob.find("ImportDisposition")
    assert (disposition is None) == is_export, "an export says none"
    parts = []
    for part in blob.find(lists.pop()) or ():
        assert set(part.attrib) <= {"Offset", "Length", "Id", "Hash", "Status"}
        parts.append(
            (int(part.attrib["Offset"]), int(part.attrib["Length"]), part.attrib["Status"])
        )
    return LoggedBlob(
        status=blob.attrib["Status"],
        blob_path=blob.findtext("BlobPath") or "",
        file_path=blob.findtext("FilePath") or "",
        length=int(blob.findtext("Length") or "-1"),
        disposition="" if disposition is None else disposition.text or "",
        came="" if disposition is None else disposition.attrib["Status"],
        is_paged=blob.find("PageRangeList") is not None,
        parts=parts,
        metadata=_side_status(blob, "Metadata"),
        properties=_side_status(blob, "Properties"),
    )


def _side_status(blob: ET.Element, element: str) -> str | None:
    found = blob.find(element)
    if found is None:
        return None
    assert {child.tag for child in found} <= {"GlobalPath", "Path"}
    assert len(found) > 0, "at least one path"
    return found.attrib["Status"]


# Exported drives.


@dataclass(frozen=True, slots=True)
class ExportedBlob:
    """One blob of a drive that a service filled."""

    content: bytes
    is_paged: bool
    metadata: dict[str, str]
    properties: dict[str, str]


def read_exported(files: Mapping[str, bytes], serial: str) -> dict[str, ExportedBlob]:
    """Return the blobs of a filled drive by path, after checking every hash of its manifest."""
    root = ET.fromstring(files[f"{serial}.manifest"])
    assert (root.tag, root.attrib) == ("DriveManifest", {"Version": "2014-11-01"})
    [drive] = root
    assert drive.findtext("DriveId") == serial
    assert drive.find("StorageAccountKey") is None
    assert drive.find("ContainerSas") is None
    found = {}
    for listed in drive.findall("BlobList"):
        assert listed.find("MetadataPath") is None
        assert listed.find("PropertiesPath") is None
        for blob in listed.findall("Blob"):
            path = blob.findtext("BlobPath") or ""
            assert path not in found
            found[path] = _exported(files, blob)
    return found


def _exported(files: Mapping[str, bytes], blob: ET.Element) -> ExportedBlob:
    assert blob.find("ImportDisposition") is None, "an export says none"
    data = _file(files, blob.findtext("FilePath"))
    assert len(data) == int(blob.findtext("Length") or "-1")
    ranges = blob.find("PageRangeList")
    parts = ranges if ranges is not None else blob.find("BlockList")
    assert parts is not None
    content, end = bytearray(len(data)), 0
    for part in parts:
        offset, length = int(part.attrib["Offset"]), int(part.attrib["Length"])
        assert offset >= end
        assert ranges is not None or offset == end, "blocks leave no gap"
        piece = data[offset : offset + length]
        assert len(piece) == length
        assert _md5(piece) == part.attrib["Hash"]
        content[offset : offset + length] = piece
        end = offset + length
    assert ranges is not None or end == len(data), "blocks cover the file"
    return ExportedBlob(
        bytes(content),
        ranges is not None,
        _side_values(files, blob.find("MetadataPath"), "Metadata"),
        _side_values(files, blob.find("PropertiesPath"), "Properties"),
    )


def _side_values(
    files: Mapping[str, bytes], element: ET.Element | None, root: str
) -> dict[str, str]:
    if element is None:
        return {}
    data = _file(files, element.text)
    assert _md5(data) == element.attrib["Hash"]
    parsed = ET.fromstring(data)
    assert parsed.tag == root
    return {child.tag: child.text or "" for child in parsed}


def _file(files: Mapping[str, bytes], path: str | None) -> bytes:
    assert path
    assert path.startswith("\\")
    return files[path[1:].replace("\\", "/")]
