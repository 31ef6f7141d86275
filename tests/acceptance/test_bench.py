"""`./dev bench` runs: a thousandth of a data set goes through the real commands and comes back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from bench.freshdisk import fresh_ext4, memory_bytes
from bench.report import Result, Verdict, verdicts
from bench.tools import STEPS
from tests.support.torture import fast_folder

ROOT: Final = Path(__file__).resolve().parents[2]
MEASURED: Final = set(STEPS) - {"list", "unchanged"}


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.run", "--folder", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "OVERLAND_HOME": str(folder / "nobody's")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_step_is_measured_and_its_folder_removed(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = bench(
        tmp_path,
        *("--tools", "overland", "--data", "VM", "--scale", "0.004"),
        *("--without", "list,unchanged", "--settle", "0", "--json", str(figures)),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json"]
    found: dict[str, Any] = json.loads(figures.read_text())
    assert found["about"]["scale"] == 0.004
    rows = {row["step"]: row for row in found["medians"] if row["tool"] == "overland"}
    floors = {row["step"]: row for row in found["medians"] if row["tool"] == "floor"}
    assert set(rows) == MEASURED
    assert set(floors) == {"first", "restore"}, "what the disk takes stands beside ours"
    assert floors["first"]["repository_bytes"] == rows["first"]["repository_bytes"]
    assert floors["restore"]["to_overland"]["wall_s"] > 0
    for row in rows.values():
        assert row["wall_s"] > 0
        assert row["cpu_s"] > 0
        assert row["peak_mib"] > 20, "a Python with the program in it"
    assert 0 < rows["first"]["repository_bytes"] < 32 << 20, "zeros and text take less room"
    # 32 MiB: of fewer chunks one that is long by chance, as keys decide, is a large share.
    assert rows["incremental"]["added_bytes"] < rows["first"]["added_bytes"] / 10
    assert rows["restore"]["added_bytes"] == rows["check"]["added_bytes"] == 0
    assert {one["measure"] for one in found["verdicts"]} == {"peak_mib"}, "restic did not run"
    assert "incremental" in done.stdout


@pytest.mark.slow
def test_backups_beside_a_large_index_find_what_is_in_it() -> None:
    with fast_folder() as folder:
        what = ("--files", "", "--tb", "0.05", "--beside-tb", "0,0.05")
        size = ("--beside-files", "300", "--beside-mib", "3", "--folder", str(folder))
        done = subprocess.run(
            [sys.executable, "-m", "bench.scale", *what, *size],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert list(folder.iterdir()) == []
    found: dict[str, Any] = json.loads(done.stdout)
    assert [row["chunks"] for row in found["index"]] == [int(0.05e12 / (256 << 10)) + (1 << 18)]
    rows = {(row["terabytes"], row["run"]): row["new_chunks"] for row in found["beside"]}
    for terabytes in (0.0, 0.05):
        assert rows[terabytes, "known"] == rows[terabytes, "unchanged"] == 0
        assert rows[terabytes, "new"] > 300, "every file of the second source"


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(),
    reason="needs root and loop devices",
)
def test_a_fresh_file_system_in_memory_is_used_and_gone_when_the_benchmark_ends() -> None:
    with fast_folder() as folder:
        with fresh_ext4(folder, size_bytes=64 << 20) as mounted:
            assert mounted.stat().st_dev != folder.stat().st_dev
            assert [path.name for path in mounted.iterdir()] == ["lost+found"]
            shutil.copyfile("/bin/sh", mounted / "file")
        assert list(folder.iterdir()) == []
        assert str(folder) not in Path("/proc/mounts").read_text()


def test_what_is_left_of_memory_bounds_a_file_system_in_it() -> None:
    with fast_folder() as folder:
        if not str(folder).startswith("/dev/shm"):
            pytest.skip("there is no folder in memory")
        bound = memory_bytes(folder)
        assert bound is not None
        assert 0 < bound < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_place_without_room_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = bench(tmp_path, "--tools", "overland", "--data", "MIX", "--scale", "1000000")
    assert done.returncode == 1
    assert "GB are needed" in done.stderr
    assert list(tmp_path.iterdir()) == []


def result(tool: str, step: str, **changes: float) -> Result:
    fields: dict[str, Any] = {"wall_s": 1.0, "cpu_s": 1.0, "peak_mib": 100.0}
    fields |= {"repository_bytes": 1000, "added_bytes": 100, "round_number": 1, **changes}
    return Result(data="VM", tool=tool, step=step, **fields)


def judged(*results: Result) -> dict[tuple[str, str], Verdict]:
    return {(one.step, one.measure): one for one in verdicts(results)}


def test_a_speed_up_is_the_other_tool_s_median_over_ours() -> None:
    ours = [result("overland", "first", wall_s=seconds) for seconds in (1.0, 2.0, 90.0)]
    found = judged(*ours, result("restic", "first", wall_s=5.0, cpu_s=2.4))
    assert found["first", "wall_s"].reached == 2.5
    assert found["first", "wall_s"].is_met
    assert found["first", "cpu_s"].reached == 2.4
    assert not found["first", "cpu_s"].is_met


def test_a_share_of_bytes_is_ours_over_the_other_tool_s() -> None:
    ours = result("overland", "incremental", added_bytes=36, repository_bytes=1050)
    found = judged(ours, result("restic", "incremental"))
    assert found["incremental", "added_bytes"].reached == 0.36
    assert not found["incremental", "added_bytes"].is_met
    assert found["incremental", "repository_bytes"].is_met


def test_memory_is_judged_without_another_tool() -> None:
    assert not judged(result("overland", "check", peak_mib=513.0))["check", "peak_mib"].is_met
    assert judged(result("overland", "check", peak_mib=511.0))["check", "peak_mib"].is_met
