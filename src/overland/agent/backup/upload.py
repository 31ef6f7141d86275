"""What a run publishes goes on to the vault while the run goes on.

Packs leave the spool folder side by side, so that the vault's medium has work while one of them is
made durable.  Everything else waits until all that came before it has arrived: index files for the
packs that they describe, the point for both, so that the vault never holds a point whose objects
it lacks.  An object is removed from the spool only when the vault has confirmed it.

The spool need not survive a power cut: whatever is found in it is compared with its name, and made
again where it is damaged or gone.
"""

import hashlib
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self, final

from overland.agent.backup.crew import Crew, Take
from overland.agent.backup.publisher import Published
from overland.agent.sources import named_digest
from overland.errors import TransientError
from overland.events import Log
from overland.ports.clock import Clock
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.values import is_object_name

__all__ = ["Uploader"]

_WAITING: Final = 4  # objects in the spool before the run has to wait: 256 MiB
_AT_ONCE: Final = 2  # packs on their way; a third gained nothing, and each has buffers of its own
_ATTEMPTS: Final = 8
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_PATIENCE_S: Final = 0.2
_SMALL_BYTES: Final = 4 << 20

log = Log()


@final
class Uploader:
    """Carries objects from a spool folder to a store, in threads.  Use as a context manager.

    `submit` is the `on_published` of `back_up`, `drain` its `acknowledge`.
    """

    def __init__(self, objects: Objects, spool: Files, *, clock: Clock) -> None:
        self.sent_bytes = 0
        self._objects, self._spool, self._clock = objects, spool, clock
        self._is_stopped = False
        self._submitted = 0
        self._under_way: set[int] = set()  # numbers of objects that have not arrived
        self._arrived = threading.Condition()

    def __enter__(self) -> Self:
        self._crew = Crew[tuple[int, Published]]("upload", [self._run] * _AT_ONCE, limit=_WAITING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop()  # what waits stays in the spool
        self._crew.end()
        if error is None:
            self._crew.raise_failure()

    def resume(self) -> int:
        """Send what an interrupted run left in the spool; return how many objects that were.

        Call before the thread has work.  What is not what its name promises is removed, and so is
        every point: nothing says that it is whole, or that all that it names has arrived, and
        nobody took note of it.  The new run makes them again.

        Raises:
            As `submit`.
        """
        left = [info for info in self._spool.names() if is_object_name(info.name)]
        left.sort(key=lambda info: (_ORDER.index(info.name.partition("/")[0]), info.name))
        sent = 0
        for info in left:
            sha256, promised = self._digest(info.name), named_digest(info.name)
            if promised != sha256:
                problem = "damaged in the spool" if promised else "its run did not come to its end"
                log.warning("object.dropped", object=info.name, problem=problem)
                self._spool.delete(info.name)
                continue
            self._send(info.name, size_bytes=info.size_bytes, sha256=sha256)
            sent += 1
        return sent

    def submit(self, published: Published) -> None:
        """Send an object of the spool soon; waits while too many do.

        Call from one thread at a time.

        Raises:
            What the store answered to this object or one before: nothing goes on after it.
        """
        with self._arrived:
            number = self._submitted
            self._submitted += 1
            self._under_way.add(number)
        self._crew.hand_over((number, published))

    def drain(self) -> None:
        """Return when the store has confirmed everything that was submitted.

        Raises:
            As `submit`.
        """
        with self._arrived:
            while self._under_way:
                self._crew.raise_failure()
                self._arrived.wait(_PATIENCE_S)

    def _run(self, take: Take[tuple[int, Published]]) -> None:
        while (work := take()) is not None:
            number, published = work
            if published.name.startswith("packs/") or self._is_first(number):
                self._carry(number, published)

    def _is_first(self, number: int) -> bool:
        """Wait until all that came before this object has arrived; return whether it has.

        Work is taken in order, so somebody carries the first one, and waits for nobody.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._is_stopped or min(self._under_way) == number)
            return not self._is_stopped

    def _carry(self, number: int, work: Published) -> None:
        if self._is_stopped:
            return
        try:
            self._send(work.name, size_bytes=work.size_bytes, sha256=work.sha256)
        except BaseException:
            self._stop()  # nothing goes on after it
            raise
        with self._arrived:
            self._under_way.remove(number)
            self._arrived.notify_all()

    def _stop(self) -> None:
        with self._arrived:
            self._is_stopped = True
            self._arrived.notify_all()

    def _send(self, name: str, *, size_bytes: int, sha256: str) -> None:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                content = self._content(name, size_bytes)
                self._objects.put(name, content, size_bytes=size_bytes, sha256=sha256)
                break
            except TransientError as error:
                if attempt == _ATTEMPTS:
                    raise
                log.warning("upload.repeated", object=name, attempt=attempt, problem=str(error))
                self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self.sent_bytes += size_bytes
        self._spool.delete(name)
        log.debug("object.uploaded", object=name, size_bytes=size_bytes)

    def _content(self, name: str, size_bytes: int) -> Iterable[bytes | memoryview]:
        # What was just written and is small comes from memory: the medium may not have it yet.
        return [self._spool.read(name)] if size_bytes <= _SMALL_BYTES else self._spool.blocks(name)

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        for block in self._spool.blocks(name):
            digest.update(block)
        return digest.hexdigest()


_ORDER: Final = ("keys", "packs", "index", "points")
