"""`overland keys` with a cloud behind real sockets: an old home folder, and a damaged keyring."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.registered import SourceComputer, registered, typed

from overland.cli.outcome import Exit
from overland.values import keyring_name


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "new").write_text("staple correct horse\n")
    with registered(tmp_path) as made:
        yield made


def rotate_master(computer: SourceComputer) -> None:
    done = typed(
        *("keys", "rotate", "--master", "--new-passphrase-file", computer.folder / "new"),
        *("--recovery-kit", computer.folder / "second"),
    )
    assert done.exit_code == Exit.OK, done.output


def in_vault(computer: SourceComputer) -> Path:
    """The folder of this computer's objects, where a medium or its owner can change them."""
    [keys] = (computer.folder / "cloud-side" / "objects").glob("vaults/*/*/keys")
    return keys.parent


def test_an_old_home_folder_stages_no_seed_and_the_newest_does(computer: SourceComputer) -> None:
    assert computer.create().exit_code == Exit.OK
    old, newest = computer.folder / "old", computer.folder / "newest"
    shutil.copytree(computer.home, old)
    rotate_master(computer)
    computer.home.rename(newest)
    old.rename(computer.home)
    refused = typed("backup", "now", "docs")
    assert refused.exit_code == Exit.REFUSED, refused.output
    assert "[keyring-behind]" in refused.stderr
    assert not list(computer.staging.iterdir()), "nothing was sealed"
    admin = computer.cloud.http(computer.world.admin)
    assert admin.ok("GET", "/v1/seeds") == [], "nor announced"
    shutil.rmtree(computer.home)
    newest.rename(computer.home)
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    [keyring] = computer.staging.glob("*/keys/*")
    assert keyring.name == "00000002.keyring"


def test_a_first_copy_puts_the_keyring_into_the_vault_before_it_is_sealed(
    computer: SourceComputer,
) -> None:
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    assert (in_vault(computer) / keyring_name(1)).exists()


def test_a_flipped_digit_of_a_mac_is_mended_by_the_next_backup_which_says_so(
    computer: SourceComputer,
) -> None:
    rotate_master(computer)
    online = ("policy", "create", "mail", "--source", computer.source)
    for words in (online, ("backup", "now", "mail")):
        assert typed(*words).exit_code == Exit.OK
    vault = in_vault(computer)
    keyring = json.loads((vault / keyring_name(2)).read_bytes())
    first = "1" if keyring["mac"][0] == "0" else "0"
    keyring["mac"] = first + keyring["mac"][1:]
    (vault / keyring_name(2)).write_text(json.dumps(keyring, separators=(",", ":")) + "\n")
    (computer.source / "more").write_text("more")
    with capture_logs() as said:
        done = typed("backup", "now", "mail")
    assert done.exit_code == Exit.OK, done.output
    [mended] = [each for each in said if each["event"] == "keyring.mended"]
    assert (mended["log_level"], mended["new"]) == ("warning", keyring_name(3))
    listed = ("points", "list", "--from", vault, "--passphrase-file", computer.folder / "new")
    assert typed(*listed).exit_code == Exit.OK
    shown = json.loads(typed("keys", "status", "--json").stdout)
    assert (shown["here"], shown["vault"], shown["unusable"]) == (3, 3, [])


def test_a_damaged_keyring_in_the_vault_is_passed_by_reissue(computer: SourceComputer) -> None:
    rotate_master(computer)
    online = ("policy", "create", "mail", "--source", computer.source)
    for words in (online, ("backup", "now", "mail")):
        assert typed(*words).exit_code == Exit.OK
    vault = in_vault(computer)
    (vault / keyring_name(2)).write_bytes(b"the medium forgot")
    shown = typed("keys", "status")
    assert keyring_name(2) in shown.stdout
    assert "Next: overland keys reissue" in shown.stdout
    (computer.folder / "third").write_text("a third one, quite long\n")
    change = ("keys", "passphrase", "--new-passphrase-file", computer.folder / "third")
    refused = typed(*change)
    assert refused.exit_code == Exit.REFUSED
    assert "[keyring-taken]" in refused.stderr
    listed = ("points", "list", "--from", vault, "--passphrase-file", computer.folder / "new")
    assert "[keyring-damaged]" in typed(*listed).stderr
    done = typed("keys", "reissue")
    assert done.exit_code == Exit.OK, done.output
    assert "this computer's keyring was kept: keyring 3 counts from now on" in done.stdout
    assert typed(*listed).exit_code == Exit.OK, "and so whoever restores elsewhere gets in"
    assert json.loads(typed("keys", "status", "--json").stdout) == {
        "here": 3,
        "vault": 3,
        "is_published": True,
        "unusable": [],
        "is_signing_key_changing": False,
    }
    assert typed(*change).exit_code == Exit.OK
