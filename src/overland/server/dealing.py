"""Connections of one listening socket, dealt out to several event loops.

What an event loop does for TLS it does in one thread, and decrypting a gibibyte takes more than a
second of it; OpenSSL lets other threads run meanwhile.  So the data plane has several loops, each
in a thread of its own.  If they all listened at one socket, whichever woke first would take all
the connections that came together; here they get them in turn.
"""

import array
import contextlib
import errno
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

from typing_extensions import override

__all__ = ["Dealer", "DealtListener", "dealing"]

_PAUSE_S: Final = 1.0  # when no more can be opened; asyncio's own servers wait as long
_ONE: Final = b"+"


class DealtListener(socket.socket):
    """What stands for a listening socket in one event loop: accepts what it was dealt."""

    @override
    def listen(self, backlog: int = 0, /) -> None:
        """Do nothing: the dealer's socket listens."""

    @override
    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: None has come.
            OSError: As of accept(2): this process may open no more files.
        """
        _, came, _, _ = socket.recv_fds(self, len(_ONE), 1, socket.MSG_CMSG_CLOEXEC)
        if not came:  # the kernel has closed it
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        connection = socket.socket(fileno=came[0])
        try:
            return connection, connection.getpeername()
        except OSError:  # it has gone already; reading will tell
            return connection, None


class Dealer:
    """Accepts connections in a thread, and hands them to the listeners in turn."""

    def __init__(
        self, listening: socket.socket, listeners: list[DealtListener], ends: list[socket.socket]
    ) -> None:
        """Accept from `listening`; `ends` are the other ends of `listeners`."""
        self.listeners = listeners
        self._listening, self._ends = listening, ends
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Accept no more; at once, and from any thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):  # it was stopped before
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept(2)

    def work(self) -> None:
        """Deal until `stop`."""
        turns = itertools.cycle(self._ends)
        while not self._stopping.is_set():
            try:
                connection, _ = self._listening.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                self._stopping.wait(_PAUSE_S)
                continue
            # A listener that was closed takes none: its loop has ended, and so will this.
            with connection, contextlib.suppress(OSError):
                descriptors = array.array("i", [connection.fileno()])
                socket.send_fds(next(turns), [_ONE], descriptors)


@contextlib.contextmanager
def dealing(listening: socket.socket, count: int) -> Iterator[Dealer]:
    """Deal the connections of `listening` to `count` listeners while the block runs.

    `listening` stays the caller's, but does not listen any more afterwards.  A connection that no
    listener has accepted by then is closed.
    """
    assert count > 0, "somebody has to take them"
    listening.settimeout(None)
    with contextlib.ExitStack() as closing:
        listeners, ends = list[DealtListener](), list[socket.socket]()
        for _ in range(count):
            taking, giving = socket.socketpair()
            listeners.append(closing.enter_context(DealtListener(fileno=taking.detach())))
            ends.append(closing.enter_context(giving))
        dealer = Dealer(listening, listeners, ends)
        thread = threading.Thread(target=dealer.work, name="dealer")
        thread.start()
        try:
            yield dealer
        finally:
            dealer.stop()
            for end in ends:  # who waits for room in one is woken too
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            thread.join()
