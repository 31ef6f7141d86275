"""`overland keys` as it is typed, without a cloud."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from overland.cli.main import overland
from overland.cli.outcome import Exit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "old").write_text("correct horse battery\n")
    (tmp_path / "new").write_text("staple correct horse\n")
    made = typed(
        *("agent", "init", "--name", "files", "--passphrase-file", tmp_path / "old"),
        *("--recovery-kit", tmp_path / "kit"),
    )
    assert made.exit_code == Exit.OK, made.output
    return tmp_path


def typed(*words: object) -> Result:
    return CliRunner().invoke(overland, [str(word) for word in words])


def keyrings(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "home" / "agent" / "keys").iterdir())


def test_a_new_passphrase_is_a_new_keyring(home: Path) -> None:
    done = typed("keys", "passphrase", "--new-passphrase-file", home / "new", "--json")
    assert done.exit_code == Exit.OK, done.output
    assert json.loads(done.stdout) == {"keyring": 2, "in_vault": False}
    assert keyrings(home) == ["00000002.keyring"]
    assert "staple" not in done.output


def test_a_new_kit_is_written_for_its_owner_only_and_never_over_another(home: Path) -> None:
    done = typed("keys", "recovery-kit", "--recovery-kit", home / "second")
    assert done.exit_code == Exit.OK, done.output
    assert stat.S_IMODE((home / "second").stat().st_mode) == 0o600
    second, first = ((home / name).read_text() for name in ("second", "kit"))
    assert second.splitlines()[:2] == first.splitlines()[:2], "the same repository"
    assert second != first
    assert second.splitlines()[2] not in done.output, "the kit is in its file only"
    again = typed("keys", "recovery-kit", "--recovery-kit", home / "second")
    assert again.exit_code == Exit.REFUSED
    assert (home / "second").read_text() == second
    assert keyrings(home) == ["00000002.keyring"], "the refusal changed nothing"


def test_rotation_replaces_both(home: Path) -> None:
    done = typed(
        *("keys", "rotate", "--new-passphrase-file", home / "new"),
        *("--recovery-kit", home / "second"),
    )
    assert done.exit_code == Exit.OK, done.output
    shown = typed("keys", "status", "--json")
    assert json.loads(shown.stdout) == {
        "here": 2,
        "vault": None,
        "is_published": True,
        "unusable": [],
        "is_signing_key_changing": False,
    }


def test_rotation_replaces_the_master_key_when_it_is_told_to(home: Path) -> None:
    agent = home / "home" / "agent"
    first = (agent / "master.key").read_bytes()
    kept = typed(
        *("keys", "rotate", "--master", "--new-passphrase-file", home / "old"),
        *("--recovery-kit", home / "second"),
    )
    assert kept.exit_code == Exit.REFUSED
    assert "[passphrase-kept]" in kept.stderr
    assert keyrings(home) == ["00000001.keyring"]
    assert not (home / "second").exists()
    done = typed(
        *("keys", "rotate", "--master", "--new-passphrase-file", home / "new"),
        *("--recovery-kit", home / "second"),
    )
    assert done.exit_code == Exit.OK, done.output
    assert "master key, passphrase and recovery kit were replaced: keyring 2" in done.stdout
    assert keyrings(home) == ["00000002.keyring"]
    [key] = agent.glob("master*.key")
    assert key.read_bytes() != first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert typed("agent", "status").exit_code == Exit.OK


def test_a_short_passphrase_is_refused(home: Path) -> None:
    (home / "short").write_text("too short\n")
    refused = typed("keys", "passphrase", "--new-passphrase-file", home / "short")
    assert refused.exit_code == Exit.REFUSED
    assert "[passphrase-too-short]" in refused.stderr
    assert keyrings(home) == ["00000001.keyring"]


def test_without_a_terminal_the_kit_needs_a_file(home: Path) -> None:
    for words in (("keys", "recovery-kit"), ("keys", "rotate", "--new-passphrase-file", "x")):
        assert typed(*words).exit_code == Exit.USAGE
    assert keyrings(home) == ["00000001.keyring"]


def test_a_computer_without_keys_has_none_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path))
    refused = typed("keys", "publish")
    assert refused.exit_code == Exit.REFUSED
    assert "[agent-not-initialised]" in refused.stderr


def test_a_kit_that_may_not_survive_a_power_cut_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a new file is durable when its folder is synced, and not before (POSIX)."""
    sync, synced = os.fsync, list[bool]()

    def failing(fd: int) -> None:
        is_the_folder = os.path.samestat(os.fstat(fd), home.stat())
        synced.append(is_the_folder)
        if is_the_folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    refused = typed("keys", "recovery-kit", "--recovery-kit", home / "second")
    assert refused.exit_code != Exit.OK
    assert synced == [False, True], "the file first, then its name"
    assert not (home / "second").exists(), "the same command can be run again"
    assert keyrings(home) == ["00000001.keyring"]


def test_the_option_that_is_missing_is_the_one_that_is_named(home: Path) -> None:
    assert "give --new-passphrase-file FILE" in typed("keys", "passphrase").stderr
    assert keyrings(home) == ["00000001.keyring"]
