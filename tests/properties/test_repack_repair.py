"""Random histories of backups, deletions, damage, repacks and repairs, from one seed number each.

The model is the content of the source at each backup.  What the model says must be restorable is
restored and compared byte by byte after every step that could take something away.
"""

import contextlib
import random
import subprocess
import sys
from pathlib import Path

from tests.support.backed_up import PASSPHRASE
from tests.support.simdisk import PowerCut, SimDisk
from tests.support.vaulted import Vaulted, content
from tests.unit.agent.test_repack import write

from overland.adapters.folderobjects import FolderObjects
from overland.errors import RefusedError

READER = Path(__file__).resolve().parents[2] / "reader" / "overland_reader.py"
POLICIES = ("documents", "other")
STEPS = 14


class History:
    """One random history; every choice comes from the seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.vaulted = Vaulted(folder, pack_bytes=self.random.choice([1 << 15, 1 << 18, 1 << 21]))
        self.trail: list[str] = []

    def play(self) -> None:
        self.back_up()
        actions = [self.back_up, self.back_up, self.delete, self.repack, self.cut_repack]
        actions += [self.lose_and_fetch, self.damage_index, self.lose_last_content, self.reclaim]
        for _ in range(STEPS):
            action = self.random.choice(actions)
            self.trail.append(action.__name__)
            action()
            self.vaulted.assert_all_restorable()
        self.vaulted.keeper.reclaim()
        self.vaulted.assert_all_restorable()
        assert self.vaulted.check().is_whole

    def change_source(self) -> None:
        source = self.vaulted.source
        for _ in range(self.random.randint(1, 6)):
            path = source / self.random.choice("abc") / str(self.random.randint(0, 9))
            path.parent.mkdir(exist_ok=True)
            if path.exists() and self.random.random() < 0.4:
                path.unlink()
            else:
                path.write_bytes(self.random.randbytes(self.random.randint(0, 40_000)))

    def back_up(self) -> None:
        self.change_source()
        self.vaulted.back_up(self.random.choice(POLICIES), full=self.random.random() < 0.2)

    def delete(self) -> None:
        newest = set(self.vaulted.last.values())
        old = [point for point in self.vaulted.keeper.living() if point not in newest]
        if old:
            self.vaulted.keeper.deleted.add(self.random.choice(old))
            self.vaulted.keeper.version += 1

    def reclaim(self) -> None:
        self.vaulted.keeper.reclaim()

    def repack(self) -> None:
        min_live = self.random.choice([0.3, 0.7, 1.0])
        self.vaulted.repack(self.random.choice([None, *self.vaulted.last]), min_live=min_live)

    def cut_repack(self) -> None:
        which = self.random.choice(["disk", "state", "spool"])
        vaulted = self.vaulted
        step = self.random.randint(0, 40)
        setattr(vaulted, which, getattr(vaulted, which).restart(cut_at=step, seed=step))
        vaulted.restart()
        with contextlib.suppress(PowerCut):
            vaulted.repack(min_live=1)
        for name in ("disk", "state", "spool"):
            setattr(vaulted, name, getattr(vaulted, name).restart(seed=step))
        vaulted.restart()

    def harm(self, name: str) -> None:
        if self.random.random() < 0.5:
            self.vaulted.disk.delete(name)
        else:
            at = self.random.randrange(self.vaulted.disk.size_bytes(name))
            self.vaulted.disk.damage(name, offset=at)

    def lose_and_fetch(self) -> None:
        vaulted = self.vaulted
        drive = SimDisk()
        for info in vaulted.disk.names():
            drive.write(info.name, vaulted.disk.read(info.name))
        names = [i.name for i in vaulted.disk.names() if i.name.startswith(("packs/", "index/"))]
        for name in self.random.sample(names, min(3, len(names))):
            self.harm(name)
        assert vaulted.repair(drive=FolderObjects(drive)).is_whole

    def damage_index(self) -> None:
        for info in list(self.vaulted.disk.names("index/")):
            if self.random.random() < 0.5:
                self.harm(info.name)
        assert self.vaulted.repair().is_whole

    def lose_last_content(self) -> None:
        """Lose a pack without a copy, and delete the points that the report calls lost."""
        packs = sorted(self.vaulted.packs())
        if not packs:  # the source is empty, and every older point is gone
            return
        self.harm(self.random.choice(packs))
        lost = self.vaulted.repair().lost
        for point_id, files in lost.items():
            assert files
            self.vaulted.keeper.deleted.add(point_id)
        self.vaulted.keeper.version += bool(lost)
        for policy, point_id in list(self.vaulted.last.items()):
            if point_id in lost:
                del self.vaulted.last[policy]
        self.vaulted.assert_all_restorable()


def test_what_the_model_says_is_restored(tmp_path: Path, history_seed: int) -> None:
    history = History(tmp_path, history_seed)
    try:
        history.play()
    except (AssertionError, RefusedError) as error:
        error.add_note(f"history {history_seed}: {' '.join(history.trail)}")
        raise


def test_the_standalone_reader_restores_from_a_repacked_vault(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    for number in range(10):
        write(vaulted.source, f"file{number}", number)
    first = vaulted.back_up()
    for number in range(9):
        (vaulted.source / f"file{number}").unlink()
    point = vaulted.back_up()
    vaulted.keeper.deleted.add(first)
    assert vaulted.repack(min_live=1).replacement_id
    vaulted.keeper.reclaim()
    folder = tmp_path / "vault"
    for info in vaulted.disk.names():
        target = folder / info.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(vaulted.disk.read(info.name))
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    words = [folder, "--passphrase-file", secret, "--point", point, "--target", tmp_path / "out"]
    command = [sys.executable, "-I", str(READER), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert content(Path(f"{tmp_path / 'out'}{vaulted.source}")) == vaulted.contents[point]
