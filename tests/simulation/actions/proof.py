"""What has to hold in a story, looked at with the program's own reader and with the other one."""

import contextlib
import importlib.util
import io
import os
import random
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Final
from unittest.mock import patch
from uuid import UUID

import pytest
from tests.simulation.actions.source import Kept, Tree
from tests.simulation.actions.world import World

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, list_points, open_keys, open_point
from overland.agent.repair.run import RepairReport
from overland.agent.restore.run import RestoreIncomplete, RestoreOptions, restore
from overland.errors import IntegrityError, RefusedError
from overland.ports.progress import NullProgress
from overland.values import PointId, point_name
from overland.vault.catalog import CatalogPoint
from overland.vault.marks import MIN_GRACE
from overland.vault.runs import ReclaimReport

__all__ = ["Proof"]

_READER: Final = Path(__file__).resolve().parents[3] / "reader" / "overland_reader.py"


class Proof:
    """Compares the world with the model; `gone` are objects that the story itself took away."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._model, self._folder = world, world.model, folder
        self.gone: set[str] = set()
        self._needed_at: dict[str, datetime] = {}  # when objects were needed last, or first seen

    # -- always ---------------------------------------------------------------------------------

    def after_action(self, chance: random.Random) -> None:
        """What holds at any moment: nothing needed is gone, and one point, at least, is whole."""
        self._settle_reclaimed()
        held = self._world.held()
        self.gone -= held.keys()
        lacking = self._model.missing(held) - self.gone
        assert not lacking, f"needed and deleted: {sorted(lacking)}"
        self.note_needed(held)
        if self._model.promised:
            self._prove(chance.choice(sorted(self._model.promised)), held)

    def note_needed(self, held: dict[str, bytes]) -> None:
        """Remember when each object was needed last, or seen first by who looks after actions."""
        now = self._world.clock.now()
        for name in held:
            self._needed_at.setdefault(name, now)
        for row in self._living_rows():
            if point_name(row.point_id) in self._model.truth:
                self._needed_at |= dict.fromkeys(self._model.needed(row.point_id), now)

    def waited_long(self, before: Iterable[str]) -> None:
        """What is gone since was unneeded for the whole time of grace."""
        now = self._world.clock.now()
        for name in set(before) - self._world.held().keys():
            since = self._needed_at.get(name)
            assert since is not None, f"{name} went before anybody saw it"
            assert now - since >= MIN_GRACE, f"{name} went {now - since} after it was needed"

    def everything(self) -> None:
        held = self._world.held()
        for point_id in self._model.promised:
            self._prove(point_id, held)

    def _prove(self, point_id: PointId, held: dict[str, bytes]) -> None:
        if self._is_harmed(point_id, held):
            return
        lost = self._model.lost.get(point_id)
        if lost is None:
            found, wanted = self._world.read(point_id), self._model.promised[point_id]
            assert found == wanted, _difference(point_id, found, wanted)
        else:
            self._restored(point_id, lost)

    def _is_unproven(self, point_id: PointId, held: dict[str, bytes]) -> bool:
        proofs = self._model.proofs(point_id)
        return not proofs <= held.keys() or not proofs.isdisjoint(self._model.damaged(held))

    def _is_harmed(self, point_id: PointId, held: dict[str, bytes]) -> bool:
        reads = self._model.reads(point_id)
        return not reads <= held.keys() or not reads.isdisjoint(self._model.damaged(held))

    def _settle_reclaimed(self) -> None:
        rows = {row.point_id: row for row in self._world.rows()}
        now = self._world.clock.now()
        for point_id in list(self._model.promised):
            if point_id in rows and rows[point_id].reclaimed_at is None:
                continue
            assert self._model.may_go(point_id, now), f"{point_id} was reclaimed too early"
            del self._model.promised[point_id]

    # -- what commands say ----------------------------------------------------------------------

    def check(self, *, with_keys: bool) -> str:
        """`check` names exactly what is damaged, and judges each point rightly."""
        held = self._world.held()
        damaged, missing = self._model.damaged(held), self._model.missing(held)
        report = self._world.check(with_keys=with_keys)
        corrupt = {each.name for each in report.findings if each.kind in {"corrupt", "replaced"}}
        # What a former key signed, and no change lists, is named too: whoever stole it may have.
        harmed = damaged | self._model.retired(held)
        assert corrupt == harmed, f"check found {corrupt} and not {harmed}"
        excused = {each.name for each in report.findings if each.kind == "replaced"}
        needed = set[str]().union(*map(self._model.needed, self._model.promised))
        assert excused.isdisjoint(needed), f"check calls needless what is needed: {excused}"
        absent = {each.name for each in report.findings if each.kind == "missing"}
        surely = self._model.surely_missed(held)
        assert surely <= absent, f"check did not miss {surely - absent}"
        wrong = {name for name in absent & held.keys() if not name.startswith("points/")}
        assert not wrong, f"check misses what is there: {wrong}"
        for point_id in self._model.promised:
            if not self._is_harmed(point_id, held) and point_id not in self._model.lost:
                needs = self._model.needed(point_id)
                if with_keys or (needs <= held.keys() and needs.isdisjoint(damaged)):
                    assert report.restorable[point_id], f"{point_id} is whole"
            elif with_keys and report.restorable.get(point_id):
                found = self._world.read(point_id, self._world.keys)
                assert found == self._model.promised[point_id]
        return f"{len(damaged)} damaged, {len(missing)} missing"

    def healed(self, report: RepairReport) -> None:
        """With true copies at hand, nothing stays broken."""
        held = self._world.held()
        self._model.take(held)
        broken = set(report.broken)
        assert broken.isdisjoint(self._model.truth), f"there are whole copies of {broken}"
        retired = self._model.retired(held)
        lacking = {*report.unhealed, *report.unreadable} - retired
        assert not lacking, f"every document has a whole copy: {lacking}"
        damaged = self._model.damaged(held) - self._model.torn
        assert not damaged, f"still damaged: {damaged}"
        assert not self._model.missing(held), "everything that is needed has a copy"

    def reclaimed(self, report: ReclaimReport) -> None:
        """Reclaim refuses only with a reason, and takes only what was let go for long enough."""
        self._settle_reclaimed()
        held = self._world.held()
        if not self._model.damaged(held) and not self._model.missing(held) and not self.gone:
            assert report.problem is None, report.problem

    def lose(self, point_id: PointId, paths: Iterable[bytes]) -> None:
        """Take note that a repair called these paths of a point lost for good."""
        root = os.fsencode(self._world.source.folder) + b"/"
        known = self._model.lost.get(point_id, frozenset())
        found = {os.fsdecode(path.removeprefix(root)) for path in paths}
        self._model.lost[point_id] = known | found

    def unlisted(self) -> bool:
        """Whether points are incomplete that nobody was promised."""
        return any(row.state != "available" for row in self._living_rows())

    def is_repackable(self) -> bool:
        """Whether nothing gives repacking a reason to refuse."""
        held = self._world.held()
        is_whole = not self._model.damaged(held) and not self._model.missing(held)
        return is_whole and not self.gone and not self.unlisted()

    def _living_rows(self) -> list[CatalogPoint]:
        return [row for row in self._world.rows() if row.reclaimed_at is None]

    def nothing_else_stays(self) -> None:
        """After the time of grace, the vault holds nothing that no point in the catalog needs."""
        needed: set[str] = set()
        for row in self._living_rows():
            needed |= self._model.needed(row.point_id)
        held = {n for n in self._world.held() if n.startswith(("packs/", "index/", "points/"))}
        assert held <= needed, f"nobody needs {sorted(held - needed)}"

    # -- whole restores -------------------------------------------------------------------------

    def restore(self, chance: random.Random) -> str:
        """Restore a point into a folder; what is not named comes back as it was."""
        if not self._model.promised:
            return "nothing"
        point_id = chance.choice(sorted(self._model.promised))
        held = self._world.held()
        if self._is_unproven(point_id, held):
            return "its own file is harmed"
        named = self._restored(point_id, self._model.lost.get(point_id, frozenset()))
        if not self._is_harmed(point_id, held) and point_id not in self._model.lost:
            assert not named, f"whole, and yet {named}"
        return f"p{UUID(point_id).int - 0x1000}, {len(named)} problems"

    def restore_elsewhere(self, chance: random.Random) -> str:
        """Restore on another computer, from the vault and one secret; the old ones open nothing."""
        held, openers = self._world.held(), self._world.openers
        openers.note_vault(self._model.truth)
        opens = openers.newest(held)
        if opens is None:
            return "the newest keyring is harmed"
        for old in openers.replaced(opens):
            with pytest.raises((RefusedError, IntegrityError)):
                self._open(*old)
        kind = chance.choice(("passphrase", "recovery-kit"))
        every = {kind: self._open(kind, secret) for kind, secret in opens.items()}
        keys = every[kind]
        listing = list_points(self._world.objects(), keys)
        believed = {each.point_id for each in listing.points}
        unproven = {p for p in self._model.promised if self._is_unproven(p, held)}
        lacking = self._model.promised.keys() - unproven - believed
        assert not lacking, f"{sorted(lacking)} count, and are not believed"
        retired = self._model.retired(held)
        wrong = retired & {point_name(each) for each in believed}
        assert not wrong, f"{sorted(wrong)} do not count, and are believed"
        points = sorted(self._model.promised.keys() - unproven)
        if not points:
            return f"{kind}, no points"
        point_id = chance.choice(points)
        named = self._restored(point_id, self._model.lost.get(point_id, frozenset()), keys)
        if not self._is_harmed(point_id, held) and point_id not in self._model.lost:
            assert not named, f"whole, and yet {named}"
        return f"{kind}, {len(believed)} believed, {len(retired)} not"

    def _open(self, kind: str, secret: str) -> ReadKeys:
        return open_keys(self._world.objects(), **{kind.replace("-", "_"): secret})

    def _restored(
        self, point_id: PointId, lost: frozenset[str], keys: ReadKeys | None = None
    ) -> set[str]:
        """Restore and compare; return the paths that were named as problems."""
        objects, keys = self._world.objects(), keys or self._world.vault_keys()
        store = ChunkStore(objects, keys)
        store.open_index()
        target = self._folder / "target"
        root = str(self._world.source.folder)
        named: set[str] = set()
        try:
            restore(
                open_point(objects, keys, point_id),
                store=store,
                target=os.fsencode(target),
                progress=NullProgress(),
                options=RestoreOptions(strip=os.fsencode(root), sync=False),
            )
        except RestoreIncomplete as error:
            named = {
                os.fsdecode(problem.path).removeprefix(root).lstrip("/")
                for problem in error.report.problems
            }
        self._compare(point_id, target, named | lost)
        return named

    def _compare(self, point_id: PointId, target: Path, but: set[str] | frozenset[str]) -> None:
        found, wanted = tree_of(target), self._model.promised[point_id]
        shutil.rmtree(target, ignore_errors=True)
        for path, kept in found.items():
            assert wanted.get(path) == kept, f"{point_id}: {path} is not what was backed up"
        for path in wanted.keys() - found.keys():
            parts = path.split("/")
            above = {"/".join(parts[:depth]) for depth in range(len(parts) + 1)}
            assert not above.isdisjoint(but), f"{point_id}: {path} is lost, and not named"

    def foreign_reader(self, chance: random.Random) -> None:
        """Restore one point with the reader that shares no line with the program."""
        if not self._model.promised:
            return
        point_id = chance.choice(sorted(self._model.promised))
        if point_id in self._model.lost:
            return
        vault, out = self._folder / "vault", self._folder / "target"
        for name, data in self._world.held().items():
            if self._world.openers.is_foreign(data):
                continue  # that reader takes the highest keyring alone (`keys-v1.md` §2.6)
            (vault / name).parent.mkdir(parents=True, exist_ok=True)
            (vault / name).write_bytes(data)
        secret = self._folder / "secret"
        opens = self._world.openers.newest(self._world.held())
        assert opens is not None, "the vault was healed"
        secret.write_text(opens["passphrase"] + "\n")
        words = [vault, "--passphrase-file", secret, "--point", point_id, "--target", out]
        run_reader(list(map(str, words)))
        restored = Path(f"{out}{self._world.source.folder}")
        self._compare(point_id, restored, frozenset())
        shutil.rmtree(out)


def run_reader(words: Sequence[str]) -> None:
    """Run the stand-alone reader in this process; nothing may be wrong."""
    reader = _reader()
    reader.CODES[:] = [0]
    said = io.StringIO()
    limit = sys.getrecursionlimit()
    with (
        patch.object(sys, "argv", ["overland_reader", *words]),
        contextlib.redirect_stderr(said),
    ):
        code: int = reader.main()
    sys.setrecursionlimit(limit)
    assert code == 0, said.getvalue()


def _reader() -> ModuleType:
    name = "overland_reader_of_stories"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _READER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def tree_of(folder: Path) -> Tree:
    """Return the files and links below a folder."""
    found: Tree = {}
    for path in folder.rglob("*"):
        state = path.lstat()
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = Kept("symlink", os.fsencode(path.readlink()), state.st_mtime_ns)
        elif path.is_file():
            found[name] = Kept("file", path.read_bytes(), state.st_mtime_ns)
    return found


def _difference(point_id: PointId, found: Tree, wanted: Tree) -> str:
    names = sorted(path for path in {*found, *wanted} if found.get(path) != wanted.get(path))
    return f"{point_id} is not what was backed up: {names}"
