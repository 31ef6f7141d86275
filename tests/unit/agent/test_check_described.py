"""What index files say of packs is one thing for each pack, to its last field."""

from typing import Literal

import numpy as np
import pytest
from tests.support import format_samples

from overland.agent.check.described import DescribedPacks, fingerprint
from overland.crypto.keys import Purpose
from overland.format.index import IndexTables, PackDirectory
from overland.format.pack import Directory
from overland.sealing.indexfile import open_tables, seal_index
from overland.values import PackId


def sample() -> PackDirectory:
    document, master, _ = format_samples.keys()
    del document
    data, directory = format_samples.sample_pack(master)
    return PackDirectory(pack_id=PackId("0" * 64), pack_bytes=len(data), directory=directory)


def tables(described: PackDirectory) -> IndexTables:
    document, master, _ = format_samples.keys()
    keys = master.subkeys(Purpose.INDEX)
    sealed = seal_index(keys, [described], repository_id=document.repository_id, salt=bytes(32))
    return open_tables(keys, sealed, repository_id=document.repository_id, name="index")


@pytest.mark.parametrize("part", ["segments", "chunks"])
def test_a_directory_that_differs_in_any_field_of_any_row_has_another_fingerprint(
    part: Literal["segments", "chunks"],
) -> None:
    directory = sample().directory
    seen = {fingerprint(directory)}
    rows = getattr(directory, part)
    count = 1
    for row in range(len(rows)):
        for field in rows.dtype.names:
            changed = rows.copy()
            raw = changed[row : row + 1][field].copy().view(np.uint8).reshape(-1)
            raw[0] ^= 1
            changed[row : row + 1][field] = raw.view(changed[field].dtype).reshape(
                changed[row : row + 1][field].shape
            )
            parts = {"segments": directory.segments, "chunks": directory.chunks} | {part: changed}
            seen.add(fingerprint(Directory(**parts)))
            count += 1
    assert len(seen) == count


@pytest.mark.parametrize("first", ["true", "wrong"])
def test_what_two_files_contradict_each_other_about_is_no_packs_directory(first: str) -> None:
    """Else the file that lies would be found only where it happens to be read first."""
    true = sample()
    chunks = true.directory.chunks.copy()
    chunks["id"][0] = np.frombuffer(bytes(32), chunks["id"].dtype)[0]
    wrong = PackDirectory(
        pack_id=true.pack_id,
        pack_bytes=true.pack_bytes,
        directory=Directory(segments=true.directory.segments, chunks=chunks),
    )
    described = DescribedPacks()
    for each in (true, wrong) if first == "true" else (wrong, true):
        described.add(tables(each))
    known = {fingerprint(true.directory), fingerprint(wrong.directory)}
    expected = described.expected(true.pack_id)
    assert expected is not None
    assert expected not in known
