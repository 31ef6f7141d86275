"""Long work that survives restarts, over DBOS with its own SQLite file.

What was found in DBOS 3.4, and shapes this module:

- Its state is global: a process has one engine at a time.  A SQLite file has one owning process;
  a lock beside the file makes sure of it.
- Recovery looks for work of the same executor id and the same application version, so both are
  constants: whoever opens the file next, after an update too, takes the work over.
- It would store exceptions pickled, and most of ours cannot be built again from their text alone;
  so values are stored as `enginestore` says.
- `launch` resumes interrupted works in the background, before it returns.
- `destroy` does not wait for a step that runs.  An exception that is no `Exception` leaves a work
  pending; `close` uses that at the next border between two steps.
- The import takes more than a second, so it happens in `launch`.
- It sends nothing anywhere: Conductor and tracing are off without a key and `enable_otlp`.
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from overland.errors import OverlandError, RefusedError, TransientError
from overland.events import Log
from overland.locks import lock
from overland.ports.engine import Run, Step

if TYPE_CHECKING:
    from dbos import DBOS

__all__ = ["DbosEngine", "EngineInUse"]

log = Log()

_QUEUE: Final = "overland"
_WORKFLOW: Final = "overland.work"
_EXECUTOR: Final = "overland"
_VERSION: Final = "1"  # of the way works are stored, not of the program
_POLL_S: Final = 0.1  # how soon started work begins
_WAIT_S: Final = 0.02  # between two looks at a work, and then longer: a look costs a query
_MAX_WAIT_S: Final = 0.2
_CLOSE_TIMEOUT_S: Final = 60.0  # a step moves a few hundred objects
_PAUSES_S: Final = (0.5, 1.0, 2.0)  # after which a step whose world was briefly away is repeated

_process_lock = threading.Lock()  # DBOS is one per process


class EngineInUse(RefusedError):
    """Another process, or another engine of this one, has the engine's file."""

    code = "engine-in-use"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is in use; stop the other server or command that works with it, and run again"
        )
        self.path = path


class _Stopped(BaseException):
    """The engine closes: the work stays pending.  No `Exception`, so DBOS does not record it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    plan: Callable[[str], list[str]]
    step: Step
    finish: Step


class DbosEngine:
    """`Engine` over DBOS; a step that raises `TransientError` is tried again a few times."""

    def __init__(
        self,
        database_path: Path,
        name: str,
        *,
        workers: int = 4,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep works in the file `database_path`, made when absent.

        Args:
            database_path: Its folder exists.
            name: The program's name in the file, such as `cloud`; keep it for a file's life.
            workers: How many works run at a time; others wait in the file.
            pause: Sleeps between two attempts of a step.
        """
        self._path, self._name, self._workers, self._pause = database_path, name, workers, pause
        self._kinds: dict[str, _Kind] = {}
        self._dbos: type[DBOS] | None = None
        self._run: Callable[[str, str], str] | None = None
        self._closing = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._running = 0
        self._idle = threading.Condition()

    def register(
        self, work: str, *, plan: Callable[[str], list[str]], step: Step, finish: Step
    ) -> None:
        """Define a kind of work, before `launch`; see the port."""
        assert self._dbos is None, "works are known before interrupted ones go on"
        assert work not in self._kinds, "a work is defined once"
        self._kinds[work] = _Kind(plan=plan, step=step, finish=finish)

    def launch(self) -> None:
        """Open the engine's store and resume interrupted work.

        Raises:
            EngineInUse: Somebody else has it open.
        """
        assert self._dbos is None, "launched once"
        with contextlib.ExitStack() as undo:
            undo.enter_context(_held(self._path))
            # Works name tenants' seeds and drives: nobody else on this computer reads them.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._stopping.clear()
            _silence()
            from dbos import DBOS, DBOSConfig  # noqa: PLC0415 - costs more than a second

            from overland.adapters.enginestore import JsonSerializer  # noqa: PLC0415 - the same

            undo.callback(DBOS.destroy, destroy_registry=True)
            config = DBOSConfig(
                name=f"overland-{self._name}",
                system_database_url=f"sqlite:///{self._path}",
                application_version=_VERSION,
                executor_id=_EXECUTOR,
                serializer=JsonSerializer(),
                enable_otlp=False,
                log_level="ERROR",
                # Nothing here waits for notifications, so a look costs nothing, but `close` waits
                # for the thread that looks.
                notification_listener_polling_interval_sec=0.05,
            )
            DBOS(config=config)

            # However often it is interrupted, a work goes on: no limit to the attempts.
            @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
            def run(work: str, argument: str) -> str:
                """Run a whole work; return its result, which DBOS keeps, as it keeps a failure."""
                return self._work(work, argument)

            # DBOS resumes interrupted works before its `launch` returns, and they need both.
            undo.callback(self._stop)
            self._dbos, self._run = DBOS, run
            DBOS.launch()
            DBOS.register_queue(
                _QUEUE,
                worker_concurrency=self._workers,
                polling_interval_sec=_POLL_S,
                on_conflict="always_update",
            )
            self._closing = undo.pop_all()

    def start(self, work: str, *, key: str, argument: str) -> None:
        """Begin the work in the background; do nothing if a run of this key exists."""
        assert work in self._kinds, f"no work {work} was registered"
        assert self._dbos is not None, "launched before"
        assert self._run is not None, "launched before"
        from dbos import SetWorkflowID  # noqa: PLC0415 - imported by `launch`

        if self.find(key) is not None:
            return
        with SetWorkflowID(key):
            self._dbos.enqueue_workflow(_QUEUE, self._run, work, argument)

    def wait(self, key: str, *, timeout_s: float) -> Run:
        """Return when the work has ended, or its present state when the time is over."""
        end_s, pause_s = time.monotonic() + timeout_s, _WAIT_S
        while True:
            run = self.find(key)
            assert run is not None, f"no run {key} was started"
            if run.state != "running" or time.monotonic() >= end_s:
                return run
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_WAIT_S)

    def find(self, key: str) -> Run | None:
        """Return the present state of a run, or None if there is none."""
        assert self._dbos is not None, "launched before"
        status = self._dbos.get_workflow_status(key)
        if status is None:
            return None
        if status.status == "SUCCESS":
            assert isinstance(status.output, str), "a work's result is a text"
            return Run(key=key, state="done", result=status.output, error=None)
        if status.status in {"ENQUEUED", "PENDING", "DELAYED"}:
            return Run(key=key, state="running", result=None, error=None)
        return Run(key=key, state="failed", result=None, error=str(status.error or status.status))

    def close(self) -> None:
        """Stop; steps that run end first, and their works are resumed by the next `launch`."""
        self._closing.pop_all().close()

    def _stop(self) -> None:
        """Let the steps that run end, and no other begin."""
        self._stopping.set()
        with self._idle:
            if not self._idle.wait_for(lambda: self._running == 0, timeout=_CLOSE_TIMEOUT_S):
                # Its step will run again; steps are safe to run twice.
                log.warning("engine.closed_in_a_step", works=self._running)
        self._dbos = self._run = None

    def _work(self, work: str, argument: str) -> str:
        """Run a whole work; what DBOS knows as the workflow."""
        with self._idle:
            self._running += 1
        try:
            return self._steps(work, argument)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _steps(self, work: str, argument: str) -> str:
        """Run the steps that have no recorded result; the order is the same in every life."""
        kind = self._kinds.get(work)
        if kind is None:
            # An older program met a newer one's work; it stays for the next launch.
            log.error("engine.work_unknown", work=work)
            raise _Stopped
        plan = self._recorded("plan", lambda: json.dumps(kind.plan(argument)))
        for each in json.loads(plan):
            self._recorded("step", partial(kind.step, each))
        return self._recorded("finish", partial(kind.finish, argument))

    def _recorded(self, name: str, call: Callable[[], str]) -> str:
        """Run a step unless an earlier life has; return its result, or raise what it raised."""
        if self._stopping.is_set() or self._dbos is None:
            raise _Stopped
        return self._dbos.run_step({"name": name}, self._attempt, call)

    def _attempt(self, call: Callable[[], str]) -> str:
        for pause_s in _PAUSES_S:
            with contextlib.suppress(TransientError):
                return self._once(call)
            self._pause(pause_s)
        return self._once(call)

    def _once(self, call: Callable[[], str]) -> str:
        try:
            return call()
        except OverlandError:
            raise
        except Exception:
            log.exception("engine.step_failed")  # a mistake of ours, or a failing device
            raise


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Own the file, in this process and among all processes."""
    if not _process_lock.acquire(blocking=False):
        raise EngineInUse(path)
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not lock(fd):
                raise EngineInUse(path)
            yield
        finally:
            os.close(fd)
    finally:
        _process_lock.release()


def _silence() -> None:
    """Keep DBOS from writing to the terminal: it adds its own handler where it finds none."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
