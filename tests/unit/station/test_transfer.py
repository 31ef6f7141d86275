"""One object's pass: parts of any size and place are checked, and nothing wrong is sent whole."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.docked import ITEM_PATH as NAME
from tests.support.docked import an_item
from tests.support.faulty import FaultyFiles
from tests.support.simdisk import SimDisk
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.errors import ObjectCorrupt, Unreachable
from overland.format.copy_log import BlobStatus, PartStatus
from overland.ports.objects import FileContent
from overland.ports.progress import NullProgress
from overland.station.driveimport import batches
from overland.station.items import pack_blob, unpack_blob
from overland.station.transfer import Transfer, UploadChanged, examine


@st.composite
def objects_with_parts(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    content = draw(st.binary(min_size=1, max_size=300))
    cuts = sorted(draw(st.sets(st.integers(0, len(content)), max_size=8)))
    spans = [(a, b - a) for a, b in itertools.pairwise(cuts)]
    kept = draw(st.lists(st.booleans(), min_size=len(spans), max_size=len(spans)))
    return content, [span for span, keep in zip(spans, kept, strict=True) if keep]


class TornFiles(FaultyFiles):
    """Reads in blocks of another size than is asked for."""

    block_bytes = 7

    @override
    def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
        return super().blocks(name, block_bytes=self.block_bytes)


@given(case=objects_with_parts(), block_bytes=st.integers(1, 64))
def test_a_good_object_lands_however_it_is_cut(
    case: tuple[bytes, list[tuple[int, int]]], block_bytes: int
) -> None:
    content, parts = case
    disk, store = SimDisk(), SimDisk()
    disk.write(NAME, content)
    medium = TornFiles(disk)
    medium.block_bytes = block_bytes

    transfer = Transfer(NullProgress())
    verdict = transfer.move(
        an_item(content, parts), medium=medium, name=NAME, container=FolderObjects(store)
    )

    assert verdict.landed
    assert store.read("packs/a.pack") == content


@given(case=objects_with_parts(), position=st.integers(0, 299), block_bytes=st.integers(1, 64))
def test_a_flipped_bit_never_lands_and_the_fast_way_agrees_with_the_slow_one(
    case: tuple[bytes, list[tuple[int, int]]], position: int, block_bytes: int
) -> None:
    content, parts = case
    position %= len(content)
    disk, store = SimDisk(), SimDisk()
    disk.write(NAME, content)
    disk.damage(NAME, offset=position)
    medium = TornFiles(disk)
    medium.block_bytes = block_bytes
    item = an_item(content, parts)

    transfer = Transfer(NullProgress())
    verdict = transfer.move(item, medium=medium, name=NAME, container=FolderObjects(store))

    assert not verdict.landed
    assert list(store.names()) == []
    hit = any(start <= position < start + size for start, size in parts)
    if hit:
        assert verdict.parts == examine(item, medium=medium, name=NAME)
        assert list(verdict.parts).count(PartStatus.CORRUPTED) == 1
    else:
        assert verdict.status is BlobStatus.FAILED, "its parts are good, the whole is not"


def test_bytes_after_the_end_of_an_object_are_not_sent() -> None:
    disk, store = SimDisk(), SimDisk()
    disk.write(NAME, b"object" + b"more")
    item = an_item(b"object", [(0, 6)])

    transfer = Transfer(NullProgress())
    verdict = transfer.move(item, medium=disk, name=NAME, container=FolderObjects(store))

    assert verdict.landed
    assert store.read("packs/a.pack") == b"object"


class _Store(FolderObjects):
    """A store that fails as it is told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__(SimDisk())
        self._error = error

    @override
    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        for _ in content:
            pass
        raise self._error


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Unreachable("no answer"), Unreachable),
        (ObjectCorrupt("x", check="SHA-256 differs"), UploadChanged),
        (OSError(5, "the store's own"), OSError),
    ],
)
def test_a_fault_of_the_store_is_not_held_against_the_drive(
    fault: Exception, expected: type[Exception]
) -> None:
    disk = SimDisk()
    disk.write(NAME, b"object")

    item = an_item(b"object", [(0, 6)])
    transfer = Transfer(NullProgress())
    with pytest.raises(expected):
        transfer.move(item, medium=disk, name=NAME, container=_Store(fault))


class _Meter(NullProgress):
    def __init__(self) -> None:
        self.bytes = self.count = 0

    @override
    def advance(self, bytes: int = 0, count: int = 0) -> None:
        self.bytes += bytes
        self.count += count


def test_progress_counts_a_second_reading_once() -> None:
    disk, meter = SimDisk(), _Meter()
    disk.write(NAME, bytes(1000))
    faults = FaultyFiles(disk)
    faults.flipped[NAME] = {900}

    def heal(operation: str, _name: str) -> None:
        if operation == "read_range":
            faults.flipped.clear()

    faults._on_call = heal
    transfer = Transfer(meter)
    item = an_item(bytes(1000), [(0, 512), (512, 488)])
    transfer.move(item, medium=faults, name=NAME, container=FolderObjects(SimDisk()))

    assert (meter.bytes, meter.count) == (1000, 1)


@given(case=objects_with_parts())
def test_a_packed_blob_unpacks_to_the_same(case: tuple[bytes, list[tuple[int, int]]]) -> None:
    content, parts = case
    blob = an_item(content, parts).blob

    assert unpack_blob(pack_blob(blob), size_bytes=len(content)) == blob


@given(sizes=st.lists(st.integers(1, 1 << 30), max_size=2000))
def test_batches_cover_every_object_once_and_stay_bounded(sizes: list[int]) -> None:
    found = list(batches(sizes))

    covered = [number for first, last in found for number in range(first, last + 1)]
    assert covered == list(range(len(sizes)))
    for first, last in found:
        assert last - first < 500
        assert first == last or sum(sizes[first : last + 1]) <= 8 << 30


class _StoreOfPairs(FolderObjects):
    """A store that makes an object durable only when it holds the content of another, too."""

    def __init__(self, files: SimDisk) -> None:
        super().__init__(files)
        self.both = threading.Barrier(2, timeout=120)

    @override
    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        received = [bytes(block) for block in content]
        self.both.wait()
        super().put(name, received, size_bytes=size_bytes, sha256=sha256)


def test_the_next_object_is_read_while_the_store_finishes_one_and_never_two_at_once() -> None:
    events = list[str]()
    disk, store = SimDisk(), SimDisk()
    contents = {f"seed-x/packs/{letter}.pack": letter.encode() * 64 for letter in "ab"}
    for name, content in contents.items():
        disk.write(name, content)

    class Medium(FaultyFiles):
        @override
        def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
            for block in super().blocks(name, block_bytes=7):
                events.append(name)
                yield block

    medium, container, turn = Medium(disk), _StoreOfPairs(store), threading.Lock()
    items = [
        replace(an_item(content, []), name=name.removeprefix("seed-x/"))
        for name, content in contents.items()
    ]
    transfer = Transfer(NullProgress())
    with ThreadPoolExecutor(2) as pool:
        moves = [
            pool.submit(
                transfer.move, item, medium=medium, name=name, container=container, turn=turn
            )
            for item, name in zip(items, contents, strict=True)
        ]
        assert all(move.result().landed for move in moves)

    assert [name for name, _ in itertools.groupby(events)] in (
        list(contents),
        list(reversed(contents)),
    ), "the medium was read in one stream, object by object"
    assert not turn.locked()


def test_the_turn_is_over_when_the_last_block_was_read_and_not_when_it_was_sent() -> None:
    disk, turn, held = SimDisk(), threading.Lock(), list[bool]()
    disk.write(NAME, b"o" * 21)

    class Medium(FaultyFiles):
        @override
        def blocks(self, name: str, *, block_bytes: int = 4 << 20) -> Iterator[memoryview]:
            return super().blocks(name, block_bytes=7)

    class Store(FolderObjects):
        @override
        def put(
            self,
            name: str,
            content: Iterable[bytes | memoryview],
            *,
            size_bytes: int,
            sha256: str,
        ) -> None:
            held.extend(turn.locked() for _ in content)

    item = an_item(b"o" * 21, [])
    verdict = Transfer(NullProgress()).move(
        item, medium=Medium(disk), name=NAME, container=Store(SimDisk()), turn=turn
    )
    assert verdict.landed
    assert held == [True, True, False]


def test_a_failing_store_gives_the_turn_back() -> None:
    disk, turn = SimDisk(), threading.Lock()
    disk.write(NAME, b"object")
    transfer = Transfer(NullProgress())
    with pytest.raises(Unreachable):
        transfer.move(
            an_item(b"object", []),
            medium=disk,
            name=NAME,
            container=_Store(Unreachable("no answer")),
            turn=turn,
        )
    assert not turn.locked()


class _OnDevice(FaultyFiles):
    """Files of this computer, which can be opened, or fail to be."""

    is_failing = False

    def __init__(self, root: Path) -> None:
        super().__init__(PosixFiles(root))
        self._root = PosixFiles(root)
        self.opened_names = list[str]()

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        if self.is_failing:
            raise OSError(5, "the drive's own")
        self.opened_names.append(name)
        with self._root.opened(name) as descriptor:
            yield descriptor


class _StoreHere(FolderObjects):
    """A store on the station's computer: it is handed files, and reads them itself."""

    def __init__(self, *, before_durable: Callable[[], object] = lambda: None) -> None:
        self.disk = SimDisk()
        super().__init__(self.disk)
        self._before_durable = before_durable

    @override
    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        assert isinstance(content, FileContent)
        with content.opened() as descriptor:
            data = os.pread(descriptor, size_bytes, 0)
        content.was_read(-(-size_bytes // (4 << 20)))
        content.reading_ended()
        self._before_durable()
        super().put(name, [data], size_bytes=size_bytes, sha256=sha256)


def test_a_file_that_the_store_reads_itself_lands_and_is_counted_once(tmp_path: Path) -> None:
    meter, store, turn = _Meter(), _StoreHere(), threading.Lock()
    medium = _OnDevice(tmp_path)
    medium.write(NAME, b"object" + b"more")

    verdict = Transfer(meter).move(
        an_item(b"object", [(0, 6)]), medium=medium, name=NAME, container=store, turn=turn
    )

    assert verdict.landed
    assert store.disk.read("packs/a.pack") == b"object"
    assert (meter.bytes, meter.count) == (6, 1)
    assert not turn.locked()


def test_what_is_wrong_with_a_file_that_the_store_read_is_found_part_by_part(
    tmp_path: Path,
) -> None:
    meter, store, medium = _Meter(), _StoreHere(), _OnDevice(tmp_path)
    medium.write(NAME, bytes(512) + b"x" + bytes(487))
    item = an_item(bytes(1000), [(0, 512), (512, 488)])

    verdict = Transfer(meter).move(item, medium=medium, name=NAME, container=store)

    assert list(verdict.parts) == [PartStatus.COMPLETED, PartStatus.CORRUPTED]
    assert list(store.disk.names()) == []
    assert meter.bytes == 0


def test_a_file_that_cannot_be_opened_for_the_store_is_the_drives_fault(tmp_path: Path) -> None:
    store, medium, turn = _StoreHere(), _OnDevice(tmp_path), threading.Lock()
    medium.write(NAME, b"object")
    medium.is_failing = True
    medium.flipped[NAME] = {0}

    verdict = Transfer(NullProgress()).move(
        an_item(b"object", [(0, 6)]), medium=medium, name=NAME, container=store, turn=turn
    )

    assert verdict.status is BlobStatus.COMPLETED_WITH_ERRORS
    assert list(store.disk.names()) == []
    assert not turn.locked()


def test_the_next_file_is_opened_when_the_store_has_read_the_one_before(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=120)  # neither is durable before both were read
    store, medium = _StoreHere(before_durable=both.wait), _OnDevice(tmp_path)
    turn = threading.Lock()
    names = ["seed-x/packs/a.pack", "seed-x/packs/b.pack"]
    for name in names:
        medium.write(name, name.encode())
    items = [replace(an_item(n.encode(), []), name=n.removeprefix("seed-x/")) for n in names]
    transfer = Transfer(NullProgress())
    with ThreadPoolExecutor(2) as pool:
        moves = [
            pool.submit(transfer.move, item, medium=medium, name=name, container=store, turn=turn)
            for item, name in zip(items, names, strict=True)
        ]
        assert all(move.result().landed for move in moves)
    assert sorted(medium.opened_names) == names
    assert not turn.locked()
