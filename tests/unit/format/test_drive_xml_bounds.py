"""A drive is a stranger's: its XML may be endless, explosive or full of nonsense."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.format_texts import BOOT, SERIAL, TIDE, Written, worked_example

from overland.format import drive_xml_reader
from overland.format.drive_xml import (
    MAX_RANGES,
    RANGE_BYTES,
    Blob,
    ManifestXmlInvalid,
    PageRange,
    block_id,
    check_blob,
    read_manifest,
    write_manifest,
)

HEAD = worked_example().split(b"<BlobList")[0]
RANGE = b'<PageRange Offset="0" Length="512" Hash="' + b"A" * 32 + b'"/>'


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 4096])
def test_the_size_of_the_blocks_does_not_matter(block_bytes: int) -> None:
    data = worked_example()
    blocks = [data[i : i + block_bytes] for i in range(0, len(data), block_bytes)]
    whole, cut = list(read_manifest(data).blobs), list(read_manifest(blocks).blobs)
    assert whole == cut


def test_a_blob_is_there_before_the_next_is_read() -> None:
    def endless() -> Iterator[bytes]:
        yield HEAD + b"<BlobList>"
        one = Written()
        write_manifest(one, SERIAL, [BOOT])
        blob = bytes(one[one.index(b"<Blob>") : one.index(b"</Blob>") + 7])
        while True:
            yield blob

    blobs = read_manifest(endless()).blobs
    assert len(list(itertools.islice(blobs, 1000))) == 1000


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"<!--", b"a" * 65536),
        (b"<BlobList Id='", b"a" * 65536),
        (b"<ClientCreator>", b"text " * 8192),
        (b"<BlobList><Blob><PageRangeList>", RANGE * 1000),
        (b"", b"<BlobList>" * 1000),
        (b"", b"\n" * 65536 + b"<DriveId>1</DriveId>"),
    ],
    ids=["comment", "attribute", "text", "ranges", "nesting", "repetition"],
)
def test_endless_input_is_refused_within_bounds(
    start: bytes, again: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_xml_reader, "MAX_RANGES", 5000)
    blocks = itertools.chain([HEAD + start], itertools.repeat(again, 1000))
    with pytest.raises(ManifestXmlInvalid):
        list(read_manifest(blocks).blobs)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"\xff\xfe<\0D\0",
        b"<?xml version='1.0' encoding='utf-99'?><DriveManifest/>",
        b"<DriveManifest Version='2014-11-01'/>",
        b"<DriveManifest Version='2014-11-01'><Drive/></DriveManifest>",
        b"<DriveManifest Version='2014-11-01'><Drive><DriveId> </DriveId></Drive></DriveManifest>",
        b"<a xmlns='x'>",
        b"<DriveManifest Version='2014-11-01'><Drive>&lol;</Drive></DriveManifest>",
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestXmlInvalid):
        list(read_manifest(data).blobs)


def test_a_drive_without_blobs_is_read() -> None:
    out = Written()
    write_manifest(out, SERIAL, [])
    found = read_manifest(bytes(out))
    assert (found.drive_id, found.client_creator, list(found.blobs)) == (SERIAL, "Overland", [])


def test_texts_are_escaped_on_the_way_and_back() -> None:
    out = Written()
    blob = replace(TIDE, blob_path="c/a&b'<c>.bin")
    write_manifest(out, 'A&B<"', [blob], blob_list=blob.blob_list)
    found = read_manifest(bytes(out))
    assert found.drive_id == 'A&B<"'
    assert list(found.blobs) == [blob]


@pytest.mark.parametrize("serial", ["\x00", "a\nb", "\x1b[0m"])
def test_what_xml_cannot_say_is_not_written(serial: str) -> None:
    with pytest.raises(ManifestXmlInvalid):
        write_manifest(Written(), serial, [])


def test_the_largest_page_blob_is_allowed_and_not_more() -> None:
    part = PageRange(0, 512, "A" * 32)

    def blob(count: int) -> Blob:
        ranges = tuple(part._replace(offset=i * 512) for i in range(count))
        return replace(BOOT, length=MAX_RANGES * RANGE_BYTES, page_ranges=ranges)

    assert MAX_RANGES * RANGE_BYTES == 1 << 40, "the documented largest page blob"
    check_blob(blob(1000), name="m")
    with pytest.raises(ManifestXmlInvalid, match="too many"):
        check_blob(replace(BOOT, page_ranges=(part,) * (MAX_RANGES + 1)), name="m")


def test_block_ids_count_from_the_lowest_byte() -> None:
    assert [block_id(n) for n in (0, 1, 2)] == ["AAAAAA==", "AQAAAA==", "AgAAAA=="]
