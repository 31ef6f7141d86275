"""Files of metadata and properties, and lists of blobs: read as strictly as they are documented."""

import pytest

from overland.format.blob_list import (
    BlobListInvalid,
    BlobSelection,
    read_blob_list,
    write_blob_list,
)
from overland.format.side_xml import (
    SideXmlInvalid,
    read_metadata,
    read_properties,
    write_metadata,
    write_properties,
)

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def test_metadata_and_properties_are_written_as_documented_and_read_back() -> None:
    metadata = {"Project": "Lantern & Sons"}
    text = HEAD + "<Metadata>\n  <Project>Lantern &amp; Sons</Project>\n</Metadata>\n"
    assert write_metadata(metadata).decode() == text
    assert read_metadata(text.encode()) == metadata
    properties = {"Content-Type": "a/b", "Etag": '"1"', "Content-Length": "7"}
    written = write_properties(properties).decode()
    assert written.index("<Etag>") < written.index("<Content-Type>")
    assert read_properties(written.encode()) == {"Content-Type": "a/b"}, "the rest is export only"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<Properties/>",
        "<Metadata>text</Metadata>",
        "<Metadata><A><B/></A></Metadata>",
        "<Metadata><A>1</A><A>2</A></Metadata>",
        '<Metadata><A b="c">1</A></Metadata>',
        "<Metadata><A-B>1</A-B></Metadata>",
        "<Metadata><A>1&#9;2</A></Metadata>",
        "<Metadata><A>1</A>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><Metadata><A>&b;</A></Metadata>",
        "<Metadata><?php a?></Metadata>",
        f"<Metadata><A>{'x' * 9000}</A></Metadata>",
        f"<Metadata>{' ' * (64 << 10)}</Metadata>",
    ],
)
def test_other_metadata_is_refused(body: str) -> None:
    with pytest.raises(SideXmlInvalid):
        read_metadata((HEAD + body).encode())


@pytest.mark.parametrize(
    "body", ["<Metadata/>", "<Properties><x-ms-key>1</x-ms-key></Properties>", "<Properties>"]
)
def test_other_properties_are_refused(body: str) -> None:
    with pytest.raises(SideXmlInvalid):
        read_properties(body.encode())


def test_a_list_of_blobs_is_written_as_documented_and_read_back() -> None:
    selection = BlobSelection(paths=("charts/a & b.png",), prefixes=("/music/love",))
    assert read_blob_list(write_blob_list(selection)) == selection


def test_a_snapshot_is_told_apart() -> None:
    text = b'<BlobList><BlobPath SnapshotTime="2026-05-01T10:00:00Z">a/b</BlobPath></BlobList>'
    assert read_blob_list(text) == BlobSelection(snapshots=("a/b",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<BlobList/>",
        "<Blobs><BlobPath>a/b</BlobPath></Blobs>",
        "<BlobList><BlobPath></BlobPath></BlobList>",
        "<BlobList><BlobPath>/a/b</BlobPath></BlobList>",
        "<BlobList><BlobPathPrefix>a</BlobPathPrefix></BlobList>",
        "<BlobList><BlobPath><a/></BlobPath></BlobList>",
        '<BlobList><BlobPath Other="1">a/b</BlobPath></BlobList>',
        "<BlobList>text<BlobPath>a/b</BlobPath></BlobList>",
        "<!DOCTYPE a><BlobList><BlobPath>a/b</BlobPath></BlobList>",
        f"<BlobList><BlobPath>a/{'b' * 1300}</BlobPath></BlobList>",
    ],
)
def test_other_lists_of_blobs_are_refused(text: str) -> None:
    with pytest.raises(BlobListInvalid):
        read_blob_list(text.encode())
