"""`overland repack` and `overland repair` as they are typed: words, JSON and exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write

from overland.agent.policy import Policies
from overland.cli import repair
from overland.cli.machine import AgentMachine
from overland.cli.main import overland
from overland.cli.outcome import Exit


@pytest.fixture
def vaulted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vaulted:
    """A computer whose parts the commands are given in place of those of a registered one."""
    made = Vaulted(tmp_path)
    for number in range(6):
        write(made.source, f"file{number}", number)
    first = made.back_up()
    for number in range(5):
        (made.source / f"file{number}").unlink()
    made.back_up()
    made.keeper.deleted.add(first)
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(AgentMachine, "workshop", lambda _: made.workshop())
    monkeypatch.setattr(Policies, "load", lambda _, name: name)
    monkeypatch.setattr(repair, "_places", lambda _machine, _folders: {})
    return made


def typed(*words: str) -> Result:
    with capture_logs():
        return CliRunner().invoke(overland, words)


def test_a_repack_says_what_will_be_free(vaulted: Vaulted) -> None:
    ended = typed("repack", "--dry-run")
    assert ended.exit_code == Exit.OK
    assert "would be replaced" in ended.output
    assert not vaulted.keeper.accepted
    value = json.loads(typed("repack", "documents", "--min-live", "60%", "--json").stdout)
    assert value["replacement_id"] == vaulted.keeper.accepted[0]
    assert value["replaced_bytes"] > value["copied_bytes"]
    assert "nothing to do" in typed("repack").output


@pytest.mark.parametrize("share", ["101", "-1%", "much"])
def test_a_share_is_a_percentage(vaulted: Vaulted, share: str) -> None:
    assert typed("repack", f"--min-live={share}").exit_code == Exit.USAGE
    assert not vaulted.keeper.accepted


def test_a_repack_of_what_is_not_whole_is_refused(vaulted: Vaulted) -> None:
    vaulted.disk.delete(min(vaulted.packs()))
    ended = typed("repack")
    assert ended.exit_code == Exit.REFUSED
    assert "not-repackable" in ended.output


def test_a_whole_vault_needs_no_repair(vaulted: Vaulted) -> None:
    ended = typed("repair")
    assert ended.exit_code == Exit.OK, ended.output
    assert "everything that recovery points need is there and whole" in ended.output
    assert not vaulted.keeper.accepted


def test_losses_are_named_and_end_with_the_code_of_damage(vaulted: Vaulted) -> None:
    write(vaulted.source, "last", 9)
    point = vaulted.back_up()
    before = vaulted.packs()
    for name in before:
        vaulted.disk.damage(name, offset=vaulted.disk.size_bytes(name) // 2)
    for path in vaulted.source.iterdir():
        write(path.parent, path.name, 1234)
    ended = typed("repair", "--json")
    assert ended.exit_code == Exit.INTEGRITY
    value = json.loads(ended.stdout)
    assert not value["whole"]
    assert sorted(value["damaged"]) == sorted(before)
    assert point in {lost["point_id"] for lost in value["lost"]}
    assert "data-lost" in ended.stderr
    ended = typed("repair", "--quick")
    assert ended.exit_code == Exit.OK, "nothing is read, and nothing is missing"
