"""Objects of a store that are proven side by side: packs by processes where that can be.

Threads take turns at the interpreter's lock at every chunk, so that of many small chunks two
threads prove hardly more than one.  Processes are forked when the index is loaded; keys and open
places are theirs without being sent, and what each reports of a pack is a few numbers.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

from overland.agent.check.content import PackProof
from overland.agent.processes import (
    CarriedError,
    Team,
    WorkerLost,
    can_fork,
    carried,
    original,
    processors,
)
from overland.errors import IntegrityError, ObjectAbsent
from overland.ports.objects import Objects
from overland.values import ObjectInfo

__all__ = ["by_threads", "is_worth_processes", "prove_by_processes"]

T = TypeVar("T")

_IN_FLIGHT: Final = 4
"""Objects at a time for each thread: enough to keep it busy, and memory is bounded."""

_MANY_BYTES: Final = 32 << 20
"""From so many on two processes save more than their start takes, some hundredths of a second."""

_MOST_PROCESSES: Final = 4
"""Each takes 20 to 40 MiB of its own."""

Prove = Callable[[ObjectInfo], PackProof]
Take = Callable[[ObjectInfo, Callable[[], PackProof]], None]
Report = tuple[int, PackProof | CarriedError]


def is_worth_processes(objects: Objects, packs: Iterable[ObjectInfo]) -> bool:
    """Return whether processes may and should prove these packs.

    Connections cannot be shared, so it is only for folders; and not where threads run already.
    """
    if not getattr(objects, "is_local", False) or processors() < 2:
        return False
    return sum(info.size_bytes for info in packs) >= _MANY_BYTES and can_fork()


def prove_by_processes(
    packs: Sequence[ObjectInfo],
    prove: Prove,
    *,
    take: Take,
    meanwhile: Callable[[Callable[[], None]], None],
) -> Iterator[ObjectInfo]:
    """Prove packs, the largest first so that all processors are busy to the end.

    Takes 24 bytes for each pack, and no list of them.

    Args:
        packs: Their names and sizes; each process asks for those that it proves.
        prove: Proves one of them, in one of the processes.
        take: Is given each pack, here, and what returns its proof or raises what was found.
        meanwhile: Is done here while they work; it calls its argument now and then, which takes
            what is reported so far.

    Returns:
        Packs that nobody has proven: all of them where the system allows no process, and some
        where it has killed one.

    Raises:
        Exception: What `prove` raised, but for damage and absence, which `take` gets.
    """
    sizes = np.fromiter((info.size_bytes for info in packs), np.int64, len(packs))
    order = np.argsort(-sizes, kind="stable")
    left = bytearray(b"\x01" * len(packs))

    def pack(number: int) -> ObjectInfo:
        return packs[int(order[number])]

    def work(number: int) -> Report:
        try:
            return number, prove(pack(number))
        except (IntegrityError, ObjectAbsent) as error:
            return number, carried(error)

    def taken(report: Report) -> None:
        number, outcome = report
        left[number] = 0
        take(pack(number), lambda: _held(outcome))

    processes = min(processors(), _MOST_PROCESSES)
    team = Team(len(packs), processes=processes, work=work, take=taken)
    try:
        team.start()
        if team.is_working:
            meanwhile(team.poll)
        team.wait()
    except WorkerLost:
        pass  # what it had not reported is returned with the rest
    finally:
        team.kill()
    return (pack(number) for number, is_left in enumerate(left) if is_left)


def _held(outcome: PackProof | CarriedError) -> PackProof:
    if isinstance(outcome, CarriedError):
        raise original(outcome)
    return outcome


def by_threads(
    infos: Iterable[ObjectInfo],
    work: Callable[[ObjectInfo], T],
    pool: ThreadPoolExecutor,
    *,
    workers: int,
) -> Iterator[tuple[ObjectInfo, Callable[[], T]]]:
    """Yield objects in their order, and what returns or raises what `work` makes of each."""
    running = deque[tuple[ObjectInfo, Future[T]]]()
    for info in infos:
        running.append((info, pool.submit(work, info)))
        if len(running) >= workers * _IN_FLIGHT:
            first, future = running.popleft()
            yield first, future.result
    for info, future in running:
        yield info, future.result
