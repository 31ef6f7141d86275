"""Programs run as the port says, and never outlive their run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overland.adapters.programs import SystemPrograms
from overland.ports.programs import ProgramAbsent

PROGRAMS = SystemPrograms()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_is_run_without_a_shell_and_its_end_is_told() -> None:
    done = PROGRAMS.run([*python("import sys; print(sys.argv[1]); sys.exit(3)"), "$HOME; *"],
                        timeout_s=120)  # fmt: skip
    assert (done.status, done.output) == (3, b"$HOME; *\n")


def test_a_program_that_takes_too_long_is_killed() -> None:
    assert PROGRAMS.run(python("import time; time.sleep(60)"), timeout_s=0.2).status == -9


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd", "with\0zero"])
def test_a_program_that_cannot_be_started_is_refused(program: str) -> None:
    with pytest.raises(ProgramAbsent):
        PROGRAMS.start([program])
    with pytest.raises(ProgramAbsent):
        PROGRAMS.run([program], timeout_s=1)


def test_what_a_program_prints_is_read_and_its_status_follows() -> None:
    running = PROGRAMS.start(python("print('x' * 100)"))
    with os.fdopen(os.dup(running.fd), "rb") as output:
        assert output.read() == b"x" * 100 + b"\n"
    assert running.finish(timeout_s=120) == 0
    running.close()


def test_closing_ends_what_the_program_started_too(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    running = PROGRAMS.start(
        ["sh", "-c", f"sleep 60 & echo $! > {mark}.new; mv {mark}.new {mark}; wait"]
    )
    while not mark.exists():
        time.sleep(0.01)
    child = int(mark.read_text())
    running.close()
    end_s = time.monotonic() + 60
    while is_alive(child):
        assert time.monotonic() < end_s, "the child outlived its parent"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended while it was read
        return False


IGNORING = """
import os, sys
from overland.adapters.programs import SystemPrograms
programs = SystemPrograms()
run = programs.run(["false"], timeout_s=120).status
started = programs.start(["false"])
assert os.read(started.fd, 1) == b""
print(run, started.finish(timeout_s=120))
started.close()
"""


def test_a_failure_is_seen_though_the_one_who_started_us_ignores_how_children_end() -> None:
    """POSIX: with SIGCHLD ignored no status is kept, and an ignored signal is inherited."""
    done = subprocess.run(
        python(IGNORING),
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1 1\n", done.stderr


def test_a_program_neither_reads_our_input_nor_keeps_our_files(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)  # noqa: FBT003 - the name of the call says it
        code = "import os, sys; print(repr(sys.stdin.read()), sorted(os.listdir('/proc/self/fd')))"
        output = PROGRAMS.run(python(code), timeout_s=120).output
    assert output == b"'' ['0', '1', '2', '3']\n", "3 is the listed folder itself"


def test_a_program_dies_of_a_reader_that_left_and_leaves_no_zombie() -> None:
    running = PROGRAMS.start(["yes"])
    os.read(running.fd, 10)
    running.close()
    assert running.finish(timeout_s=120) in {-signal.SIGPIPE, -signal.SIGTERM}
    with pytest.raises(ChildProcessError):
        os.waitpid(running._process.pid, os.WNOHANG)


def test_an_end_with_the_output_held_open_by_a_child_is_still_seen() -> None:
    running = PROGRAMS.start(["sh", "-c", "sleep 60 & exit 7"])
    assert running.finish(timeout_s=120) == 7
    running.close()
