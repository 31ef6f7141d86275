"""The worked example of the XML drive manifest, its logs, and damaged texts."""

from collections.abc import Iterator

from overland.format.copy_log import (
    BlobResult,
    BlobStatus,
    DispositionStatus,
    DriveLog,
    DriveStatus,
    PartStatus,
    SideStatus,
)
from overland.format.drive_xml import Blob, BlobList, Block, PageRange, SideFile, write_manifest

SERIAL = "ZX91K7Q0"
CONTAINER_SAS = (
    "harbour?sv=2014-02-14&sr=c&sp=rwd&se=2027-06-01T00%3A00%3A00Z&sig=EXAMPLE"  # of an example
)
SHARED = BlobList(
    id="session-1-0",
    metadata=SideFile(path="\\wai\\meta.xml", md5="5A09CC585D5968CD90289E39CD6B4EB3"),
)
TIDE = Blob(
    blob_path="harbour/tide.bin",
    file_path="\\harbour\\tide.bin",
    length=10_000,
    disposition="rename",
    blocks=(
        Block(0, 6000, "15C4711E00F69307D777469D7FBB061C", "AAAAAA=="),
        Block(6000, 4000, "B788D9465A5E96C7165D622F1A83F1FC", "AQAAAA=="),
    ),
    properties=SideFile(path="\\wai\\props.xml", md5="981AD6A7C4CC3126F93166ADF83151C8"),
    blob_list=SHARED,
)
BOOT = Blob(
    blob_path="harbour/boot.img",
    file_path="\\disks\\boot.img",
    length=4096,
    disposition="overwrite",
    page_ranges=(PageRange(0, 1024, "B2EA9F7FCEA831A4A63B213F41A8855B"),),
    blob_list=SHARED,
)


class Written(bytearray):
    """A file in memory."""

    def write(self, data: bytes) -> None:
        self += data


def worked_example() -> bytes:
    """Return the manifest whose hashes are known."""
    out = Written()
    write_manifest(
        out,
        SERIAL,
        [TIDE, BOOT],
        blob_list=SHARED,
        container_sas=CONTAINER_SAS,
        client_creator="example-prep 1.0",
    )
    return bytes(out)


def example_log(*, verbose: bool) -> bytes:
    """Return the log of the worked example, in which one range was found corrupted."""
    out = Written()
    log = DriveLog(out, SERIAL, verbose=verbose)
    log.add(
        BlobResult(
            blob=TIDE,
            status=BlobStatus.COMPLETED,
            disposition=DispositionStatus.CREATED,
            parts=PartStatus.COMPLETED,
            metadata=SideStatus.COMPLETED,
        )
    )
    log.add(
        BlobResult(
            blob=BOOT,
            status=BlobStatus.COMPLETED_WITH_ERRORS,
            disposition=DispositionStatus.OVERWRITTEN,
            parts=[PartStatus.CORRUPTED],
        )
    )
    log.finish(DriveStatus.COMPLETED_WITH_ERRORS)
    return bytes(out)


def log_vectors() -> Iterator[tuple[str, bytes]]:
    """Yield both logs."""
    yield "log-verbose.xml", example_log(verbose=True)
    yield "log-error.xml", example_log(verbose=False)


def drive_xml_vectors() -> Iterator[tuple[str, bytes]]:
    """Yield the worked example, tolerated variants, and one manifest for each broken rule."""
    good = worked_example()
    yield "good-worked-example.xml", good
    yield "good-older.xml", _older(good)
    for check, (old, new) in DAMAGES.items():
        damaged = good.replace(old, new, 1)
        assert damaged != good, check
        yield f"bad-{check}.xml", damaged
    yield (
        "bad-there-is-no-driveid-before-the-blobs.xml",
        _without(good, b"<DriveId>", b"</DriveId>"),
    )


def _older(good: bytes) -> bytes:
    """Return a variant with a byte order mark, lower-case hashes, blanks, and no disposition."""
    older = good.replace(b'Hash="15C4', b'Hash=" 15c4').replace(b"2014-11-01", b"2011-10-01")
    older = older.replace(b"<ImportDisposition>rename</ImportDisposition>", b"<!-- none -->")
    return b"\xef\xbb\xbf" + older


def _without(good: bytes, start: bytes, end: bytes) -> bytes:
    return good[: good.index(start)] + good[good.index(end) + len(end) :]


_RANGE = b'<PageRange Offset="0" Length="1024"'
_LIST_END = b"</PageRangeList>"
DAMAGES = {
    "it-is-not-well-formed-xml": (b"</DriveManifest>", b""),
    "document-types-and-entities-are-not-allowed": (
        b"<DriveManifest ",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<DriveManifest ',
    ),
    "processing-instructions-are-not-allowed": (b"<Drive>", b"<?php x?><Drive>"),
    "its-version-is-unknown": (b"2014-11-01", b"2099-11-01"),
    "an-element-is-not-allowed-in-blob": (b"<Length>4096</Length>", b"<Size>4096</Size>"),
    "an-element-is-not-allowed-in-the-document": (b"<DriveManifest ", b"<Drive/><DriveManifest "),
    "driveid-is-there-twice": (b"<DriveId>", b"<DriveId>1</DriveId><DriveId>"),
    "an-attribute-of-block-is-unknown": (b"<Block Offset", b'<Block Colour="red" Offset'),
    "text-stands-in-drive": (b"<Drive>", b"<Drive>hello"),
    "a-text-is-too-long": (b"sig=EXAMPLE", b"sig=" + b"A" * 9000),
    "a-tag-is-too-long": (b'Id="session-1-0"', b'Id="' + b"s" * 400_000 + b'"'),
    "an-id-is-too-long": (b'Id="session-1-0"', b'Id="' + b"s" * 400 + b'"'),
    "a-number-is-not-allowed": (b'Offset="0" Length="6000"', b'Offset="-1" Length="6000"'),
    "a-hash-is-not-an-md5-in-hexadecimal-digits": (b"15C4711E", b"15C4711X"),
    "a-disposition-is-unknown": (b">overwrite<", b">Overwrite<"),
    "a-blob-has-no-filepath": (b"<FilePath>\\disks\\boot.img</FilePath>", b""),
    "a-part-has-no-offset-length-or-hash": (b'<Block Offset="0"', b"<Block"),
    "a-file-path-is-not-allowed": (b"\\disks\\boot.img", b"\\..\\boot.img"),
    "a-blob-path-is-not-allowed": (b">harbour/boot.img<", b">harbour/../boot.img<"),
    "a-blob-s-length-is-not-allowed": (b">10000<", b">99999999999999<"),
    "a-blob-needs-either-page-ranges-or-blocks": (_LIST_END, _LIST_END + b"<BlockList/>"),
    "a-page-blob-s-length-is-not-a-multiple-of-512": (b">4096<", b">4095<"),
    "a-page-range-is-not-aligned-to-512-bytes": (_RANGE, _RANGE.replace(b"1024", b"1000")),
    "a-page-range-s-length-is-not-allowed": (_RANGE, _RANGE.replace(b"1024", b"0")),
    "page-ranges-overlap-or-leave-the-file": (_RANGE, _RANGE.replace(b"1024", b"8192")),
    "a-block-s-length-is-not-allowed": (b'Length="6000"', b'Length="0"'),
    "blocks-overlap-or-leave-a-gap": (b'"6000" Length="4000"', b'"5000" Length="4000"'),
    "blocks-do-not-cover-the-file": (b'Length="4000"', b'Length="3999"'),
    "block-ids-are-neither-all-present-nor-all-absent": (b' Id="AQAAAA=="', b""),
}


def keyring_vectors(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a good keyring, and one for each way to be damaged."""
    yield "good.keyring", good
    yield "bad-the-keyring-is-too-long.keyring", good + b" " * 70_000
    yield "bad-the-keyring-is-not-in-canonical-form.keyring", good + b"\n"
    swaps = {
        "not-a-keyring-of-format-1": (b'"format":1', b'"format":2'),
        "the-repository-id-is-not-a-canonical-uuid": (b'"repository_id":"0', b'"repository_id":"-'),
        "argon2id-belongs-to-passphrase-slots-and-only-there": (
            b'"kind":"passphrase"',
            b'"kind":"recovery-kit"',
        ),
        "its-mac-does-not-hold": (b'"signing_salt":"', b'"signing_salt":"'),
    }
    for check, (old, new) in swaps.items():
        damaged = good.replace(old, new, 1)
        if check == "its-mac-does-not-hold":
            at = good.index(old) + len(old)
            damaged = good[:at] + (b"0" if good[at : at + 1] != b"0" else b"1") + good[at + 1 :]
        assert damaged != good, check
        yield f"bad-{check}.keyring", damaged
