"""A drive manifest at its bounds: the last that is allowed is read, and one more is not."""

import re
from dataclasses import replace

import pytest
from tests.support.format_texts import BOOT, SERIAL, TIDE, Written

from overland.format import drive_xml_reader
from overland.format.drive_xml import (
    Blob,
    BlobList,
    ManifestXmlInvalid,
    read_manifest,
    write_manifest,
)

TEXT_BYTES = 8192
ID_BYTES = 256


def written(blob: Blob = BOOT, **options: str) -> bytes:
    out = Written()
    write_manifest(out, SERIAL, [blob], **options)  # type: ignore[arg-type]  # texts, all of them
    return bytes(out)


def read(data: bytes) -> list[Blob]:
    return list(read_manifest(data).blobs)


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (replace(BOOT, file_path=r"\..\up"), "a file path"),
        (replace(BOOT, blob_path="nothing-but-a-container"), "a blob path"),
        (replace(BOOT, length=-1), "length"),
        (replace(BOOT, page_ranges=None), "either page ranges or blocks"),
    ],
    ids=["path out of the drive", "blob without a name", "negative length", "no parts"],
)
def test_a_blob_that_no_reader_takes_is_not_written(blob: Blob, why: str) -> None:
    with pytest.raises(ManifestXmlInvalid, match=why):
        written(blob)


def test_the_longest_text_is_read_and_a_letter_more_is_not() -> None:
    data = written(container_sas="s" * TEXT_BYTES)
    assert [blob.blob_path for blob in read(data)] == [BOOT.blob_path]
    with pytest.raises(ManifestXmlInvalid, match="text is too long"):
        read(data.replace(b"<ContainerSas>", b"<ContainerSas>s"))


def test_the_longest_id_is_read_and_a_letter_more_is_not() -> None:
    for length in (ID_BYTES, ID_BYTES + 1):
        out = Written()
        shared = BlobList(id="i" * length)
        write_manifest(out, SERIAL, [replace(TIDE, blob_list=shared)], blob_list=shared)
        if length == ID_BYTES:
            assert read(bytes(out))[0].blob_list == shared
        else:
            with pytest.raises(ManifestXmlInvalid, match="id is too long"):
                read(bytes(out))


def test_the_parts_are_counted_while_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the end of the blob: there may be none, and memory has one."""
    one = re.search(rb"<PageRange [^>]*/>", written())
    assert one is not None
    endless = written().split(b"<PageRange ")[0]
    monkeypatch.setattr(drive_xml_reader, "MAX_RANGES", 3)
    with pytest.raises(ManifestXmlInvalid, match="well-formed"):  # for it is cut, and no more
        read_manifest([endless, one[0] * 3])
    with pytest.raises(ManifestXmlInvalid, match="too many parts"):
        read_manifest([endless, one[0] * 4])
