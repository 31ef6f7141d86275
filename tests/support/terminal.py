"""A program at a real pseudo-terminal: what it shows is read, answers and Ctrl-C are typed."""

import os
import pty
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, Self

__all__ = ["CTRL_C", "CTRL_D", "Terminal", "state_of"]

CTRL_C: Final = "\x03"  # the line discipline makes a signal of it
CTRL_D: Final = "\x04"  # and an end of input of this
_PATIENCE_S: Final = 120.0  # against waiting for ever
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`program`, run in a child of this process at a terminal of its own.

    The child is a fork: what a test has patched is patched in it as well.
    """

    def __init__(self, program: Callable[[], object], *words: str, env: Mapping[str, str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            self._pid, self._fd = pty.fork()
        if self._pid == 0:
            _run(program, words, env)
        self._seen, self.output = 0, ""
        self._code: int | None = None

    def expect(self, text: str) -> Self:
        """Wait until the program has shown `text`, after what was expected before."""
        until = time.monotonic() + _PATIENCE_S
        while (at := self.output.find(text, self._seen)) < 0:
            if time.monotonic() > until or not self._read():
                self._give_up(f"{text!r} was not shown")
        self._seen = at + len(text)
        return self

    def type(self, text: str) -> Self:
        """Type keys, without Return."""
        os.write(self._fd, text.encode())
        return self

    def stop(self, key: str) -> Self:
        """Type Ctrl-C or Ctrl-D when the program waits for an answer.

        Python does not notice a signal that comes between showing a question and waiting for the
        answer before the next key; people are not that fast, and a test is.
        """
        until = time.monotonic() + _PATIENCE_S
        while state_of(self._pid) != "S":
            assert time.monotonic() < until, "it never waits"
            time.sleep(0.001)
        return self.type(key)

    def answer(self, question: str, text: str) -> Self:
        """Wait for a question, then type a line."""
        return self.expect(question).type(f"{text}\n")

    def finish(self) -> int:
        """Read to the end; return the exit code."""
        if self._code is None:
            while self._read():
                pass
            _, status = os.waitpid(self._pid, 0)
            os.close(self._fd)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def _give_up(self, problem: str) -> NoReturn:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        raise AssertionError(f"{problem}; it has shown:\n{self.output}")

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], _PATIENCE_S)
        if not ready:
            self._give_up("the program is silent")
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.output = _COLOURS.sub("", self.output + data.decode("utf-8", "replace"))
        return bool(data)


def state_of(pid: int) -> str:
    """Return what a process does, as `ps` says it: S waits, R computes, Z has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _run(program: Callable[[], object], words: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Be the child: the test's own streams are left, the terminal's are taken."""
    code = 70
    try:
        # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(env)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
        sys.argv = ["program", *words]
        try:
            program()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the parent sees it on the terminal
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
