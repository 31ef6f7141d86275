"""Over the network: what is published leaves the spool, in order, and a kill costs little."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.support.backups import FixedClock, Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk
from typing_extensions import override

from overland.agent.backup.publisher import Published
from overland.agent.backup.run import BackupResult
from overland.agent.backup.upload import Uploader
from overland.errors import NotAuthorised, Unreachable
from overland.ports.files import Files, NewFile
from overland.values import ObjectInfo, named_digest


class Killed(BaseException):
    """The process ends here."""


class Vault:
    """Objects in memory, that checks digests, and fails as it is told."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.failures: list[BaseException] = []
        self._disk = SimDisk()
        self.read = self._disk.read
        self.read_range = self._disk.read_range
        self.names = self._disk.names

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        if self.failures:
            raise self.failures.pop(0)
        data = b"".join(bytes(block) for block in content)
        assert name not in self.order, "a vault never replaces an object"
        assert len(data) == size_bytes
        assert hashlib.sha256(data).hexdigest() == sha256
        self.order.append(name)
        self._disk.write(name, data)

    def blocks(self, name: str) -> Iterator[memoryview]:
        return self._disk.blocks(name)

    def head(self, name: str) -> ObjectInfo:
        return ObjectInfo(name=name, size_bytes=self._disk.size_bytes(name))

    def delete(self, name: str) -> None:
        self._disk.delete(name)


class World:
    def __init__(self, tmp_path: Path) -> None:
        self.source = tmp_path / "source"
        self.source.mkdir()
        self.vault, self.state = Vault(), SimDisk()
        self.spool: Files = SimDisk()

    def fill(self, count: int, *, prefix: str = "f") -> None:
        for number in range(count):
            (self.source / f"{prefix}{number:03d}").write_bytes(os.urandom(100_000))

    def send(self, number: int, *, base: int | None = None) -> BackupResult:
        plan = make_plan(
            self.source,
            number=number,
            kind="incremental" if base else "full",
            base=point_id(base) if base else None,
            seed_id=None,
            pack_bytes=1 << 20,
        )
        with Uploader(self.vault, self.spool, clock=FixedClock()) as uploader:
            uploader.resume()
            return run(
                plan,
                repository=make_repository(self.state),
                out=self.spool,
                stored=[self.vault],
                on_published=uploader.submit,
                acknowledge=uploader.drain,
            )

    def contents(self, number: int) -> dict[bytes, bytes]:
        return Tree(self.vault, make_repository(SimDisk()), point_id(number)).contents


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_everything_arrives_in_order_and_the_spool_is_empty(world: World) -> None:
    world.fill(30)
    result = world.send(1)
    assert sorted(world.vault.order) == sorted(found.name for found in result.objects)
    kinds = [name.partition("/")[0] for name in world.vault.order]
    assert kinds == sorted(kinds, key=("packs", "index", "points").index)
    assert list(world.spool.names()) == []
    assert len(world.contents(1)) == 30


class Slow(Vault):
    """A vault that takes a pack only while it takes another one, and then takes its time."""

    def __init__(self, *, refuses: str = "") -> None:
        super().__init__()
        self.two_packs = threading.Barrier(2, timeout=20)
        self.is_more_begun = threading.Event()
        self.lock = threading.Lock()
        self.refuses = refuses

    @override
    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        if name.startswith("packs/"):
            self.two_packs.wait()
        else:
            self.is_more_begun.set()
        if name == "packs/2":
            assert not self.is_more_begun.wait(0.2), "it goes on before all packs have arrived"
        if name == self.refuses:
            raise NotAuthorised("the grant is over")
        with self.lock:
            super().put(name, content, size_bytes=size_bytes, sha256=sha256)


def test_packs_travel_side_by_side_and_what_names_them_waits(world: World) -> None:
    vault = world.vault = Slow()
    sent = [_published(world.spool, name) for name in ("packs/1", "packs/2", "index/1", "points/1")]
    with Uploader(vault, world.spool, clock=FixedClock()) as uploader:
        for each in sent:
            uploader.submit(each)
        uploader.drain()
        assert sorted(vault.order[:2]) == ["packs/1", "packs/2"]
        assert vault.order[2:] == ["index/1", "points/1"]


def test_what_waits_for_a_pack_that_is_refused_is_not_sent(world: World) -> None:
    vault = world.vault = Slow(refuses="packs/2")
    sent = [_published(world.spool, name) for name in ("packs/1", "packs/2", "index/1", "points/1")]

    def carry() -> None:
        with Uploader(world.vault, world.spool, clock=FixedClock()) as uploader:
            for each in sent:
                uploader.submit(each)

    with pytest.raises(NotAuthorised):
        carry()
    assert vault.order == ["packs/1"]
    assert [info.name for info in world.spool.names()] == ["index/1", "packs/2", "points/1"]


def _published(spool: Files, name: str) -> Published:
    spool.write(name, name.encode())
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return Published(name=name, size_bytes=len(name), sha256=sha256)


def test_a_store_that_does_not_answer_is_asked_again(world: World) -> None:
    world.fill(5)
    world.vault.failures = [Unreachable("no answer"), Unreachable("no answer")]
    world.send(1)
    assert len(world.contents(1)) == 5


def test_a_refusal_ends_the_run_and_keeps_what_was_not_sent(world: World) -> None:
    world.fill(30)
    world.vault.failures = [NotAuthorised("the grant is over")]
    with pytest.raises(NotAuthorised):
        world.send(1)
    assert not any(name.startswith("points/") for name in world.vault.order)
    left = [info.name for info in world.spool.names()]
    assert left
    result = world.send(2)
    sent = set(world.vault.order)
    content = {name for name in left if not name.startswith("points/")}
    assert content <= sent, "what was finished is sent first"
    assert not (set(left) - content) & sent, "the point of the run that failed is dropped"
    assert {found.name for found in result.objects} >= {
        name for name in left if name.startswith("packs/")
    }
    assert len(world.contents(2)) == 30


def test_hints_are_saved_only_when_the_store_has_the_point(world: World) -> None:
    world.fill(3)
    world.vault.failures = [NotAuthorised("no")]
    with pytest.raises(NotAuthorised):
        world.send(1)
    names = [info.name for info in world.state.names()]
    assert not any(name.startswith(("chunks/", "changes/")) for name in names)
    assert any(name.startswith("unfinished/") for name in names)
    world.send(2)
    names = [info.name for info in world.state.names()]
    assert any(name.startswith("chunks/") for name in names)
    assert not any(name.startswith("unfinished/") for name in names)


def test_a_run_is_marked_before_its_first_pack_is_begun(world: World) -> None:
    world.fill(3)
    begun: list[bool] = []
    create = world.spool.create

    def watched() -> NewFile:
        begun.append(any(world.state.names("unfinished/")))
        return create()

    world.spool.create = watched  # type: ignore[method-assign]  # to see when a file is begun
    world.send(1)
    assert begun
    assert all(begun)


def test_a_run_that_stores_no_chunk_leaves_the_marks_alone(world: World) -> None:
    world.fill(3)
    world.send(1)
    world.send(2, base=1)  # files that were just made are not trusted to be unchanged
    before = len(world.state.trail)
    world.send(3, base=2)
    assert not [step for step in world.state.trail[before:] if "unfinished" in step]
    assert [name.partition("/")[0] for name in world.vault.order[-1:]] == ["points"]


@pytest.mark.parametrize("after", range(10))
def test_a_run_killed_after_any_upload_sends_nothing_twice(world: World, after: int) -> None:
    world.fill(5)
    world.send(1)
    world.fill(30, prefix="new")
    before = len(world.vault.order)
    with pytest.raises(Killed):
        _send_and_die(world, after=after)
    result = world.send(3, base=1)
    sent = world.vault.order[before:]
    stored = sum(info.size_bytes for info in world.vault.names("packs/") if info.name in sent)
    assert stored < 30 * 100_000 * 1.35, "at most what was not finished is stored again"
    contents = world.contents(3)
    assert len(contents) == 35
    assert all(Path(os.fsdecode(path)).read_bytes() == data for path, data in contents.items())
    named = {found.name for found in result.objects}
    for name in sent:
        if name.startswith("packs/"):
            assert name in named, "the point names all packs that it may rely upon"


def zeroed(spool: Files, name: str) -> None:
    spool.write(name, bytes(spool.size_bytes(name)))


def torn(spool: Files, name: str) -> None:
    spool.write(name, spool.read(name)[:-7])


def emptied(spool: Files, name: str) -> None:
    spool.write(name, b"")


def gone(spool: Files, name: str) -> None:
    spool.delete(name)


@pytest.mark.parametrize("kind", ["packs/", "index/", "points/"])
@pytest.mark.parametrize("damage", [zeroed, torn, emptied, gone])
def test_a_spool_that_a_power_cut_damaged_costs_time_alone(
    world: World, damage: Callable[[Files, str], None], kind: str
) -> None:
    world.fill(30)
    with pytest.raises(Killed):  # all is in the spool, the point too, and nothing was sent
        run(
            make_plan(
                world.source, number=1, kind="full", base=None, seed_id=None, pack_bytes=1 << 20
            ),
            repository=make_repository(world.state),
            out=world.spool,
            on_published=lambda _: None,
            acknowledge=_die,
        )
    damage(world.spool, next(info.name for info in world.spool.names(kind)))
    world.send(2)
    assert not any("points/" + point_id(1) in name for name in world.vault.order)
    for info in world.vault.names():
        promised = named_digest(info.name)
        assert promised in {None, hashlib.sha256(world.vault.read(info.name)).hexdigest()}
    contents = world.contents(2)
    assert len(contents) == 30
    assert all(Path(os.fsdecode(path)).read_bytes() == data for path, data in contents.items())
    assert list(world.spool.names()) == []


def test_objects_of_other_policies_in_the_vault_are_left_to_them(world: World) -> None:
    world.fill(3)
    world.send(1)
    other = make_plan(world.source, number=9, kind="full", base=None, seed_id=None, policy="other")
    with Uploader(world.vault, world.spool, clock=FixedClock()) as uploader:
        result = run(
            other,
            repository=make_repository(world.state),
            out=world.spool,
            stored=[world.vault],
            on_published=uploader.submit,
            acknowledge=uploader.drain,
        )
    assert any(found.name.startswith("packs/") for found in result.objects)


def _send_and_die(world: World, *, after: int) -> None:
    plan = make_plan(world.source, number=2, pack_bytes=1 << 20)
    count = 0

    def die(published: Published) -> None:
        nonlocal count
        if count == after:
            raise Killed
        count += 1
        _carry(world.vault, world.spool, published)

    run(
        plan,
        repository=make_repository(world.state),
        out=world.spool,
        stored=[world.vault],
        on_published=die,
        acknowledge=_die,
    )


def _die() -> None:
    raise Killed


def _carry(vault: Vault, spool: Files, published: Published) -> None:
    vault.put(
        published.name,
        spool.blocks(published.name),
        size_bytes=published.size_bytes,
        sha256=published.sha256,
    )
    spool.delete(published.name)


def test_a_run_killed_before_anybody_took_note_of_its_point_is_not_sent_again(
    world: World,
) -> None:
    world.fill(5)
    world.send(1)
    world.fill(30, prefix="new")
    unnoted = world.send(2, base=1)
    before = len(world.vault.order)
    result = world.send(3, base=1)
    sent = world.vault.order[before:]
    assert not any(name.startswith("packs/") for name in sent)
    packs = {found.name for found in unnoted.objects if found.name.startswith("packs/")}
    assert packs <= {found.name for found in result.objects}
    assert len(world.contents(3)) == 35


def test_what_was_damaged_in_the_spool_does_not_reach_the_vault(world: World) -> None:
    world.fill(30)
    world.vault.failures = [NotAuthorised("the grant is over")]
    with pytest.raises(NotAuthorised):
        world.send(1)
    damaged = next(info.name for info in world.spool.names("packs/"))
    data = bytearray(world.spool.read(damaged))
    data[1000] ^= 1
    world.spool.write(damaged, data)
    world.spool.write(f"points/{point_id(9)}.point", b"of a run that nobody took note of")
    world.send(2)
    assert damaged not in world.vault.order
    assert f"points/{point_id(9)}.point" not in world.vault.order
    assert list(world.spool.names()) == []
    contents = world.contents(2)
    assert all(Path(os.fsdecode(path)).read_bytes() == data for path, data in contents.items())
