"""Processes that are killed at random, a clock that runs, and what they may not lose.

`Hammered` is one real cloud with its clock.  `HammeredComputer` is one source computer: it changes
its files, and runs the real commands.  `Promises` is the independent model: for each recovery
point that a command made it holds a copy of the source, and says until when it has to stay.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.support.runningcloud import DOCK, READY_S, ROOT, RunningCloud

from overland.agent.compare import compare_trees

__all__ = ["GRACE", "PATIENCE_S", "Hammered", "HammeredComputer", "Killed", "Story"]

PATIENCE_S: Final = 180.0
"""So long may one command take on a busy machine."""

GRACE: Final = timedelta(days=14)
STEP: Final = timedelta(days=1, hours=12)
"""The cloud takes a step of more than two days for a jump, and all marks begin anew."""

KEPT_DAYS: Final = 7
_FILES: Final = 200
_ENDED: Final = '"event": "reclaim.ended"'
_SHIFTED: Final = Path(__file__).with_name("shifted_clock")


class Killed(Exception):
    """The process or its cloud was killed, or its leave ended, so it need not have succeeded."""


class Story:
    """What happened in which order; pytest shows it when a run fails, or with `-s` as it goes."""

    def __init__(self) -> None:
        self._lock, self._began = threading.Lock(), time.monotonic()

    def tell(self, who: str, what: str) -> None:
        with self._lock:
            sys.stdout.write(f"{time.monotonic() - self._began:8.3f} {who}: {what}\n")


class Hammered(RunningCloud):
    """A cloud that is killed and started anew at the same address, and the clock of all."""

    def __init__(self, folder: Path, rng: random.Random, story: Story) -> None:
        home = folder / "provider"
        home.mkdir()
        super().__init__(home)
        self.rng, self.story, self.kills = rng, story, 0
        self.clock_lock = threading.Lock()
        self.is_down = False
        self._ahead, self._ahead_s = folder / "ahead", 0.0
        self._write_ahead()
        path = [str(_SHIFTED), str(ROOT / "src")]
        self.environment["PYTHONPATH"] = os.pathsep.join(path)
        self.environment["OVERLAND_TEST_AHEAD"] = str(self._ahead)

    # The clock.

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def pass_time(self) -> bool:
        """Let a step of time pass once the cloud has seen the last; return whether it did."""
        with self.clock_lock:
            seen_at = self._seen_at()
            if seen_at is None or seen_at < self.now() - STEP / 2:
                return False
            self._ahead_s += STEP.total_seconds()
            self._write_ahead()
            self.story.tell("clock", f"{self.now():%Y-%m-%d}")
            return True

    def _write_ahead(self) -> None:
        draft = self._ahead.with_suffix(".draft")
        draft.write_text(str(self._ahead_s))
        draft.replace(self._ahead)

    def _seen_at(self) -> datetime | None:
        database = sqlite3.connect(f"file:{self.folder / 'cloud.db'}?mode=ro", uri=True, timeout=60)
        try:
            row = database.execute("SELECT seen_at FROM clock_sightings").fetchone()
        finally:
            database.close()
        return None if row is None else datetime.fromisoformat(row[0]).replace(tzinfo=UTC)

    # The process.

    def found(self) -> None:
        """Make the cloud, start it, and make a vault in it."""
        subprocess.run(
            [*self._program("cloud", "init", "--dock", DOCK)],
            env=self.environment, check=True, capture_output=True,
        )  # fmt: skip
        self.start()
        token = self.home / "admin-token"
        self.run("tenant", "create", "harbour", "--out", str(token))
        self.run("subscription", "create", "production", token=token)
        vault = self.run("vault", "create", "harbour-vault", token=token)["vault_id"]
        out = self.home / "vault-credentials"
        self.run("vault-credentials", vault, "--out", str(out), token=token)
        self.ports = [
            each.rpartition(":")[2]
            for each in (self.endpoints["url"], self.endpoints["object_url"])
        ]

    def _program(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "overland", *words]

    def kill(self) -> None:
        """Kill the cloud at this very moment, and start it at the same address."""
        assert self.process is not None
        self.is_down = True
        self.kills += 1
        self.story.tell("cloud", "killed")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=READY_S)
        (self.folder / "endpoints.json").unlink(missing_ok=True)
        api, objects = self.ports
        self.start("--port", api, "--object-port", objects)
        self.is_down = False
        self.story.tell("cloud", "serves again")

    def reclaim(self) -> None:
        """Let `overland cloud reclaim` run, and perhaps kill it."""
        token = str(self.home / "admin-token")
        command = self.begin(
            "operator", self.environment, "cloud", "reclaim", "--token-file", token
        )
        with suppress(Killed):
            command.end(kill=self.rng.random() < 0.3)

    def begin(self, who: str, environment: dict[str, str], *words: str) -> "Command":
        """Start a command."""
        return Command(self, who, environment, words)

    def deleted(self) -> int:
        """Return how many objects runs of reclaim say they have deleted."""
        lines = self.log.read_text().splitlines()
        return sum(json.loads(each)["objects"] for each in lines if _ENDED in each)


class Command:
    """A command of `overland` in a process of its own."""

    def __init__(
        self, cloud: Hammered, who: str, environment: dict[str, str], words: tuple[str, ...]
    ) -> None:
        self._cloud, self._who, self._words = cloud, who, words
        self._kills, self._was_down = cloud.kills, cloud.is_down
        cloud.story.tell(who, f"{' '.join(words)} begins")
        self._process = subprocess.Popen(
            [*cloud._program(*words), "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def end(self, *, kill: bool, after_s: float = 2.0) -> Any:  # JSON
        """Wait for the command and return its result; or kill it, at the latest after `after_s`.

        Raises:
            Killed: It was, or it failed and its cloud was.
        """
        try:
            limit_s = self._cloud.rng.uniform(0.2, after_s) if kill else PATIENCE_S
            out, err = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._tell("killed" if kill else "hangs, killed")
            assert kill, f"{self._words} takes longer than {PATIENCE_S} s"
            raise Killed from None
        code = self._process.returncode
        self._tell(f"exit code {code}")
        if code == 0:
            return json.loads(out)
        told = f"{self._who}: {self._words}: {code}\n{out.decode()[-2000:]}\n{err.decode()[-2000:]}"
        self._cloud.story.tell(self._who, told)
        if self._was_down or self._kills != self._cloud.kills:
            raise Killed
        if "not-authorised" in told and "expired at" in told:  # a day went by since it was renewed
            raise Killed
        raise AssertionError(told)

    def _tell(self, what: str) -> None:
        self._cloud.story.tell(self._who, f"{' '.join(self._words[:3])}: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A finished recovery point, and a copy of what the source held."""

    point_id: str
    made_at: datetime
    likeness: Path


@dataclass(slots=True)
class Promises:
    """What a source computer may rely on."""

    kept: list[Promise] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)
    """When runs began, also those that were killed: they may have made points too."""
    deleted: dict[str, datetime] = field(default_factory=dict)

    def may_be_gone(self, promise: Promise, *, at: datetime) -> bool:
        """Whether two weeks before, the point was deleted, or others filled its rule."""
        marked_by = at - GRACE
        if self.deleted.get(promise.point_id, at) <= marked_by:
            return True
        later = [each for each in self.tries if promise.made_at <= each <= marked_by]
        # It goes when a later point is of the same day, or later points are of as many days as
        # are kept; a run makes one point at most, of a day between its begin and its end.
        return len(later) >= KEPT_DAYS or promise.made_at.date() in {e.date() for e in later}

    def sure(self, *, at: datetime) -> list[Promise]:
        """Return what has to be there."""
        return [each for each in self.kept if not self.may_be_gone(each, at=at)]


class HammeredComputer:
    """A source computer with one policy."""

    def __init__(self, name: str, folder: Path, cloud: Hammered, rng: random.Random) -> None:
        self.name, self.folder, self.cloud, self.rng = name, folder, cloud, rng
        self.promises = Promises()
        self.environment = {**cloud.environment, "OVERLAND_HOME": str(folder / "home")}
        for each in ("home", "source", "likenesses"):
            (folder / each).mkdir(parents=True)
        self.source = folder / "source"
        self.change(_FILES)

    def make_keys(self) -> None:
        passphrase = self.folder / "passphrase"
        passphrase.write_text("a passphrase that is long enough\n")
        self.do("agent", "init", "--name", self.name, "--passphrase-file", str(passphrase),
                "--recovery-kit", str(self.folder / "kit"))  # fmt: skip

    def register(self) -> None:
        credentials = self.cloud.home / "vault-credentials"
        self.do("agent", "register", "--vault-credentials", str(credentials))
        self.do("policy", "create", "files", "--source", str(self.source),
                "--keep-daily", str(KEPT_DAYS))  # fmt: skip

    def do(self, *words: str, may_be_killed: bool = False) -> Any:  # JSON
        command = self.cloud.begin(self.name, self.environment, *words)
        return command.end(kill=may_be_killed and self.rng.random() < 0.4)

    def change(self, files: int) -> None:
        """Write, rename and remove files at random."""
        for _ in range(files):
            path = self.source / str(self.rng.randrange(10)) / str(self.rng.randrange(40))
            path.parent.mkdir(exist_ok=True)
            if self.rng.random() < 0.2:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(self.rng.randbytes(self.rng.choice([0, 100, 5_000, 40_000])))

    # What it does.

    def begin(self) -> None:
        """Back up twice, and delete the first recovery point."""
        for _ in range(2):
            self.change(_FILES // 2)
            self.until_done(lambda: self.back_up(may_be_killed=False))
        self.until_done(self.delete)

    def end(self) -> None:
        """Repack when that point is gone, so that its objects go too."""
        first = self.promises.kept[0]
        until = time.monotonic() + PATIENCE_S
        while not self.promises.may_be_gone(first, at=self.cloud.now() - STEP):
            assert time.monotonic() < until, "time does not pass"
            time.sleep(0.1)
        self.until_done(lambda: self.do("repack", "--min-live", "100"))

    def until_done(self, work: Callable[[], object]) -> None:
        """Do it until nothing is killed on the way."""
        while True:
            with suppress(Killed):
                work()
                return

    def live(self) -> None:
        """Back up what has changed, and do something else; each may be killed."""
        self.change(self.rng.randrange(1, 80))
        with suppress(Killed):
            self.back_up(may_be_killed=True)
        actions = [self.restore_one, self.repack, self.repack, self.delete, self.check]
        with suppress(Killed):
            self.rng.choice(actions)()

    def back_up(self, *, may_be_killed: bool) -> None:
        likeness = self.folder / "likenesses" / str(len(self.promises.tries))
        shutil.copytree(self.source, likeness, symlinks=True)
        self.promises.tries.append(self.cloud.now())
        try:
            outcome = self.do("backup", "now", "files", may_be_killed=may_be_killed)["outcome"]
        except Killed:
            shutil.rmtree(likeness)
            raise
        promise = Promise(
            point_id=outcome["made"]["point_id"], made_at=self.cloud.now(), likeness=likeness
        )
        self.cloud.story.tell(self.name, f"made {promise.point_id}")
        self.promises.kept.append(promise)

    def repack(self) -> None:
        self.do("repack", "--min-live", "100", may_be_killed=True)

    def delete(self) -> None:
        """Delete a recovery point that is not the newest."""
        if len(self.promises.kept) > 1:
            chosen = self.rng.choice(self.promises.kept[:-1])
            if not self.promises.may_be_gone(chosen, at=self.cloud.now()):
                # Noted first: a killed cloud may have marked it, and not lived to say so.
                self.promises.deleted.setdefault(chosen.point_id, self.cloud.now())
                self.do("points", "delete", chosen.point_id)

    def restore_one(self) -> None:
        """Restore a point that has to be there, killed or not, and go on until it is whole."""
        sure = self.promises.sure(at=self.cloud.now() + STEP)
        if not sure:
            return
        promise = self.rng.choice(sure)
        target = self.folder / "restored"
        try:
            while not self._is_restored(promise, target):
                pass
        except AssertionError:
            if not self.promises.may_be_gone(promise, at=self.cloud.now()):
                raise
        shutil.rmtree(target, ignore_errors=True)

    def _is_restored(self, promise: Promise, target: Path) -> bool:
        try:
            self._restore(promise, target, "--resume", may_be_killed=True)
        except Killed:
            return False
        self._compare(promise, target)
        return True

    def check(self) -> None:
        """Check all, on a day that does not end."""
        with self.cloud.clock_lock:
            self.check_now()

    def check_now(self) -> None:
        checked = self.do("check")
        assert checked["whole"], checked["findings"]
        assert checked["with_keys"]

    def _restore(
        self, promise: Promise, target: Path, *options: str, may_be_killed: bool = False
    ) -> None:
        to = ("--target", str(target), "--strip", str(self.source))
        self.do("restore", promise.point_id, *to, *options, may_be_killed=may_be_killed)

    def _compare(self, promise: Promise, target: Path) -> None:
        found = compare_trees(promise.likeness, target)
        assert found.equal, f"{self.name}: {promise.point_id}: {found.differences[:10]}"
        assert found.entries > 0

    # The proof.

    def prove(self) -> int:
        """Check all, and restore and compare every promised point; return how many."""
        self.check_now()
        listed = {each["point_id"]: each["state"] for each in self.do("points", "list")}
        at, proven = self.cloud.now(), 0
        for promise in self.promises.kept:
            if listed.get(promise.point_id) != "available":
                assert self.promises.may_be_gone(promise, at=at), f"{promise.point_id} is lost"
                continue
            target = self.folder / "restored"
            self._restore(promise, target)
            self._compare(promise, target)
            shutil.rmtree(target)
            proven += 1
        return proven
