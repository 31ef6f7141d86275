"""The options of `overland policy` that say what is protected, as they are typed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from overland.adapters.posix import PosixFiles
from overland.agent.policy import Policies, Progress, SeedPhase
from overland.cli.main import overland
from overland.cli.outcome import Exit

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "rules").write_text("*.tmp\n")
    return tmp_path


def typed(*words: object) -> Result:
    return CliRunner().invoke(overland, [str(word) for word in words])


def saved(name: str = "docs") -> dict[str, Any]:
    shown = typed("policy", "show", name, "--json")
    assert shown.exit_code == Exit.OK, shown.output
    policy: dict[str, Any] = json.loads(shown.stdout)["policy"]
    return policy


def test_what_is_protected_is_saved_and_shown(home: Path) -> None:
    made = typed(
        *("policy", "create", "docs", "--source", "source", "--image", "/dev/vg/data"),
        *("--command", "db/shop.sql", "--exclude-from", "rules", "--include-from", "rules"),
        *("--exclude-caches", "--exclude-if-present", ".nobackup"),
        *("--exclude-larger-than", "2MiB", "--snapshot", "auto", "--snapshot-percent", "25"),
        *("--", "pg_dump", "--format", "c", "the shop"),
    )
    assert made.exit_code == Exit.OK, made.output
    policy = saved()
    assert policy["commands"] == [
        {
            "name": "db/shop.sql",
            "argv": ["pg_dump", "--format", "c", "the shop"],
            "timeout_s": 3600.0,
        }
    ]
    assert policy["images"] == ["/dev/vg/data"]
    assert policy["exclude_from"] == policy["include_from"] == [str(home / "rules")]
    assert (policy["exclude_caches"], policy["exclude_if_present"]) == (True, [".nobackup"])
    assert policy["exclude_larger_than_bytes"] == 2 << 20
    assert (policy["snapshot"], policy["snapshot_percent"]) == ("auto", 25)
    shown = (
        "pg_dump --format c 'the shop'",
        "/dev/vg/data",
        ".nobackup",
        "2.0 MiB",
        "auto",
        "25 %",
    )
    for text in shown:
        assert text in made.output


def test_commands_are_added_replaced_and_removed() -> None:
    assert typed("policy", "create", "docs", "--command", "a", "--", "one").exit_code == Exit.OK
    for name, program in (("b", "two"), ("a", "three")):
        done = typed("policy", "add-command", "docs", name, "--timeout", "60", "--", program, "-x")
        assert done.exit_code == Exit.OK, done.output
    assert {each["name"]: each["argv"] for each in saved()["commands"]} == {
        "a": ["three", "-x"],
        "b": ["two", "-x"],
    }
    assert typed("policy", "remove-command", "docs", "a").exit_code == Exit.OK
    assert [each["name"] for each in saved()["commands"]] == ["b"]
    refused = typed("policy", "remove-command", "docs", "a")
    assert "policy-invalid" in refused.output
    refused = typed("policy", "remove-command", "docs", "b")
    assert "at least one" in refused.output, "a policy protects something"


def test_rules_are_changed_one_by_one() -> None:
    typed("policy", "create", "docs", "--source", "source", "--exclude", "*.o", "--exclude-caches")
    done = typed("policy", "change", "docs", "--no-exclude-caches", "--snapshot", "lvm")
    assert done.exit_code == Exit.OK, done.output
    policy = saved()
    assert (policy["exclude"], policy["exclude_caches"]) == (["*.o"], False)
    assert policy["snapshot"] == "lvm"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--source", "source", "--", "pg_dump"), "usage"),
        (("--command", "a"), "usage"),
        ((), "policy-invalid"),
        (("--source", "source", "--exclude-from", "missing"), "pattern-file-unreadable"),
        (("--source", "source", "--exclude-if-present", "a/b"), "policy-invalid"),
        (("--source", "/", "--command", "a", "--", "x"), "policy-invalid"),
        (("--source", "/srv", "--command", "srv/a", "--", "x"), "policy-invalid"),
        (("--image", "/srv/a", "--command", "/srv", "--", "x"), "policy-invalid"),
        (("--command", "../a", "--", "x"), "policy-invalid"),
        (("--command", "a/", "--", "x"), "policy-invalid"),
        (("--command", "a\nb", "--", "x"), "policy-invalid"),
        (("--command", "a" * 300, "--", "x"), "policy-invalid"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else value,
)
def test_what_cannot_be_protected_is_refused(words: tuple[str, ...], code: str) -> None:
    refused = typed("policy", "create", "docs", *words)
    assert refused.exit_code in {Exit.USAGE, Exit.REFUSED}
    assert f"[{code}]" in refused.output
    assert "docs" not in typed("policy", "list").output


def test_a_timeout_belongs_to_standard_input() -> None:
    assert typed("backup", "now", "docs", "--timeout", "5").exit_code == Exit.USAGE


@pytest.mark.parametrize("timeout", ["nan", "inf", "1e9"])
def test_a_time_that_no_clock_can_wait_is_refused_and_the_policy_stays(timeout: str) -> None:
    assert typed("policy", "create", "docs", "--source", "source").exit_code == Exit.OK
    refused = typed("policy", "add-command", "docs", "x", "--timeout", timeout, "--", "x")
    assert (refused.exit_code, "[policy-invalid]" in refused.output) == (Exit.REFUSED, True)
    assert saved()["commands"] == []
    given = typed("backup", "now", "docs", "--stdin", "x", "--timeout", timeout)
    assert (given.exit_code, "[policy-invalid]" in given.output) == (Exit.REFUSED, True)


def test_a_path_with_two_strokes_in_front_is_the_path_with_one(home: Path) -> None:
    """A point refuses such a root, and would do so after everything was read."""
    source = f"/{home / 'source'}"
    assert typed("policy", "create", "docs", "--source", source).exit_code == Exit.OK
    assert saved()["sources"] == [str(home / "source")]


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_input_is_told_and_gives_its_number_to_no_file(closed: str) -> None:
    assert typed("policy", "create", "docs", "--source", "source").exit_code == Exit.OK
    argv = [sys.executable, "-m", "overland", "backup", "now", "docs", "--stdin", "x"]
    script = f'exec "$@" {closed}'
    done = subprocess.run(["sh", "-c", script, "sh", *argv], capture_output=True, check=False)
    assert done.returncode == Exit.USAGE, done.stderr
    code = (
        "from overland.cli import main\n"
        "main._fill_standard_descriptors()\n"
        "raise SystemExit(open('/dev/null').fileno())\n"
    )
    shell = ["sh", "-c", script, "sh", sys.executable, "-c", code]
    opened = subprocess.run(shell, capture_output=True, check=False)
    assert opened.returncode == 3, "0 to 2 are no file's"
    assert done.stderr == b"" if "2>" in closed else b"standard input is closed" in done.stderr


@pytest.mark.parametrize("phase", [SeedPhase.AWAITING_IMPORT, SeedPhase.ADOPTING])
def test_a_policy_is_not_deleted_while_its_seed_travels(home: Path, phase: SeedPhase) -> None:
    made = typed("policy", "create", "docs", "--source", "source")
    assert made.exit_code == Exit.OK, made.output
    Policies(PosixFiles(home / "home" / "agent")).record("docs", Progress(phase=phase))
    refused = typed("policy", "delete", "docs", "--yes")
    assert refused.exit_code == Exit.REFUSED
    assert "overland seed abandon" in refused.stderr
    Policies(PosixFiles(home / "home" / "agent")).record("docs", Progress(phase=SeedPhase.ONLINE))
    assert typed("policy", "delete", "docs", "--yes").exit_code == Exit.OK
