"""`overland points show`: what a recovery point says of itself, and of what is not in it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.backed_up import PASSPHRASE, BackedUp

from overland.cli.main import overland
from overland.cli.outcome import Exit
from overland.source.marks import Marks


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackedUp:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    made = BackedUp(tmp_path)
    made.source.mkdir()
    (made.source / "small").write_bytes(b"x")
    (made.source / "large").write_bytes(bytes(2000))
    return made


def shown(world: BackedUp, *words: str) -> Result:
    point, passphrase = world.results[-1].point_id, world.staging.parent / "passphrase"
    place = ("--from", str(world.staging), "--passphrase-file", str(passphrase))
    ended = CliRunner().invoke(overland, ["points", "show", point, *place, *words])
    assert ended.exit_code == Exit.OK, ended.output
    return ended


def test_it_tells_by_which_rules_something_was_left_out(world: BackedUp) -> None:
    marks = Marks(caches=True, names=frozenset([b".nobackup", b"\xffodd"]), larger_than_bytes=1000)
    world.back_up(exclude=("*.tmp",), marks=marks)

    lines = [line for line in shown(world).stdout.splitlines() if line.startswith("left out")]
    found = json.loads(shown(world, "--json").stdout)

    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "by name: *.tmp",
        "what lies beside a CACHEDIR.TAG (--exclude-caches)",
        "what lies beside an entry .nobackup (--exclude-if-present)",
        "what lies beside an entry \\xffodd (--exclude-if-present)",
        "files larger than 1000 bytes (--exclude-larger-than)",
    ]
    assert found["statistics"]["files"] == 1
    assert found["exclude"] == ["*.tmp"]
    assert found["exclude_caches"] is True
    assert found["exclude_if_present"] == [".nobackup", "\\xffodd"]
    assert found["exclude_larger_than_bytes"] == 1000


def test_without_rules_nothing_was_left_out(world: BackedUp) -> None:
    world.back_up()

    assert "left out" not in shown(world).stdout
    assert json.loads(shown(world, "--json").stdout)["exclude_larger_than_bytes"] is None
