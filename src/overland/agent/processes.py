"""Processes that share a batch of work, each with all that was planned before it began.

Threads take turns at the interpreter's lock; processes do not.  They are forked when the plan is
made, so that plan, keys and open folders need not be sent: nothing of it is in arguments or files.
What comes back is small.  Nobody outlives whom they work for: a process whose parent is gone ends
with its next report, and the parent ends and awaits all that it started.
"""

import contextlib
import gc
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, cast

from overland.errors import OverlandError, TransientError

__all__ = [
    "CarriedError",
    "Forked",
    "Team",
    "WorkerLost",
    "can_fork",
    "carried",
    "fork",
    "original",
    "processors",
]

_NUMBER: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<I")
_READ_BYTES: Final = 1 << 16
_SIGNALS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class WorkerLost(TransientError):
    """A process that restored files was killed, as the system does when memory is short."""

    code = "worker-lost"

    def __init__(self, status: int) -> None:
        why = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(
            f"a process that restored files {why}; what is complete is kept: free some memory "
            "and run again with resume"
        )
        self.status = status


class CarriedError(NamedTuple):
    """An exception on its way between two processes, without its traceback."""

    kind: type[Exception]
    args: tuple[object, ...]
    fields: dict[str, object]


class _Failed(NamedTuple):
    """The last report of a process that cannot go on."""

    error: CarriedError


def can_fork() -> bool:
    """Return whether this process can be doubled safely: on Linux, and without other threads."""
    return sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def carried(error: Exception) -> CarriedError:
    """Return an error in a form that another process can take, whatever its constructor asks.

    One whose parts cannot travel becomes an `OverlandError` with its text.
    """
    kind, args, fields = type(error), error.args, dict(vars(error))
    if isinstance(error, OSError) and error.filename is not None:
        args = (error.errno, error.strerror, error.filename)
    form = CarriedError(kind, args, fields)
    try:
        pickle.dumps(form)
    except (pickle.PicklingError, TypeError, AttributeError):
        form = CarriedError(OverlandError, (str(error),), {})
    return form


def original(form: CarriedError) -> Exception:
    """Return the error again: of its kind, with its fields, and without its traceback."""
    error = form.kind.__new__(form.kind, *form.args)
    error.args = form.args[:2] if isinstance(error, OSError) else form.args
    vars(error).update(form.fields)
    return error


class Forked(NamedTuple):
    """A process that was forked, and the end to read of the pipe that it writes to."""

    pid: int
    fd: int


def fork(
    body: Callable[[int], None],
    *,
    note: Callable[[Forked], None],
    closing: Collection[int] = (),
) -> bool:
    """Start a process that calls `body` with the end to write of a pipe, and ends with it.

    The process ends quietly when it writes to the pipe and nobody has the other end any more.  To
    end and await it before is the caller's part.  Afterwards the same signals are
    blocked as before.

    Args:
        body: What the process does; what it raises ends the process with status 1.
        note: Takes note of the process, before any signal can come between.
        closing: Descriptors of this process that the new one must not keep open.

    Returns:
        False if the system allows no more processes, or has no memory for one.

    Raises:
        OSError: There is no descriptor left for the pipe; nothing was started.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # None may reach the child before its own answer to signals, nor us before it is noted.
        # One that came before comes out of this call, which has blocked them all the same.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        return _fork_unheard(body, note, closing)
    finally:  # nothing else may stand here: if another thread takes a signal, this one is
        # interrupted wherever it is, and no signal would come through any more
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _fork_unheard(
    body: Callable[[int], None], note: Callable[[Forked], None], closing: Collection[int]
) -> bool:
    read, write = os.pipe()
    is_started = False
    try:
        pid = os.fork()
        if pid == 0:
            _run(body, write, (read, *closing))
        note(Forked(pid, read))
        is_started = True
    except OSError:  # no more processes, or no memory for one
        return False
    finally:
        os.close(write)
        if not is_started:
            os.close(read)
    return True


def _run(body: Callable[[int], None], write: int, closing: Collection[int]) -> NoReturn:
    """Do what the process is for; never return into what the parent was doing."""
    status = 1
    try:
        for fd in closing:  # or nobody would notice that the parent is gone
            os.close(fd)
        gc.disable()  # a look for cycles would touch, and so copy, all that is shared
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        body(write)
        status = 0
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        os._exit(status)


class Team:
    """Forked processes that take the numbers of jobs from one queue, until none is left."""

    def __init__(
        self,
        jobs: int,
        *,
        processes: int,
        work: Callable[[int], object],
        take: Callable[[Any], None],
    ) -> None:
        """Prepare; nothing starts yet.

        Args:
            jobs: How many there are; their numbers count from 0.
            processes: How many to start.
            work: Does a job in one of the processes, and returns what is to be reported.
            take: Is given each report, in this process, by `poll` and `wait`.
        """
        self._work, self._take = work, take
        self._pipes: dict[int, _Incoming] = {}
        self._jobs, self._processes = jobs, processes
        self._queue = -1

    def start(self) -> None:
        """Begin; without any process if the system allows none.

        Raises:
            OSError: There is no memory for the queue, or no descriptor; nothing runs.
        """
        self._queue = _queue(self._jobs)
        try:
            for _ in range(min(self._processes, self._jobs)):
                if not self._fork():
                    break
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(self._queue)

    @property
    def is_working(self) -> bool:
        """Whether a process still runs."""
        return bool(self._pipes)

    def poll(self) -> None:
        """Take what was reported so far.

        Raises:
            Exception: What a job raised; every process has ended then.
            WorkerLost: A process was killed; every process has ended then.
        """
        self._receive(0)

    def wait(self) -> None:
        """Return when all is done and every process has ended.

        Raises:
            Exception: As `poll`.
        """
        while self._pipes:
            self._receive(None)

    def kill(self) -> None:
        """End every process at once, wherever it is, and wait until it is gone."""
        for incoming in self._pipes.values():
            os.kill(incoming.pid, signal.SIGKILL)
        for fd in list(self._pipes):
            self._ended(fd)

    # -- in this process ------------------------------------------------------------------------

    def _fork(self) -> bool:
        """Start a process; return whether that worked."""
        return fork(self._do_jobs, note=self._note, closing=self._pipes)

    def _note(self, forked: Forked) -> None:
        os.set_blocking(forked.fd, False)
        self._pipes[forked.fd] = _Incoming(forked.pid)

    def _receive(self, timeout_s: float | None) -> None:
        if not self._pipes:
            return
        poller = select.poll()
        for fd in self._pipes:
            poller.register(fd, select.POLLIN)
        ready = poller.poll(None if timeout_s is None else timeout_s * 1000)
        try:
            for fd, _ in ready:
                self._read(fd)
        except BaseException:
            self.kill()
            raise

    def _read(self, fd: int) -> None:
        incoming = self._pipes[fd]
        while True:
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                break
            for report in incoming.reports(data):
                if isinstance(report, _Failed):
                    raise original(report.error)
                self._take(report)
        status = self._ended(fd)
        if status != 0:
            raise WorkerLost(status)

    def _ended(self, fd: int) -> int:
        incoming = self._pipes.pop(fd)
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(incoming.pid, 0)[1])

    # -- in the processes -----------------------------------------------------------------------

    def _do_jobs(self, write: int) -> None:
        """Do jobs until none is left."""
        outgoing = _Outgoing(write)
        try:
            while record := os.read(self._queue, _NUMBER.size):
                outgoing.send(self._work(_NUMBER.unpack(record)[0]))
        except Exception as error:
            outgoing.send(_Failed(carried(error)))
            outgoing.finish()
            raise  # no further than the process: the parent raises it again
        outgoing.finish()


class _Incoming:
    """Reports of one process, as they arrive."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._rest = b""

    def reports(self, data: bytes) -> Iterator[object]:
        """Take in what the pipe gave; yield each report that is whole, and keep the rest."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._rest)[0]
            if len(self._rest) < end:
                return
            report, self._rest = self._rest[_LENGTH.size : end], self._rest[end:]
            yield cast("object", pickle.loads(report))  # noqa: S301 - a pipe from our own fork


class _Outgoing:
    """A pipe to the parent, which may be busy: what it does not take is kept until it does."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = bytearray()
        os.set_blocking(fd, False)

    def send(self, report: object) -> None:
        """Write a report, as much as the pipe takes at once; the next call and `finish` go on.

        Raises:
            BrokenPipeError: The parent is gone.
        """
        data = pickle.dumps(report)
        self._rest += _LENGTH.pack(len(data)) + data
        with contextlib.suppress(BlockingIOError):
            self._write()

    def finish(self) -> None:
        """Write what is left, and wait until the parent has taken it.

        Raises:
            BrokenPipeError: The parent is gone.
        """
        os.set_blocking(self._fd, True)
        self._write()

    def _write(self) -> None:
        while self._rest:
            del self._rest[: os.write(self._fd, self._rest)]


def _queue(jobs: int) -> int:
    """Return an open file of job numbers: whose next read gets which, the kernel decides.

    Processes that were forked share the position in an open file, and Linux moves it for one
    reader at a time (read(2), since 3.14) - in files that were opened by a path.  What
    `memfd_create` returns is none of these: there, two readers may get the same number.
    """
    made = os.memfd_create("jobs", os.MFD_CLOEXEC)
    try:
        numbers = memoryview(b"".join(map(_NUMBER.pack, range(jobs))))
        while numbers:
            numbers = numbers[os.write(made, numbers) :]
        return os.open(b"/proc/self/fd/%d" % made, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(made)
