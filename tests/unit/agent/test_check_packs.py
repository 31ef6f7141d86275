"""Packs are proven by processes as by threads, and each is read as the medium has it."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from tests.support import format_samples
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.checking import check_by_processes
from tests.support.simdisk import SimDisk
from tests.support.torture import fast_folder
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.check import packs, run
from overland.agent.check.content import PackProof, check_pack_content
from overland.agent.check.described import fingerprint
from overland.agent.check.places import PlacesReport, check_places
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, open_keys
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.errors import IntegrityError
from overland.format.pack import Directory
from overland.ports.progress import NullProgress
from overland.values import ObjectInfo, PackId, pack_name


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder, pack_bytes=1 << 18)
        (world.source / "folder").mkdir(parents=True)
        for number in range(40):
            content = os.urandom(15_000) + bytes([number]) * 20_000
            (world.source / "folder" / f"{number}").write_bytes(content)
        world.back_up()
        (world.source / "folder" / "new").write_bytes(b"new")
        world.back_up()
        assert len(world.packs()) > 2
        yield world


def checked(backed: BackedUp) -> PlacesReport:
    layers = [(str(number), backed.place(number)) for number in range(2)]
    keys = open_keys(LayeredObjects(layers), passphrase=PASSPHRASE)
    return check_places(layers, progress=NullProgress(), keys=keys, signatures=None)


class Places:
    """In which processes packs were proven, told through a pipe that they share."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
        self.here = os.getpid()
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)

        def noted(*arguments: object, **named: object) -> PackProof:
            os.write(write, os.getpid().to_bytes(4, "little"))
            if os.getpid() != self.here:
                act()
            return check_pack_content(*arguments, **named)  # type: ignore[arg-type] # as it was called

        monkeypatch.setattr(run, "check_pack_content", noted)

    def all(self) -> list[int]:
        told = os.read(self._read, 1 << 16)
        return [int.from_bytes(told[at : at + 4], "little") for at in range(0, len(told), 4)]


def test_processes_prove_each_pack_once_and_the_report_is_that_of_threads(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_threads = checked(backed)
    check_by_processes(monkeypatch)
    places = Places(monkeypatch, lambda: None)
    assert checked(backed) == by_threads
    assert by_threads.is_whole
    where = places.all()
    assert places.here not in where
    assert len(where) == len(backed.packs(0)) + len(backed.packs(1))


def test_damage_is_reported_as_by_threads(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in [backed.packs(0)[0], backed.packs(1)[0]]:
        content = path.read_bytes()
        for at in (3, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            by_threads = checked(backed)
            with monkeypatch.context() as patch:
                check_by_processes(patch)
                assert checked(backed) == by_threads
            assert not by_threads.is_whole
        path.write_bytes(content)


@pytest.mark.parametrize("folder", ["index", "points", "keys"])
def test_damage_beside_the_packs_is_reported_as_by_threads(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    [path] = (backed.folder(1) / folder).iterdir()
    content = path.read_bytes()
    for changed in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], b""):
        path.write_bytes(changed)
        by_threads = checked(backed)
        with monkeypatch.context() as patch:
            check_by_processes(patch)
            assert checked(backed) == by_threads
        assert not by_threads.is_whole


def test_a_system_that_allows_no_process_changes_nothing(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    (backed.folder(0) / "points").joinpath("strange").write_bytes(b"")
    by_threads = checked(backed)
    check_by_processes(monkeypatch)
    monkeypatch.setattr(os, "fork", refused)
    places = Places(monkeypatch, lambda: None)
    assert checked(backed) == by_threads
    assert set(places.all()) == {places.here}


def test_what_a_killed_process_leaves_is_proven_all_the_same(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_threads = checked(backed)
    check_by_processes(monkeypatch)
    places = Places(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert checked(backed) == by_threads
    assert places.here in places.all()


def test_an_error_of_the_device_ends_the_check_and_its_processes(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    check_by_processes(monkeypatch)
    places = Places(monkeypatch, fail)
    with pytest.raises(OSError, match="Input/output error"):
        checked(backed)
    proved_in = set(places.all())
    assert proved_in
    for each in proved_in:
        with pytest.raises(ChildProcessError):  # it has ended, and was waited for
            os.waitpid(each, os.WNOHANG)


def test_connections_are_not_shared_with_processes(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_by_processes(monkeypatch)
    monkeypatch.setattr(SeedFolderObjects, "is_local", False)
    places = Places(monkeypatch, lambda: None)
    assert checked(backed).is_whole
    assert set(places.all()) == {places.here}


def test_a_few_small_packs_are_proven_here(backed: BackedUp) -> None:
    infos = list(backed.place(0).names("packs/"))
    assert not packs.is_worth_processes(backed.place(0), infos)


class Medium(FolderObjects):
    """Gives in blocks what is on the medium, and by ranges what was cached of it before."""

    def __init__(self, disk: SimDisk, *, on_medium: bytes, block_bytes: int) -> None:
        super().__init__(disk)
        self._on_medium, self._block_bytes = on_medium, block_bytes

    @override
    def blocks(self, name: str) -> Iterator[memoryview]:
        reused = bytearray(self._block_bytes)
        for at in range(0, len(self._on_medium), self._block_bytes):
            block = self._on_medium[at : at + self._block_bytes]
            reused[: len(block)] = block
            yield memoryview(reused)[: len(block)]
            yield memoryview(b"")
            reused[:] = bytes(len(reused))


@cache
def sample() -> tuple[bytes, Directory, ReadKeys]:
    document, master, _ = format_samples.keys()
    return *format_samples.sample_pack(master), ReadKeys.of(document, master)


def proven(on_medium: bytes, *, block_bytes: int = 1 << 20, digests: bool = False) -> int:
    data, directory, keys = sample()
    name = pack_name(PackId(hashlib.sha256(data).hexdigest()))
    disk = SimDisk()
    disk.write(name, data)
    objects = Medium(disk, on_medium=on_medium, block_bytes=block_bytes)
    store = ChunkStore(LayeredObjects([("disk", objects)]), keys)
    info = ObjectInfo(name=name, size_bytes=len(data))
    return check_pack_content(
        objects, info, store, expected=fingerprint(directory), digests=digests
    ).chunks


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 7, 60, 4096])
def test_blocks_may_end_anywhere(block_bytes: int, *, digests: bool) -> None:
    data, directory, _ = sample()
    found = proven(data, block_bytes=block_bytes, digests=digests)
    assert found == len(directory.chunks)


def test_what_differs_on_the_medium_from_what_was_cached_is_found() -> None:
    data, _, _ = sample()
    others = [data + b"x", data[:-1], b""]
    others += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for other in others:
        with pytest.raises(IntegrityError):
            proven(other)
