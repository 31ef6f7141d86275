"""Who writes the batches of a restore: threads, or processes that do not take turns at a lock.

A batch of large files is written as fast by threads, which start at once.  Many small files are
written by processes (`processes.py`), where the sources are folders: connections cannot be shared.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final, NamedTuple, Protocol

from overland.agent.points.chunks import Job
from overland.agent.processes import (
    CarriedError,
    Team,
    can_fork,
    carried,
    original,
    processors,
)
from overland.agent.restore.batch import FileTask, Prepared
from overland.agent.restore.report import Shortfall
from overland.agent.restore.work import Writers
from overland.agent.sources import Served
from overland.ports.progress import Progress

__all__ = ["Crew", "Work"]

_MANY_FILES: Final = 2048
"""From so many files on the start of processes, some hundredths of a second, is worth it."""

_FEW_FILES: Final = 256
"""A batch of fewer is written at once, between those that processes write."""

_MOST_PROCESSES: Final = 4
"""Each takes 40 MiB of its own, and what it touches of the plan."""

_WRITTEN_OUT_FILES: Final = 8192
"""After so many the system is asked to write them out, while the processes create the next ones.

By itself it waits for half a minute, and the last sync for nearly all of a restore that takes less.
Files count and not bytes, because long ones go past the page cache.
"""

_NEARLY_DONE: Final = 4
"""Of the last quarter of a batch nothing is written out early, so that the next one can begin."""

_VERIFIED_TOGETHER: Final = 64


class Work(Protocol):
    """A batch that is being written."""

    def poll(self) -> None:
        """Take what is done so far into account, without waiting.

        Raises:
            Exception: As `wait`.
        """
        ...

    def wait(self) -> None:
        """Return when all is done; the first error that stops a restore ends the rest.

        To wait again does nothing.

        Raises:
            OutOfSpace: The target is full.
            TransientError: A source did not answer, and no other has the object.
            WorkerLost: A process was killed.
            OSError: A device failed.
        """
        ...


class Crew:
    """Writes batches, by threads or processes: which, shows with the first one."""

    def __init__(
        self,
        writers: Writers,
        progress: Progress,
        *,
        threads: int,
        processes: int | None,
        is_synced: bool,
    ) -> None:
        """Prepare; nothing starts yet.

        Args:
            writers: Know how to write a file.
            progress: Is told what is done.
            threads: How many, where threads do the work.
            processes: How many, where processes do it; None for as many as help, where the system
                can have them; 0 for threads.
            is_synced: Whether the restore ends when all of it is on the disk.
        """
        self._writers, self._progress, self._is_synced = writers, progress, is_synced
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="restore")
        self._is_asked = processes is not None
        count = min(processors(), _MOST_PROCESSES) if processes is None else processes
        is_possible = count > 1 and writers.store.objects.are_local
        self._processes = count if is_possible and (self._is_asked or can_fork()) else 0
        self._is_chosen = False
        self._work: _Shared | None = None

    @property
    def may_fork(self) -> bool:
        """Whether processes may do the work, if it turns out to be much."""
        return self._processes > 0

    def close(self) -> None:
        """End threads and processes, in the middle of their work if they have any."""
        if self._work is not None:
            self._work.kill()
        self._pool.shutdown(cancel_futures=True)

    def start(self, prepared: Prepared) -> Work:
        """Begin with all jobs of a batch; the one before it is finished."""
        if not self._is_chosen:
            # Once threads have started there is no forking any more.
            self._is_chosen = True
            is_worth = len(prepared.pieces) >= _MANY_FILES and can_fork()
            if not (self._is_asked or is_worth):
                self._processes = 0
        prepared.begin()
        if not self._processes:
            return _Threads([self._pool.submit(self._do, job, prepared) for job in prepared.jobs])
        if len(prepared.pieces) < _FEW_FILES:
            return _Here(self._do, prepared)
        self._work = _Shared(
            self._writers,
            self._progress,
            prepared,
            processes=self._processes,
            is_synced=self._is_synced,
        )
        self._work.start()
        if not self._work.is_working:  # the system allows no process
            return _Here(self._do, prepared)
        return self._work

    def verify(self, prepared: Prepared) -> list[FileTask]:
        """Read back every file of a batch; return those that are not what was stored.

        What was written is dropped from the cache, so that the medium itself is asked.
        """
        if self._processes and len(prepared.pieces) >= _FEW_FILES:
            return _verified(self._writers, prepared, self._processes)
        numbers = range(len(prepared.pieces))
        check = self._writers.is_as_stored
        if self._processes:
            held = [check(prepared, number) for number in numbers]
        else:
            held = list(self._pool.map(lambda number: check(prepared, number), numbers))
        return [prepared.tasks[number] for number in numbers if not held[number]]

    def _do(self, job: Job, prepared: Prepared) -> None:
        self._progress.advance(*self._writers.write(job, prepared))


class _Threads:
    """A batch that threads write."""

    def __init__(self, futures: list[Future[None]]) -> None:
        self._futures = futures

    def poll(self) -> None:
        """Do nothing: they share all that they know."""

    def wait(self) -> None:
        """Return when all is written; see the protocol.

        The first error is raised when the threads are done with the jobs that they had begun.
        """
        done, _ = wait(self._futures, return_when=FIRST_EXCEPTION)
        failed = next((f for f in done if not f.cancelled() and f.exception()), None)
        if failed is not None:
            for future in self._futures:
                future.cancel()
            wait(self._futures)
            failed.result()


class _Here:
    """A batch that this thread writes, when it is waited for."""

    def __init__(self, do: Callable[[Job, Prepared], None], prepared: Prepared) -> None:
        self._do, self._prepared = do, prepared
        self._jobs = iter(prepared.jobs)

    def poll(self) -> None:
        """Do nothing: it has not begun."""

    def wait(self) -> None:
        """Write what is not written yet; see the protocol."""
        for job in self._jobs:
            self._do(job, self._prepared)


class _Outcome(NamedTuple):
    """What a process reports of a job.

    Attributes:
        failed: By the number of the piece: why the file is not complete, and the packs to blame.
        lacking: What `Recorder.take_shortfalls` gave.
        served: What was read from the sources, in their order.
    """

    size_bytes: int
    files: int
    failed: dict[int, tuple[CarriedError, frozenset[str]]]
    lacking: tuple[int, list[Shortfall]]
    served: list[Served]


class _Shared:
    """A batch that processes write; a file of which several have parts is ended in this one."""

    def __init__(
        self,
        writers: Writers,
        progress: Progress,
        prepared: Prepared,
        *,
        processes: int,
        is_synced: bool,
    ) -> None:
        self._writers, self._progress, self._prepared = writers, progress, prepared
        self._is_synced, self._is_idle = is_synced, False
        self._unwritten, self._left = 0, len(prepared.jobs)
        self._served = writers.store.objects.served
        self._team = Team(
            len(prepared.jobs), processes=processes, work=self._write, take=self._taken
        )

    def start(self) -> None:
        """Start the processes."""
        try:
            self._team.start()
        except BaseException:
            self._note_unknown()
            raise

    @property
    def is_working(self) -> bool:
        """Whether a process still runs."""
        return self._team.is_working

    def poll(self) -> None:
        """Take into account what the processes have reported; see the protocol.

        After an error every file that is not done counts as begun.
        """
        try:
            self._team.poll()
        except BaseException:
            self._note_unknown()
            raise

    def wait(self) -> None:
        """Return when all is written; see the protocol.

        After an error the processes are ended, and every file that is not done counts as begun.
        """
        self._is_idle = True
        try:
            self._write_out()  # what was taken while there was something else to do
            self._team.wait()
        except BaseException:
            self._team.kill()
            self._note_unknown()
            raise

    def kill(self) -> None:
        """End the processes, in the middle of their work if they have any."""
        if self._team.is_working:
            self._team.kill()
            self._note_unknown()

    def _note_unknown(self) -> None:
        """Take every file that is not done for begun: nobody says any more which are."""
        for task in self._prepared.tasks:
            task.is_created = task.is_created or not task.is_present

    def _taken(self, report: tuple[int, _Outcome]) -> None:
        number, outcome = report
        prepared, job = self._prepared, self._prepared.jobs[number]
        ended = 0
        for stretch in prepared.stretches(job.segments[0], job.segments[-1]):
            piece, _, chunks = prepared.stretch(stretch)
            task = prepared.tasks[piece]
            failure = outcome.failed.get(piece)
            if failure is not None:
                task.is_created = True
                task.error = task.error or original(failure[0])
                task.packs |= failure[1]
            elif task.error is None and task.remaining == chunks and not task.is_created:
                task.is_created = task.is_done = True
                task.remaining = 0
            elif task.error is None:
                task.is_created = True
                task.remaining -= chunks
                assert task.remaining >= 0, "a chunk is written once"
                ended += not task.remaining and self._writers.end_shared(task)
        self._writers.recorder.add_shortfalls(*outcome.lacking)
        for served, more in zip(self._served.values(), outcome.served, strict=True):
            served.reads += more.reads
            served.size_bytes += more.size_bytes
            served.damaged |= more.damaged
        self._progress.advance(outcome.size_bytes, outcome.files + ended)
        self._left -= 1
        self._unwritten += outcome.files + ended
        self._write_out()

    def _write_out(self) -> None:
        """Have the system write out many files, if this process has nothing else to do."""
        is_nearly_done = self._left * _NEARLY_DONE <= len(self._prepared.jobs)
        is_much = self._unwritten >= _WRITTEN_OUT_FILES
        if self._is_synced and self._is_idle and is_much and not is_nearly_done:
            self._unwritten = 0
            self._writers.write_out()

    # -- in the processes -----------------------------------------------------------------------

    def _write(self, number: int) -> tuple[int, _Outcome]:
        prepared, job = self._prepared, self._prepared.jobs[number]
        self._writers.are_parts_shared = True
        for served in self._served.values():
            served.reads = served.size_bytes = 0
        self._writers.recorder.take_shortfalls()  # what the parent has noted itself
        size_bytes, files = self._writers.write(job, prepared)
        failed = {}
        for run in prepared.runs(job.segments[0], job.segments[-1]):
            task = prepared.tasks[prepared.run_task[run]]
            if task.error is not None:
                failed[prepared.run_task[run]] = (carried(task.error), task.packs)
        lacking = self._writers.recorder.take_shortfalls()
        return number, _Outcome(size_bytes, files, failed, lacking, [*self._served.values()])


def _verified(writers: Writers, prepared: Prepared, processes: int) -> list[FileTask]:
    """Have processes read back the files of a batch; return those that are different."""
    count = len(prepared.pieces)
    different: list[int] = []

    def check(number: int) -> tuple[list[int], int, tuple[int, list[Shortfall]]]:
        """Return which of 64 pieces are different, how many bytes held, and the shortfalls."""
        report = writers.recorder.report
        report.verified_bytes = 0
        writers.recorder.take_shortfalls()
        first = number * _VERIFIED_TOGETHER
        numbers = range(first, min(first + _VERIFIED_TOGETHER, count))
        found = [one for one in numbers if not writers.is_as_stored(prepared, one)]
        return found, report.verified_bytes, writers.recorder.take_shortfalls()

    def take(answer: tuple[list[int], int, tuple[int, list[Shortfall]]]) -> None:
        """Add what a process found to the whole, in the parent."""
        found, verified_bytes, lacking = answer
        different.extend(found)
        writers.recorder.count("verified_bytes", verified_bytes)
        writers.recorder.add_shortfalls(*lacking)

    team = Team(-(-count // _VERIFIED_TOGETHER), processes=processes, work=check, take=take)
    try:
        team.start()
        if not team.is_working:  # the system allows no process
            different = [n for n in range(count) if not writers.is_as_stored(prepared, n)]
        team.wait()
    finally:
        team.kill()
    return [prepared.tasks[number] for number in sorted(different)]
