"""Wrappers that make the other ports fail in chosen ways; `faulty.py` has those of `Files`.

Each takes a `FaultPlan`; the class says which faults it knows.  `slow` moves the plan's clock on.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from msgspec import structs
from tests.support.faulty import FaultPlan, FaultyFiles, spoiled
from tests.support.simdisk import reused_views

from overland.errors import NotAuthorised, OutOfSpace, Unreachable
from overland.ports.clock import Clock
from overland.ports.engine import Engine, Run, Step
from overland.ports.files import Files
from overland.ports.http import Http, Reply
from overland.ports.labels import Printer, Sheet
from overland.ports.objects import Objects, Spaces
from overland.ports.programs import Finished, ProgramAbsent, Programs, Running
from overland.ports.progress import Progress, ProgressLines
from overland.ports.volume import Attachment, Content, Volume, Volumes
from overland.values import ObjectInfo

__all__ = [
    "FaultyClock",
    "FaultyEngine",
    "FaultyHttp",
    "FaultyObjects",
    "FaultyPrinter",
    "FaultyPrograms",
    "FaultyProgress",
    "FaultyProgressLines",
    "FaultySpaces",
    "FaultyVolume",
    "FaultyVolumes",
]

_JUMP = timedelta(days=20)


class FaultyObjects:
    """`Objects` with `error` (`Unreachable`), `refuse` (`NotAuthorised`), `full`, `slow`.

    And, of a put: `short` (the content ends early), `lost` (stored, and the answer gets lost) and
    `lie` (said to be stored, and gone after `power_cut`); of what is read: `flip` and `cut`.
    """

    def __init__(self, objects: Objects, plan: FaultPlan) -> None:
        self._objects, self._plan = objects, plan
        self._unsafe: list[str] = []

    def put(
        self, name: str, content: Iterable[bytes | memoryview], *, size_bytes: int, sha256: str
    ) -> None:
        fault = self._begin("put", name, "full", "short", "lost", "lie")
        if fault == "full":
            raise OutOfSpace("the store", needed_bytes=size_bytes, free_bytes=0)
        if fault == "short":
            content = [b"".join(map(bytes, content))[: size_bytes // 2]]
        self._objects.put(name, content, size_bytes=size_bytes, sha256=sha256)
        if fault == "lie":
            self._unsafe.append(name)
        if fault == "lost":
            raise Unreachable("simulated loss of the answer")

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        fault = self._begin("read_range", name, "flip", "cut")
        data = self._objects.read_range(name, offset=offset, length=length)
        return spoiled(data, fault, self._plan.random)

    def read(self, name: str) -> bytes:
        fault = self._begin("read", name, "flip", "cut")
        return spoiled(self._objects.read(name), fault, self._plan.random)

    def blocks(self, name: str) -> Iterator[memoryview]:
        fault = self._begin("blocks", name, "flip", "cut")
        data = b"".join(map(bytes, self._objects.blocks(name)))
        yield from reused_views(spoiled(data, fault, self._plan.random), 1 << 20)

    def head(self, name: str) -> ObjectInfo:
        self._begin("head", name)
        return self._objects.head(name)

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self._begin("names", prefix)
        yield from self._objects.names(prefix, start_after=start_after)

    def delete(self, name: str) -> None:
        self._begin("delete", name)
        self._objects.delete(name)

    def power_cut(self) -> list[str]:
        """Lose the objects that the store lied about; return their names."""
        lost, self._unsafe = self._unsafe, []
        for name in lost:
            self._objects.delete(name)
        return lost

    def _begin(self, operation: str, name: str, *faults: str) -> str | None:
        fault = self._plan.draw(operation, name, among=("error", "refuse", "slow", *faults))
        if fault == "error":
            raise Unreachable(f"simulated silence at {operation} {name}")
        if fault == "refuse":
            raise NotAuthorised(f"simulated end of a grant at {operation} {name}")
        return fault


class FaultySpaces:
    """`Spaces` whose every store is a `FaultyObjects` with the same plan."""

    def __init__(self, spaces: Spaces, plan: FaultPlan) -> None:
        self._spaces, self._plan = spaces, plan

    def open(self, space: str) -> FaultyObjects:
        return FaultyObjects(self._spaces.open(space), self._plan)


class FaultyClock:
    """`Clock` that `forward`s or goes `back` by 20 days, or stands `still` while one sleeps.

    `monotonic_s` keeps its promise whatever the calendar does.
    """

    def __init__(self, clock: Clock, plan: FaultPlan) -> None:
        self._clock, self._plan, self._off = clock, plan, timedelta(0)

    def now(self) -> datetime:
        fault = self._plan.draw("now", "", among=("forward", "back"))
        self._off += {"forward": _JUMP, "back": -_JUMP}.get(fault or "", timedelta(0))
        return self._clock.now() + self._off

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def sleep(self, seconds: float) -> None:
        if self._plan.draw("sleep", "", among=("still",)) is None:
            self._clock.sleep(seconds)


class FaultyEngine:
    """`Engine` with `error` (a step fails before it did anything) and `late` (after it did).

    And `twice` (a step runs again, as after a kill), and `hasty` (`wait` returns early).
    """

    def __init__(self, engine: Engine, plan: FaultPlan) -> None:
        self._engine, self._plan = engine, plan

    def register(
        self, work: str, *, plan: Callable[[str], list[str]], step: Step, finish: Step
    ) -> None:
        def faulty(argument: str) -> str:
            fault = self._plan.draw("step", argument, among=("error", "late", "twice"))
            if fault == "error":
                raise Unreachable("simulated failure before a step")
            result = step(argument)
            if fault == "late":
                raise Unreachable("simulated failure after a step")
            return step(argument) if fault == "twice" else result

        self._engine.register(work, plan=plan, step=faulty, finish=finish)

    def launch(self) -> None:
        self._engine.launch()

    def start(self, work: str, *, key: str, argument: str) -> None:
        self._engine.start(work, key=key, argument=argument)

    def wait(self, key: str, *, timeout_s: float) -> Run:
        run = self._engine.wait(key, timeout_s=timeout_s)
        if self._plan.draw("wait", key, among=("hasty",)):
            return replace(run, state="running", result=None, error=None)
        return run

    def find(self, key: str) -> Run | None:
        return self._engine.find(key)

    def close(self) -> None:
        self._engine.close()


class FaultyHttp:
    """`Http` with `error` (no answer), `lost` (done, and no answer), `twice`, `slow`.

    And `failing` (503 without a body), `busy` (429), and raw bytes that are `flip` or `cut`.
    """

    def __init__(self, http: Http, plan: FaultPlan) -> None:
        self._http, self._plan = http, plan

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        among = ("error", "lost", "twice", "slow", "failing", "busy", "flip", "cut")
        fault = self._plan.draw(method, path, among=among)
        if fault == "error":
            raise Unreachable("simulated silence of the server")
        if fault in {"failing", "busy"}:
            return Reply(status=503 if fault == "failing" else 429, body=None, raw=b"")
        reply = self._http.request(method, path, json=json, raw=raw)
        if fault == "twice":
            return self._http.request(method, path, json=json, raw=raw)
        if fault == "lost":
            raise Unreachable("simulated loss of the answer")
        return structs.replace(reply, raw=spoiled(reply.raw, fault, self._plan.random))


class FaultyVolume:
    """`Volume` whose `files` are `FaultyFiles` of the same plan.

    And with `error` (the drive does not say what it holds, or cannot be erased) and `swapped`
    (another drive's serial).
    """

    def __init__(self, volume: Volume, plan: FaultPlan) -> None:
        self._volume, self._plan = volume, plan
        self._files: FaultyFiles | None = None

    @property
    def serial(self) -> str:
        fault = self._plan.draw("serial", "", among=("swapped",))
        return f"{self._volume.serial}-ANOTHER" if fault else self._volume.serial

    @property
    def capacity_bytes(self) -> int:
        return self._volume.capacity_bytes

    @property
    def path(self) -> str:
        return self._volume.path

    def content(self) -> Content:
        self._begin("content")
        return self._volume.content()

    def holds(self, path: str) -> bool:
        return self._volume.holds(path)

    def attachment(self) -> Attachment:
        return self._volume.attachment()

    def is_system(self) -> bool:
        return self._volume.is_system()

    def erase(self) -> None:
        self._begin("erase")
        self._volume.erase()

    def files(self) -> Files:
        self._files = self._files or FaultyFiles(self._volume.files(), plan=self._plan)
        return self._files

    def _begin(self, operation: str) -> None:
        if self._plan.draw(operation, self.path, among=("error", "slow")) == "error":
            raise OSError(5, "simulated failure of the drive", self.path)


class FaultyVolumes:
    """`Volumes` with `error` (the drive does not answer), and `FaultyVolume`s."""

    def __init__(self, volumes: Volumes, plan: FaultPlan) -> None:
        self._volumes, self._plan = volumes, plan

    def open(self, path: str) -> FaultyVolume:
        if self._plan.draw("open", path, among=("error", "slow")) == "error":
            raise OSError(5, "simulated failure of the bus", path)
        return FaultyVolume(self._volumes.open(path), self._plan)


class FaultyPrograms:
    """`Programs` with `error` (it cannot be started), `status`, `killed`, and `flip` or `cut`.

    Faults of what a program says meet it in both ways.  What `start` gives may also end `early`
    (while the program goes on), or fall `silent` in the middle, for ever.
    """

    def __init__(self, programs: Programs, plan: FaultPlan) -> None:
        self._programs, self._plan = programs, plan

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        fault = self._begin("run", argv, "killed", "status", "flip", "cut")
        if fault == "killed":
            return Finished(status=-9, output=b"", errors=b"")
        ended = self._programs.run(argv, timeout_s=timeout_s)
        status = 1 if fault == "status" else ended.status
        output = spoiled(ended.output, fault, self._plan.random)
        return structs.replace(ended, status=status, output=output)

    def start(self, argv: Sequence[str]) -> Running:
        fault = self._begin("start", argv, "status", "killed", "flip", "cut", "early", "silent")
        running = self._programs.start(argv)
        return running if fault is None else _FaultyRunning(running, fault, self._plan)

    def _begin(self, operation: str, argv: Sequence[str], *faults: str) -> str | None:
        fault = self._plan.draw(operation, argv[0], among=("error", "slow", *faults))
        if fault == "error":
            raise ProgramAbsent(argv[0], problem="simulated")
        return None if fault == "slow" else fault


class _FaultyRunning:
    """A program that works, and says something else than it does, or ends badly."""

    def __init__(self, running: Running, fault: str, plan: FaultPlan) -> None:
        self._running, self._fault, self._plan = running, fault, plan
        self._source = os.dup(running.fd)  # that one is closed by its owner, perhaps meanwhile
        self._fd, self._sink = os.pipe()
        self._is_closed = threading.Event()
        self._pump = threading.Thread(target=self._pass_on, name="faulty program", daemon=True)
        self._pump.start()

    @property
    def fd(self) -> int:
        return self._fd

    def finish(self, *, timeout_s: float) -> int | None:
        if self._fault == "early":
            return None
        ended = self._running.finish(timeout_s=timeout_s)
        lies = {"status": 1, "killed": -9}
        return None if ended is None else lies.get(self._fault, ended)

    def close(self) -> None:
        self._is_closed.set()
        self._running.close()
        os.close(self._fd)
        self._pump.join()

    def _pass_on(self) -> None:
        """Read all that the program says, and pass on what is left of it."""
        with os.fdopen(self._source, "rb") as said:
            data = said.read()
        if self._fault in {"early", "silent"}:
            data = data[: len(data) // 2]
        with (
            contextlib.suppress(BrokenPipeError),
            os.fdopen(self._sink, "wb", buffering=0) as sink,
        ):
            rest = memoryview(spoiled(data, self._fault, self._plan.random))
            while rest:
                rest = rest[sink.write(rest) :]
            if self._fault == "silent":
                self._is_closed.wait()


class FaultyProgress:
    """`Progress` with `error` (a call fails with `OSError`, as a terminal that is gone) and `slow`.

    A program's own displays keep such errors to themselves; this one tells what becomes of the work
    where one does not.
    """

    def __init__(self, progress: Progress, plan: FaultPlan) -> None:
        self._progress, self._plan = progress, plan

    def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
        self._begin("start", phase)
        self._progress.start(phase, total_bytes, total_count)

    def advance(self, bytes: int = 0, count: int = 0) -> None:  # noqa: A002 - as in the port
        self._begin("advance", "")
        self._progress.advance(bytes, count)

    def finish(self) -> None:
        self._begin("finish", "")
        self._progress.finish()

    def _begin(self, operation: str, name: str) -> None:
        if self._plan.draw(operation, name, among=("error", "slow")) == "error":
            raise OSError(5, "simulated end of the terminal")


class FaultyProgressLines:
    """`ProgressLines` whose every line is a `FaultyProgress` with the same plan."""

    def __init__(self, lines: ProgressLines, plan: FaultPlan) -> None:
        self._lines, self._plan = lines, plan

    def line(self) -> FaultyProgress:
        return FaultyProgress(self._lines.line(), self._plan)


class FaultyPrinter:
    """`Printer` with `error` (`OSError`), `absent` (no means), or a PDF that is `flip` or `cut`."""

    def __init__(self, printer: Printer, plan: FaultPlan) -> None:
        self._printer, self._plan = printer, plan

    def pdf(self, sheet: Sheet) -> bytes | None:
        fault = self._plan.draw("pdf", sheet.title, among=("error", "absent", "flip", "cut"))
        if fault == "error":
            raise OSError(5, "simulated failure of a font")
        made = None if fault == "absent" else self._printer.pdf(sheet)
        return None if made is None else spoiled(made, fault, self._plan.random)
