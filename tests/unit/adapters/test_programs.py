"""Programs run as the port says, and never outlive their run."""

import os
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
                        timeout_s=30)  # fmt: skip
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
    assert running.finish(timeout_s=30) == 0
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
    state = Path(f"/proc/{child}/stat")
    for _ in range(500):
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the child outlived its parent")
