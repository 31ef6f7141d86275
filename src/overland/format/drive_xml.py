"""The XML drive manifest: its values, writing, and reading (`drive-manifest-v1.md` §3).

The layout is the documented one of the import service, version 2014-11-01, so that drives are
readable by it and its drives by us.
"""

from collections.abc import Iterable
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

from overland.format.drive_blob import (
    DISPOSITIONS,
    MAX_BLOCK_BYTES,
    MAX_BLOCKS,
    MAX_RANGES,
    RANGE_BYTES,
    VERSION,
    Blob,
    BlobList,
    Block,
    Disposition,
    ManifestXmlInvalid,
    NameProblem,
    PageRange,
    SideFile,
    block_id,
    check_blob,
    file_path_problem,
    is_blob_path,
)
from overland.format.drive_xml_reader import DriveXml, read_manifest

__all__ = [
    "DISPOSITIONS",
    "MAX_BLOCKS",
    "MAX_BLOCK_BYTES",
    "MAX_RANGES",
    "RANGE_BYTES",
    "VERSION",
    "Blob",
    "BlobList",
    "Block",
    "Disposition",
    "DriveXml",
    "ManifestXmlInvalid",
    "NameProblem",
    "PageRange",
    "SideFile",
    "Sink",
    "block_id",
    "check_blob",
    "file_path_problem",
    "is_blob_path",
    "read_manifest",
    "write_manifest",
]


class Sink(Protocol):
    """Where a manifest is written; `ports.files.NewFile` is one."""

    def write(self, data: bytes, /) -> object:
        """Append `data`."""
        ...


def write_manifest(
    out: Sink,
    serial: str,
    blobs: Iterable[Blob],
    *,
    blob_list: BlobList | None = None,
    container_sas: str | None = None,
    client_creator: str | None = "Overland",
    says_disposition: bool = True,
) -> None:
    """Write the manifest of the drive `serial`; memory does not grow with the blobs.

    The same values give the same bytes.  All blobs are written into one list.  The manifest of an
    export says no disposition.

    Raises:
        ManifestXmlInvalid: A blob breaks a rule of §3; `out` holds half a manifest.
    """
    shared = blob_list or BlobList()
    head = ['<?xml version="1.0" encoding="UTF-8"?>', f'<DriveManifest Version="{VERSION}">']
    head += ["  <Drive>", f"    <DriveId>{_text(serial)}</DriveId>"]
    if container_sas is not None:
        head.append(f"    <ContainerSas>{_text(container_sas)}</ContainerSas>")
    if client_creator is not None:
        head.append(f"    <ClientCreator>{_text(client_creator)}</ClientCreator>")
    named = "" if shared.id is None else f" Id={_quoted(shared.id)}"
    head.append(f"    <BlobList{named}>")
    head += _side_files(shared.metadata, shared.properties, indent="      ")
    out.write(_lines(head))
    for blob in blobs:
        check_blob(blob, name="the new drive manifest")
        out.write(_lines(_blob_lines(blob, says_disposition=says_disposition)))
    out.write(_lines(["    </BlobList>", "  </Drive>", "</DriveManifest>"]))


def _blob_lines(blob: Blob, *, says_disposition: bool) -> list[str]:
    lines = [
        "      <Blob>",
        f"        <BlobPath>{_text(blob.blob_path)}</BlobPath>",
        f"        <FilePath>{_text(blob.file_path)}</FilePath>",
        f"        <Length>{blob.length}</Length>",
    ]
    if says_disposition:
        lines.append(f"        <ImportDisposition>{blob.disposition}</ImportDisposition>")
    if blob.page_ranges is not None:
        lines.append("        <PageRangeList>")
        lines += [
            f'          <PageRange Offset="{offset}" Length="{length}" Hash="{md5}"/>'
            for offset, length, md5 in blob.page_ranges
        ]
        lines.append("        </PageRangeList>")
    if blob.blocks is not None:
        lines.append("        <BlockList>")
        lines += [_block_line(block) for block in blob.blocks]
        lines.append("        </BlockList>")
    lines += _side_files(blob.metadata, blob.properties, indent="        ")
    lines.append("      </Blob>")
    return lines


def _block_line(block: Block) -> str:
    named = "" if block.id is None else f" Id={_quoted(block.id)}"
    where = f'Offset="{block.offset}" Length="{block.length}"'
    return f'          <Block {where}{named} Hash="{block.md5}"/>'


def _side_files(
    metadata: SideFile | None, properties: SideFile | None, *, indent: str
) -> list[str]:
    lines = []
    for element, side in (("MetadataPath", metadata), ("PropertiesPath", properties)):
        if side is not None:
            hashed = "" if side.md5 is None else f' Hash="{side.md5}"'
            lines.append(f"{indent}<{element}{hashed}>{_text(side.path)}</{element}>")
    return lines


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _text(text: str) -> str:
    return escape(_printable(text))


def _quoted(text: str) -> str:
    return quoteattr(_printable(text))


def _printable(text: str) -> str:
    # XML has no way to write most control characters, and no name of ours holds any.
    if not text.isprintable():
        raise ManifestXmlInvalid("the new drive manifest", check="a text is not printable")
    return text
