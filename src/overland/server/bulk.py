"""Request bodies from the socket into the buffers they are stored from.

uvicorn hands a body on in pieces of at most 256 KiB, each copied five times on its way, and stops
reading after each.  This protocol reads a long body where it will be hashed and written from: TLS
decrypts into a buffer of 4 MiB, which goes to the storing thread as it is.  Heads, answers and
every other request are uvicorn's and h11's, unchanged; `docs/decisions/0025-bulk-bodies.md` has
the figures.

It is for applications that know it: the data plane's.  That one finds such a body as `BODY` in the
extensions of its ASGI scope.  As long as it has not asked for the first buffer, nothing of the
body is read.  What it does not read before it answers is taken from the line and forgotten, so
that the connection stays usable.

On the socket of this computer a request can bring a file instead of a body: `server.attached`.
"""

import asyncio
import mmap
import queue
from typing import Any, Final, cast

import h11
from typing_extensions import override
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from overland.buffers import new_buffer
from overland.server.attached import FILES, AttachedFiles, attached_to

__all__ = ["BODY", "BUFFER_BYTES", "Body", "BulkProtocol"]

BODY: Final = "overland.body"
"""The key of a `Body` in `scope["extensions"]`."""

BUFFER_BYTES: Final = 4 << 20
"""Written to the device at a time, past the page cache; see `adapters.medium`."""

_HEAD_BYTES: Final = 64 << 10  # also for what nobody wants
_SPARE: Final = 12  # what the four uploads of two drives hold; more drives make new ones


class _Spare:
    """Buffers for reuse: fresh memory costs a page fault for every page."""

    def __init__(self) -> None:
        self._buffers: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()

    def take(self) -> mmap.mmap:
        """Return a buffer of `BUFFER_BYTES`, with whatever lies in it; from any thread."""
        try:
            return self._buffers.get_nowait()
        except queue.Empty:
            return new_buffer(BUFFER_BYTES)

    def give(self, buffer: mmap.mmap) -> None:
        """Keep a buffer for `take`, or let it go where a dozen are kept; from any thread."""
        if self._buffers.qsize() < _SPARE:
            self._buffers.put(buffer)


_spare = _Spare()


class Body:
    """One request's body; for the event loop only, but for `give`."""

    def __init__(self, first: bytes, left_bytes: int, flow: FlowControl) -> None:
        """Begin with what came with the head; `left_bytes` are still to come."""
        self.left_bytes = left_bytes  # on the line
        self.arrived_bytes = len(first)
        self.is_wanted = True
        self._flow, self._first = flow, first
        self._buffer: mmap.mmap | None = None
        self._filled, self._is_broken = 0, False
        self._came = asyncio.Event()

    async def fill(self) -> memoryview | None:
        """Return the next buffer when it is full, or the body's last; None after its end.

        When this is cancelled the buffer stays, and the next call goes on filling it.  The view is
        the caller's until `give`.

        Raises:
            ConnectionResetError: The sender has gone.
        """
        if self._buffer is None:
            self._begin()
        while self._filled < BUFFER_BYTES and self.left_bytes and not self._is_broken:
            self._came.clear()
            self._flow.resume_reading()
            await self._came.wait()
        if self._is_broken:
            raise ConnectionResetError
        assert self._buffer is not None, "begun above"
        view = memoryview(self._buffer)[: self._filled]
        self._buffer, self._filled = None, 0
        if len(view):
            return view
        self.give(view)
        return None

    def room(self) -> memoryview | None:
        """Return where the next bytes of the line belong; None as long as nobody wants them."""
        if self._buffer is None or not self.is_wanted:
            return None
        stop = min(BUFFER_BYTES, self._filled + self.left_bytes)
        assert stop > self._filled, "nothing is read from the line while the buffer is full"
        return memoryview(self._buffer)[self._filled : stop]

    def took(self, size_bytes: int) -> None:
        """Note that so many bytes were read from the line."""
        assert 0 < size_bytes <= self.left_bytes, "the line gives no more than was asked for"
        self.left_bytes -= size_bytes
        self.arrived_bytes += size_bytes
        if not self.is_wanted:
            return
        self._filled += size_bytes
        if self._filled == BUFFER_BYTES or not self.left_bytes:
            self._flow.pause_reading()
            self._came.set()

    def end(self) -> None:
        """Note that the sender has gone."""
        self._is_broken = True
        self._came.set()

    @staticmethod
    def give(view: memoryview) -> None:
        """Take a buffer back that `fill` returned; from any thread."""
        buffer = view.obj
        assert isinstance(buffer, mmap.mmap), "the caller gives back what `fill` returned"
        view.release()
        _spare.give(buffer)

    def _begin(self) -> None:
        self._buffer = _spare.take()
        self._buffer[: len(self._first)] = self._first
        self._filled, self._first = len(self._first), b""


class BulkProtocol(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP/1.1 over h11, with a way of its own for the bodies of uploads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._small = memoryview(bytearray(_HEAD_BYTES))
        self._body: Body | None = None
        self._files: AttachedFiles | None = None

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the line's next bytes go."""
        if self._body is None:
            return self._small
        room = self._body.room()
        return self._small[: self._body.left_bytes] if room is None else room

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that have come."""
        if self._body is None:
            before = self.cycle
            self.data_received(bytes(self._small[:nbytes]))
            if self.cycle is not before:
                self._look_for_files()
                self._look_for_body()
            return
        self._unset_keepalive_if_required()
        self._body.took(nbytes)
        if not self._body.left_bytes and not self._body.is_wanted:
            self._next_request()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End the body too."""
        if self._body is not None:
            self._body.end()
        if self._files is not None:
            self._files.close()
        super().connection_lost(exc)

    @override
    def on_response_complete(self) -> None:
        """Go on to the next request, behind what is left of this one's body."""
        super().on_response_complete()
        if self._files is not None:
            self._files.close()
        if self._body is None or self.transport.is_closing():
            return
        self._body.is_wanted = False
        if not self._body.left_bytes:
            self._next_request()

    def _look_for_files(self) -> None:
        """Hand on what came with the request, where something can."""
        self._files = attached_to(self.transport)
        if self._files is not None:
            _extensions(self.cycle.scope)[FILES] = self._files

    def _look_for_body(self) -> None:
        """Take over from h11 where an upload's body begins, if it is long."""
        cycle, conn = self.cycle, self.conn
        is_over = not cycle.more_body or conn.their_state is not h11.SEND_BODY
        if is_over or cycle.waiting_for_100_continue:
            return
        headers = dict(cycle.scope["headers"])
        if cycle.scope["method"] != "PUT" or b"content-length" not in headers:
            return  # chunked, which no upload of ours is
        # Nobody has read from the cycle yet, so all that has come of the body lies in it.
        left_bytes = int(headers[b"content-length"]) - len(cycle.body)
        assert left_bytes > 0, "h11 would have seen the body's end"
        self._body = Body(bytes(cycle.body), left_bytes, self.flow)
        cycle.body.clear()
        _extensions(cycle.scope)[BODY] = self._body
        self.flow.pause_reading()

    def _next_request(self) -> None:
        """Give the line back to h11, which did not see this body and begins anew."""
        self._body = None
        limit = self.config.h11_max_incomplete_event_size
        self.conn = (
            h11.Connection(h11.SERVER) if limit is None else h11.Connection(h11.SERVER, limit)
        )


def _extensions(scope: HTTPScope) -> dict[str, object]:
    extensions = scope.setdefault("extensions", {})
    return cast("dict[str, object]", extensions)  # the type knows dictionaries only
