from dataclasses import replace

import pytest
from tests.support.format_texts import BOOT, TIDE, Written, example_log

from overland.format.copy_log import (
    BlobResult,
    BlobStatus,
    DispositionStatus,
    DriveLog,
    DriveStatus,
    PartStatus,
    drive_status,
)

GOOD = BlobResult(
    blob=TIDE,
    status=BlobStatus.COMPLETED,
    disposition=DispositionStatus.CREATED,
    parts=PartStatus.COMPLETED,
)


def test_the_verbose_log_is_the_documented_example() -> None:
    log = example_log(verbose=True).decode()
    assert '<Block Offset="0" Length="6000" Id="AAAAAA==" Hash="15C4711E00F6' in log
    assert '<Metadata Status="Completed"><GlobalPath Hash="5A09CC585D5968CD' in log
    assert log.count("<Blob ") == 2


def test_the_error_log_keeps_only_what_failed() -> None:
    log = example_log(verbose=False).decode()
    assert "tide.bin" not in log
    assert log.count('Status="Corrupted"') == 1
    assert log.endswith("  <Status>CompletedWithErrors</Status>\n</DriveLog>\n")


def test_a_missing_file_is_logged_as_documented() -> None:
    out = Written()
    log = DriveLog(out, "S", verbose=False)
    missing = BlobResult(
        blob=TIDE,
        status=BlobStatus.FILE_NOT_FOUND,
        disposition=DispositionStatus.CANCELLED,
        parts=PartStatus.CANCELLED,
    )
    log.add(missing)
    log.finish(drive_status([missing]))
    assert out.decode().count('Status="Cancelled"') == 3
    assert "<Status>CompletedWithErrors</Status>" in out.decode()


@pytest.mark.parametrize(
    ("disposition", "status"),
    [
        (DispositionStatus.CREATED, DriveStatus.COMPLETED),
        (DispositionStatus.OVERWRITTEN, DriveStatus.COMPLETED_WITH_WARNINGS),
        (DispositionStatus.RENAMED, DriveStatus.COMPLETED_WITH_WARNINGS),
        (DispositionStatus.SKIPPED, DriveStatus.COMPLETED_WITH_WARNINGS),
    ],
)
def test_dispositions_make_warnings(disposition: DispositionStatus, status: DriveStatus) -> None:
    assert drive_status([GOOD, replace(GOOD, disposition=disposition)]) is status


def test_errors_outweigh_warnings() -> None:
    renamed = replace(GOOD, disposition=DispositionStatus.RENAMED)
    failed = replace(GOOD, blob=BOOT, status=BlobStatus.IO_FAILED)
    assert drive_status([renamed, failed]) is DriveStatus.COMPLETED_WITH_ERRORS
    assert drive_status([]) is DriveStatus.COMPLETED


def test_a_log_comes_into_being_whatever_a_name_holds() -> None:
    out = Written()
    log = DriveLog(out, "S\x00&", verbose=True)
    log.add(replace(GOOD, blob=replace(TIDE, blob_path="c/\x01<")))
    assert b"<DriveId>S\xef\xbf\xbd&amp;</DriveId>" in bytes(out)
    assert b"<BlobPath>c/\xef\xbf\xbd&lt;</BlobPath>" in bytes(out)
