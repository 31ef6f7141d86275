"""A run that finds nothing changed does without the chunk index, and without arrays at all."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write

from overland.packing.hints import IndexHint

_LOADED = """
import sys
import overland.cli.machine, overland.agent.data, overland.agent.run
unneeded = (
    *("numpy", "structlog", "rich", "sqlalchemy", "subprocess", "concurrent", "pyfastcdc"),
    *("logging", "dataclasses", "base64", "overland.agent.firstcopy", "overland.source.snapshots"),
)
print(*(name for name in unneeded if name in sys.modules))
"""
_RUN = """
import sys
from pathlib import Path
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write

assert "numpy.ma" not in sys.modules
vaulted = Vaulted(Path(sys.argv[1]))
for seed in range(3):
    write(vaulted.source, f"file{seed}", seed)
    vaulted.back_up()
print("numpy" in sys.modules, "numpy.ma" in sys.modules)
"""


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    return Vaulted(tmp_path)


def test_the_source_computers_program_starts_without_arrays() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, check=True)
    assert done.stdout.split() == []


def test_an_incremental_run_loads_no_masked_arrays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path)], capture_output=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == b"True False"


def test_an_unchanged_run_does_not_load_the_index_and_the_next_one_has_it(
    vaulted: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(vaulted.source, "file", 1)
    vaulted.back_up()
    vaulted.back_up()  # files that were just made are not trusted to be unchanged
    packs = vaulted.packs()

    def refuse(*_: object) -> None:
        pytest.fail("the index was loaded")

    with monkeypatch.context() as patched:
        patched.setattr(IndexHint, "load", refuse)
        vaulted.back_up()
    write(vaulted.source, "another", 1)  # with the same content
    last = vaulted.back_up()

    assert vaulted.restored(last) == vaulted.contents[last]
    assert len(vaulted.packs() - packs) == 1, "the folder's node is new, and the content is not"
