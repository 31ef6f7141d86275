"""The durable engine in a process of its own, killed without warning."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys
from pathlib import Path
from overland.adapters.engine import DbosEngine

folder, kill_at = Path(sys.argv[1]), sys.argv[2]

def step(argument):
    with (folder / "steps").open("a") as steps:
        steps.write(argument + "\\n")
    if argument == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return argument

engine = DbosEngine(folder / "engine.sqlite", "test")
engine.register("work", plan=str.split, step=step, finish=str.upper)
engine.launch()
engine.start("work", key="a", argument="one two three four")
print(engine.wait("a", timeout_s=300).result)
engine.close()
"""


def run(folder: Path, kill_at: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), kill_at],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.crash
@pytest.mark.slow
def test_work_goes_on_after_its_last_finished_step_when_the_process_was_killed(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, "two").returncode == -9
    assert run(tmp_path, "four").returncode == -9
    last = run(tmp_path, "")
    assert (last.returncode, last.stdout, last.stderr) == (0, "ONE TWO THREE FOUR\n", "")
    steps = (tmp_path / "steps").read_text().split()
    assert steps == ["one", "two", "two", "three", "four", "four"], "finished steps run once"
