"""A recovery point's roots: their paths lead where they say, and nowhere else."""

from datetime import UTC, datetime

import pytest

from overland.format.point import (
    PointCorrupt,
    PointRoot,
    Root,
    Statistics,
    decode_root,
    encode_root,
)
from overland.format.tree import Entry

INSTANT = datetime(2027, 3, 14, tzinfo=UTC)


def encoded(path: bytes) -> bytes:
    entry = Entry(
        name=b"",
        kind="folder",
        mode=0o755,
        uid=0,
        gid=0,
        user=None,
        group=None,
        mtime_ns=0,
        size_bytes=0,
    )
    return encode_root(
        PointRoot(
            roots=[Root(path, entry)],
            statistics=Statistics(),
            skipped=[],
            host="files",
            policy="docs",
            include=[],
            exclude=[],
            started_at=INSTANT,
            ended_at=INSTANT,
        )
    )


@pytest.mark.parametrize("path", [b"/", b"/srv", b"/srv/\xff\xfe", b"/srv/...", b"/a\nb"])
def test_an_absolute_path_is_read_back(path: bytes) -> None:
    assert decode_root(encoded(path), name="p").roots[0].path == path


@pytest.mark.parametrize(
    "path", [b"", b"srv", b"../srv", b"/srv/..", b"/./srv", b"//srv", b"/srv/", b"/s\0v"]
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: bytes) -> None:
    with pytest.raises(PointCorrupt, match="root's path"):
        decode_root(encoded(path), name="p")
