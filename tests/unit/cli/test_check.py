"""`overland check` as it is typed: what it proves, what it names, and how it ends."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.backed_up import PASSPHRASE, BackedUp, sample_keyring
from tests.support.resealed import resealed
from tests.support.torture import fast_folder

from overland.cli.main import overland
from overland.cli.outcome import Exit
from overland.crypto.keys import Purpose


@pytest.fixture
def backed(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    with fast_folder() as folder:
        monkeypatch.setenv("OVERLAND_HOME", str(folder / "home"))
        (folder / "passphrase").write_text(PASSPHRASE + "\n")
        world = BackedUp(folder)
        (folder / "kit").write_text(world.recovery_kit)
        (world.source / "folder").mkdir(parents=True)
        for number in range(20):
            (world.source / "folder" / f"{number}").write_bytes(bytes([number]) * 20_000)
        (world.source / "photos").write_bytes(bytes(range(251)) * 10_000)
        world.back_up()
        (world.source / "last").write_bytes(b"last")
        world.back_up()
        yield world


def checked(backed: BackedUp, *words: object, places: tuple[Path, ...] = ()) -> Result:
    where = [word for place in places or (backed.staging,) for word in ("--from", place)]
    secret = () if "--keyless" in words else ("--passphrase-file", backed.staging / "../passphrase")
    typed = ("check", *where, *secret, *words)
    return CliRunner().invoke(overland, [str(word) for word in typed])


def found(ended: Result) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(ended.stdout)["findings"]}


def flip(path: Path, at: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def name_of(path: Path, backed: BackedUp, number: int = 0) -> str:
    return path.relative_to(backed.folder(number)).as_posix()


@pytest.mark.parametrize("words", [(), ("--keyless",)], ids=["with-keys", "keyless"])
def test_a_whole_repository_ends_with_zero(backed: BackedUp, words: tuple[str, ...]) -> None:
    ended = checked(backed, *words, "--json")

    assert ended.exit_code == Exit.OK, ended.output
    report = json.loads(ended.stdout)
    assert report["whole"] is True
    assert report["with_keys"] == (not words)
    assert report["findings"] == []
    assert (report["chunks"] > 20) == (not words)
    assert [point["restorable"] for point in report["points"]] == [True, True]


def test_for_people_it_says_what_was_proven(backed: BackedUp) -> None:
    with_keys, keyless = checked(backed), checked(backed, "--keyless")

    assert "chunks proven" in with_keys.stdout
    assert "everything is there and whole\n" in with_keys.stdout
    assert "as far as can be seen without keys" in keyless.stdout
    assert "warning: signatures are compared with the key in the keyring" in keyless.stderr


def test_a_recovery_kit_opens_it_too(backed: BackedUp) -> None:
    kit = backed.staging.parent / "kit"
    ended = CliRunner().invoke(
        overland, ["check", "--from", str(backed.staging), "--recovery-kit", str(kit), "--json"]
    )

    assert ended.exit_code == Exit.OK, ended.output
    assert json.loads(ended.stdout)["with_keys"] is True


@pytest.mark.parametrize("words", [("--digests",), ("--keyless",)], ids=["digests", "keyless"])
def test_a_pack_that_was_sealed_twice_differs_from_its_name_only(
    backed: BackedUp, words: tuple[str, ...]
) -> None:
    _, master, _ = sample_keyring()
    victim = max(backed.folder(1).glob("packs/*/*.pack"))
    subkey = master.subkey(Purpose.SEGMENT)
    victim.write_bytes(resealed(victim.read_bytes(), subkey, salt=bytes(32)))

    assert checked(backed).exit_code == Exit.OK, "every chunk under this name is what it was"
    ended = checked(backed, *words, "--json")

    assert ended.exit_code == Exit.INTEGRITY, ended.output
    assert found(ended)[name_of(victim, backed, 1)]["kind"] == "corrupt"


def test_without_keys_digests_are_compared_anyway(backed: BackedUp) -> None:
    assert checked(backed, "--keyless", "--digests").exit_code == Exit.USAGE


@pytest.mark.parametrize("words", [(), ("--keyless",)], ids=["with-keys", "keyless"])
@pytest.mark.parametrize("kind", ["packs/*/*.pack", "index/*", "points/*", "keys/*"])
def test_a_damaged_object_is_named_with_what_to_do_and_ends_with_four(
    backed: BackedUp, kind: str, words: tuple[str, ...]
) -> None:
    victim = max(backed.folder(1).glob(kind))
    flip(victim)

    ended = checked(backed, *words, "--json")

    assert ended.exit_code == Exit.INTEGRITY, ended.output
    finding = found(ended)[name_of(victim, backed, 1)]
    assert finding["kind"] == "corrupt"
    assert finding["place"] == f"{backed.staging}/{backed.folder(1).name}"
    assert "evidence" in finding["next"]
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert ended.stderr.endswith("[not-whole]\n")


@pytest.mark.parametrize("words", [(), ("--keyless",)], ids=["with-keys", "keyless"])
def test_a_missing_pack_is_named_and_so_is_the_point_that_is_broken(
    backed: BackedUp, words: tuple[str, ...]
) -> None:
    victim = max(backed.packs(0), key=lambda path: path.stat().st_size)
    victim.unlink()

    ended = checked(backed, *words, "--json")

    assert ended.exit_code == Exit.INTEGRITY
    finding = found(ended)[name_of(victim, backed)]
    assert (finding["kind"], finding["place"]) == ("missing", None)
    assert "--from" in finding["next"]
    assert [each["restorable"] for each in json.loads(ended.stdout)["points"]] == [False, False]


def test_for_people_each_finding_has_its_next_step(backed: BackedUp) -> None:
    [victim, *_] = backed.packs(0)
    victim.unlink()

    ended = checked(backed)

    lines = ended.stdout.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("missing packs/")]
    assert name_of(victim, backed) in lines[at]
    assert lines[at + 1].startswith("  next: ")
    assert any(line.startswith("BROKEN") for line in lines)


def test_drives_are_checked_together(backed: BackedUp, tmp_path: Path) -> None:
    seed = backed.folder(0)
    drives = (tmp_path / "drive-1", tmp_path / "drive-2")
    for drive in drives:
        shutil.copytree(seed, drive / seed.name, ignore=shutil.ignore_patterns("packs"))
    for number, pack in enumerate(backed.packs(0)):
        place = drives[number % 2] / seed.name / pack.relative_to(seed)
        place.parent.mkdir(parents=True)
        shutil.copy(pack, place)

    assert checked(backed, places=drives).exit_code == Exit.OK
    assert checked(backed, places=drives[:1]).exit_code == Exit.INTEGRITY


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("words", [(), ("--keyless",)], ids=["with-keys", "keyless"])
def test_a_damaged_copy_is_found_although_another_one_is_whole(
    backed: BackedUp, tmp_path: Path, damaged: int, words: tuple[str, ...]
) -> None:
    shutil.copytree(backed.staging, tmp_path / "copy")
    places = (backed.staging, tmp_path / "copy")
    victim = backed.packs(0)[0]
    flip(places[damaged] / victim.relative_to(backed.staging))

    ended = checked(backed, *words, "--json", places=places)

    assert ended.exit_code == Exit.INTEGRITY
    [finding] = found(ended).values()
    seed = backed.folder(0).name
    assert finding["place"] == f"{places[damaged]}/{seed}"
    assert f"{places[1 - damaged]}/{seed}" in finding["next"]
    assert all(point["restorable"] for point in json.loads(ended.stdout)["points"])


def test_two_damaged_copies_are_both_named_and_none_is_called_whole(
    backed: BackedUp, tmp_path: Path
) -> None:
    shutil.copytree(backed.staging, tmp_path / "copy")
    for place in (backed.staging, tmp_path / "copy"):
        flip(place / backed.packs(0)[0].relative_to(backed.staging))

    ended = checked(backed, "--json", places=(backed.staging, tmp_path / "copy"))

    corrupt = [f for f in json.loads(ended.stdout)["findings"] if f["kind"] == "corrupt"]
    assert len(corrupt) == 2
    assert len({each["place"] for each in corrupt}) == 2
    assert all("look for another" in each["next"] for each in corrupt)


def test_keyless_takes_no_secret_and_a_wrong_passphrase_is_refused(backed: BackedUp) -> None:
    (backed.staging.parent / "wrong").write_text("another passphrase altogether\n")
    secret = ("--passphrase-file", backed.staging.parent / "wrong")

    assert checked(backed, "--keyless", *secret).exit_code == Exit.USAGE
    assert checked(backed, *secret).exit_code == Exit.REFUSED


def test_a_folder_without_a_repository_is_refused(backed: BackedUp, tmp_path: Path) -> None:
    assert checked(backed, places=(tmp_path,)).exit_code == Exit.REFUSED
    assert checked(backed, places=(tmp_path / "absent",)).exit_code == Exit.REFUSED
