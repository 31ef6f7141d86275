"""A check with keys proves a pack's name by seals, and finds all that its SHA-256 would find."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support import format_samples
from tests.support.backed_up import PASSPHRASE, BackedUp, sample_keyring
from tests.support.checking import check_by_processes
from tests.support.resealed import resealed
from tests.support.simdisk import SimDisk
from tests.support.torture import fast_folder

from overland.adapters.folderobjects import FolderObjects
from overland.agent.check.content import check_pack_content
from overland.agent.check.described import DescribedPacks, fingerprint
from overland.agent.check.findings import CheckReport
from overland.agent.check.run import check
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.indexes import read_index_tables
from overland.agent.points.reading import ReadKeys, open_keys
from overland.agent.sources import LayeredObjects
from overland.crypto.keys import Purpose
from overland.errors import IntegrityError
from overland.format import pack
from overland.format.index import PackDirectory
from overland.ports.progress import NullProgress
from overland.sealing.indexfile import seal_index
from overland.values import ObjectInfo, PackId, pack_name

NOBODYS = PackId("0" * 64)
"""The SHA-256 of no pack here: what is found under this name, seals alone have found."""


class Held:
    """One small pack under a name that is not its digest, and what an index file says of it."""

    def __init__(self) -> None:
        document, master, _ = format_samples.keys()
        self.keys = ReadKeys.of(document, master)
        self.data, self.directory = format_samples.sample_pack(master)
        self.said = fingerprint(self.directory)
        self._disk = SimDisk()
        self._objects = FolderObjects(self._disk)
        self._store = ChunkStore(LayeredObjects([("disk", self._objects)]), self.keys)

    def check(self, data: bytes, *, digests: bool = False) -> int:
        name = pack_name(NOBODYS)
        self._disk.write(name, data)
        info = ObjectInfo(name=name, size_bytes=len(data))
        return check_pack_content(
            self._objects, info, self._store, expected=self.said, digests=digests
        ).chunks


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


def test_each_flipped_bit_of_a_pack_is_found_without_its_digest(held: Held) -> None:
    assert held.check(held.data) == len(held.directory.chunks), "seals alone prove it"
    assert {int(codec) for codec in held.directory.segments["codec"]} == {0, 1}
    unnoticed = []
    for bit in range(8 * len(held.data)):
        damaged = bytearray(held.data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            held.check(bytes(damaged))
        except IntegrityError:
            continue
        unnoticed.append(bit)
    assert not unnoticed


def test_each_length_but_its_own_is_found_without_its_digest(held: Held) -> None:
    longer = held.data + held.data + bytes(2048)
    for length in range(len(longer)):
        if length != len(held.data):
            with pytest.raises(IntegrityError):
                held.check(longer[:length])


def test_bytes_put_between_or_taken_out_are_found_without_its_digest(held: Held) -> None:
    for at in range(0, len(held.data) + 1, 8):
        with pytest.raises(IntegrityError):
            held.check(held.data[:at] + bytes(pack.ALIGNMENT) + held.data[at:])
        with pytest.raises(IntegrityError):
            held.check(held.data[:at] + held.data[at + pack.ALIGNMENT :] + bytes(pack.ALIGNMENT))


def test_another_genuine_pack_under_the_name_is_found(held: Held) -> None:
    _, master, _ = format_samples.keys()
    directory, packed = format_samples.segments_and_chunks(format_samples.PLAIN[:1], master)
    counts = (len(directory.segments), len(directory.chunks))
    plain = pack.encode_directory(directory)
    other = format_samples.seal_pack(master, packed, plain, counts=counts)
    with pytest.raises(IntegrityError, match="SHA-256"):
        held.check(other)


def test_the_same_chunks_at_the_same_places_pass_unless_digests_are_asked_for(held: Held) -> None:
    _, master, _ = format_samples.keys()
    twin = resealed(held.data, master.subkey(Purpose.SEGMENT), salt=bytes(32))
    assert twin != held.data
    assert held.check(twin) == len(held.directory.chunks), "it gives the same bytes"
    with pytest.raises(IntegrityError, match="SHA-256"):
        held.check(twin, digests=True)


# -- in a whole repository ----------------------------------------------------------------------


@pytest.fixture(params=["threads", "processes"])
def backed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    if request.param == "processes":
        check_by_processes(monkeypatch)
    with fast_folder() as folder:
        world = BackedUp(folder, pack_bytes=64 << 10)
        world.source.mkdir()
        random = np.random.default_rng(1)
        for number in range(8):
            (world.source / f"{number}").write_bytes(random.bytes(40_000))
        world.back_up()
        yield world


def checked(backed: BackedUp, *, digests: bool = False) -> CheckReport:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    return check(backed.place(0), progress=NullProgress(), keys=keys, digests=digests)


def corrupt(report: CheckReport) -> set[str]:
    return {finding.name for finding in report.findings if finding.kind == "corrupt"}


def name_in(backed: BackedUp, path: Path) -> str:
    return str(path.relative_to(backed.folder()))


@pytest.mark.parametrize("digests", [False, True], ids=["by-seals", "with-digests"])
@pytest.mark.parametrize("with_index", [False, True], ids=["no-index", "index"])
def test_a_pack_under_anothers_name_is_found(
    backed: BackedUp, *, with_index: bool, digests: bool
) -> None:
    victim, other = backed.packs()[:2]
    victim.write_bytes(other.read_bytes())
    if not with_index:
        for index in backed.folder().glob("index/*"):
            index.unlink()
    report = checked(backed, digests=digests)
    assert corrupt(report) == {name_in(backed, victim)}
    assert not any(report.restorable.values())


def test_an_index_file_that_says_something_else_of_a_whole_pack_is_named(
    backed: BackedUp,
) -> None:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    [genuine] = backed.folder().glob("index/*")
    first, second, *_ = read_index_tables(
        backed.objects(), keys, name_in(backed, genuine)
    ).directories()
    wrong = sealed_index(
        PackDirectory(
            pack_id=first.pack_id, pack_bytes=second.pack_bytes, directory=second.directory
        )
    )
    path = backed.folder() / "index" / f"{hashlib.sha256(wrong).hexdigest()}.index"
    path.write_bytes(wrong)
    for name in ([genuine.name, path.name], [path.name]):
        report = checked(backed)
        assert corrupt(report) == {name_in(backed, path)}, name
        assert report.restorable == {backed.results[0].point_id: True}
        genuine.unlink(missing_ok=True)


def test_of_two_packs_with_one_directory_each_is_compared_with_its_name(backed: BackedUp) -> None:
    _, master, _ = sample_keyring()
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    victim = max(backed.packs(), key=lambda path: path.stat().st_size)
    [index] = backed.folder().glob("index/*")
    described = {
        each.pack_id: each
        for each in read_index_tables(backed.objects(), keys, name_in(backed, index)).directories()
    }
    data = resealed(victim.read_bytes(), master.subkey(Purpose.SEGMENT), salt=bytes(32))
    twin = PackId(hashlib.sha256(data).hexdigest())
    once_more = sealed_index(
        PackDirectory(
            pack_id=twin,
            pack_bytes=len(data),
            directory=described[PackId(victim.stem)].directory,
        )
    )
    (backed.folder() / "index" / f"{hashlib.sha256(once_more).hexdigest()}.index").write_bytes(
        once_more
    )
    path = backed.folder() / pack_name(twin)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    assert checked(backed).is_whole
    victim.write_bytes(data)
    assert corrupt(checked(backed)) == {name_in(backed, victim)}


def sealed_index(described: PackDirectory) -> bytes:
    document, master, _ = sample_keyring()
    return seal_index(
        master.subkeys(Purpose.INDEX),
        [described],
        repository_id=document.repository_id,
        salt=bytes(32),
    )


def test_packs_with_one_directory_prove_nobodys_name(backed: BackedUp) -> None:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    [path] = backed.folder().glob("index/*")
    tables = read_index_tables(backed.objects(), keys, name_in(backed, path))
    described = DescribedPacks()
    described.add(tables)
    described.add(tables)
    ids = tables.pack_ids()
    assert not any(map(described.has_twin, ids)), "twice the same pack is no twin"
    tables.packs["id"][0] ^= 1
    described.add(tables)
    assert described.has_twin(ids[0])
    assert described.has_twin(tables.pack_ids()[0])
    assert not described.has_twin(ids[1])
    assert not described.has_twin(NOBODYS)
