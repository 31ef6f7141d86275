"""The source computer's commands as they are typed, without a cloud."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from overland.cli.main import overland
from overland.cli.outcome import Exit

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ABSENT = (  # what these tests have not got: a cloud, a registration, keys
    *("registration", "vault", "version", "clock", "subscription", "capability"),
    *("storage-account", "account-kind", "container", "job-name", "publish-settings"),
    *("space", "scratch", "drives", "encryption"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "source").mkdir()
    (tmp_path / "staging").mkdir()
    (tmp_path / "x.publishsettings").write_text("<x/>")
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    return tmp_path


def typed(*words: object) -> Result:
    return CliRunner().invoke(overland, [str(word) for word in words])


def init(home: Path) -> Result:
    return typed(
        *("agent", "init", "--name", "files", "--passphrase-file", home / "passphrase"),
        *("--recovery-kit", home / "kit", "--json"),
    )


def offline(home: Path) -> list[Any]:
    return [
        *("policy", "create", "docs", "--source", home / "source", "--offline"),
        *("--staging", home / "staging", "--publish-settings", home / "x.publishsettings"),
        *("--job-name", "import-1", "--subscription", SUBSCRIPTION),
        *("--storage-account", "harbour", "--container", "seeds"),
        *(word for name in ABSENT for word in ("--skip-check", name)),
    ]


def test_init_makes_a_private_home_and_a_kit_for_its_owner_only(home: Path) -> None:
    made = init(home)
    assert made.exit_code == Exit.OK, made.output
    assert json.loads(made.stdout)["computer_name"] == "files"
    assert stat.S_IMODE((home / "kit").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "home" / "agent").stat().st_mode) == 0o700
    kit = (home / "kit").read_text().strip()
    assert kit.splitlines()[-1] not in made.output, "the kit is in its file only"


def test_init_never_writes_over_a_kit_and_never_makes_keys_twice(home: Path) -> None:
    (home / "kit").write_text("an old kit")
    refused = init(home)
    assert refused.exit_code == Exit.REFUSED
    assert (home / "kit").read_text() == "an old kit"
    (home / "kit").unlink()
    assert init(home).exit_code == Exit.OK
    (home / "kit").unlink()
    assert init(home).exit_code == Exit.REFUSED


def test_a_short_passphrase_is_refused_in_one_line(home: Path) -> None:
    (home / "passphrase").write_text("short\n")
    refused = init(home)
    assert refused.exit_code == Exit.REFUSED
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.endswith("[passphrase-too-short]\n")
    assert "short\n" not in refused.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["agent", "status"],
        ["backup", "now", "docs"],
        ["points", "list"],
        ["restore", "newest", "--target", "x"],
        ["policy", "show", "absent"],
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_done_yet_is_refused_with_the_next_step(
    words: list[str],
) -> None:
    refused = typed(*words)
    assert refused.exit_code == Exit.REFUSED, refused.output
    assert refused.stderr.startswith("error: ")
    assert "overland" in refused.stderr
    assert "Traceback" not in refused.output


@pytest.mark.requirement("R49", "R59", "R60")
def test_an_offline_policy_is_saved_and_read_back(home: Path) -> None:
    created = typed(*offline(home))
    assert created.exit_code == Exit.OK, created.output
    shown = json.loads(typed("policy", "show", "docs", "--json").stdout)
    assert shown["policy"]["offline"] == {
        "staging_location": str(home / "staging"),
        "publish_settings": str(home / "x.publishsettings"),
        "job_name": "import-1",
        "subscription_id": SUBSCRIPTION,
        "storage_account": "harbour",
        "container": "seeds",
    }
    assert shown["progress"]["phase"] == "Configured"


@pytest.mark.requirement("R57")
def test_the_first_copy_method_cannot_be_changed_by_saving_again(home: Path) -> None:
    typed(*offline(home))
    again = typed("policy", "create", "docs", "--source", home / "source", "--online")
    assert again.exit_code == Exit.REFUSED
    assert "cannot be changed" in again.stderr


def test_offline_fields_without_offline_are_wrong_usage(home: Path) -> None:
    wrong = typed("policy", "create", "docs", "--source", home / "source", "--job-name", "import-1")
    assert wrong.exit_code == Exit.USAGE
    assert "--offline" in wrong.stderr


@pytest.mark.requirement("R50")
def test_a_missing_field_of_the_page_is_named_when_nobody_can_be_asked(home: Path) -> None:
    words = offline(home)
    del words[words.index("--container") : words.index("--container") + 2]
    wrong = typed(*words)
    assert wrong.exit_code == Exit.USAGE
    assert "--container" in wrong.stderr


def test_deleting_a_policy_asks_first(home: Path) -> None:
    typed(*offline(home))
    assert typed("policy", "delete", "docs").exit_code == Exit.USAGE, "nobody can answer"
    assert typed("policy", "delete", "docs", "--yes").exit_code == Exit.OK
    assert json.loads(typed("policy", "list", "--json").stdout) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_program(shell: str) -> None:
    printed = typed("completion", shell)
    assert printed.exit_code == Exit.OK
    assert "_OVERLAND_COMPLETE" in printed.stdout


def test_a_kit_that_could_not_be_written_is_told_with_the_way_to_another(home: Path) -> None:
    (home / "words").write_text("correct horse battery\n")
    failed = typed(
        *("agent", "init", "--passphrase-file", home / "words"),
        *("--recovery-kit", home / "no-such-folder" / "kit"),
    )
    assert failed.exit_code == Exit.REFUSED
    assert "the keys are made, and their kit is lost" in failed.stderr
    again = typed("keys", "recovery-kit", "--recovery-kit", home / "kit")
    assert again.exit_code == Exit.OK, again.output
    assert (home / "kit").exists()
