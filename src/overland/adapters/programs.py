"""Programs of the system, for real; see `overland.ports.programs`.

Few runs start any: what starts them is loaded with the first one.
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from overland.ports.programs import Finished, ProgramAbsent

if TYPE_CHECKING:
    import subprocess

__all__ = ["SystemPrograms"]

_GRACE_S: Final = 5.0  # to end after SIGTERM, before SIGKILL


@final
class SystemPrograms:
    """Starts programs with this process's environment; fulfils `Programs`."""

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        """Run a program to its end; see the port."""
        import subprocess  # noqa: PLC0415 - as said above

        _keep_statuses()
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as late:
            return Finished(
                status=-signal.SIGKILL, output=late.stdout or b"", errors=late.stderr or b""
            )
        except (OSError, ValueError) as error:
            raise _absent(argv, error) from None
        return Finished(status=done.returncode, output=done.stdout, errors=done.stderr)

    def start(self, argv: Sequence[str]) -> "SystemProgram":
        """Start a program; see the port."""
        import subprocess  # noqa: PLC0415 - as said above

        _keep_statuses()
        try:
            # A session of its own: what it starts in turn can be ended with it.
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise _absent(argv, error) from None
        return SystemProgram(process)


@final
class SystemProgram:
    """A program at work; fulfils `Running`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None, "it was started with a pipe"
        self._process, self._pipe = process, process.stdout

    @property
    def fd(self) -> int:
        """The descriptor that its standard output is read from."""
        return self._pipe.fileno()

    def finish(self, *, timeout_s: float) -> int | None:
        """Return its exit status, or None if it still runs; see the port."""
        import subprocess  # noqa: PLC0415 - as said above

        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End it, with what it started, if it still runs; see the port."""
        import subprocess  # noqa: PLC0415 - as said above

        self._pipe.close()
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        # What it started may have outlived it; the group is gone when nothing has.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _keep_statuses() -> None:
    """Have the system keep how programs end.

    A process that ignores SIGCHLD is never told, and its children inherit that: a service manager
    or a cron of that kind would make every program look as if it had ended well.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _absent(argv: Sequence[str], error: Exception) -> ProgramAbsent:
    problem = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return ProgramAbsent(argv[0], problem=problem)
