"""What only looks like a loss is named as what it is, and what counts is never excused."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write
from tests.unit.agent.test_repair import copy_of
from tests.unit.agent.test_signing_rotation import (
    NEW,
    _forged_replacement,
    forge,
    forged_point,
    older,
)
from tests.unit.agent.test_signing_rotation import vaulted as rotated
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.points.reading import read_public
from overland.agent.repair.run import repair
from overland.cli.repair import _error, _lines, _value
from overland.crypto.keyring import encode_keyring
from overland.crypto.keyringproof import renumbered
from overland.ports.progress import NullProgress
from overland.values import keyring_name, point_name

__all__ = ["rotated"]  # a fixture: two chains, a replacement, a new signing key


@pytest.fixture
def simple(tmp_path: Path) -> Vaulted:
    vaulted = Vaulted(tmp_path)
    write(vaulted.source, "file", 1)
    vaulted.back_up()
    return vaulted


# -- a former signing key ------------------------------------------------------------------------


@pytest.mark.parametrize("places", [0, 1], ids=["vault", "vault and drive"])
def test_what_a_former_key_signed_and_no_change_lists_is_called_retired(
    rotated: Vaulted, places: int
) -> None:
    forged = {forge(rotated), _forged_replacement(rotated)}
    before = {info.name: rotated.disk.read(info.name) for info in rotated.disk.names()}
    with capture_logs() as said:
        report = rotated.repair(**dict([("drive", copy_of(rotated.disk))][:places]))
    assert report.harmless == dict.fromkeys(forged, "retired")
    assert report.is_whole
    assert report.damaged == report.unhealed == []
    assert {each["object"] for each in said if each["event"] == "object.retired"} == forged
    assert {info.name: rotated.disk.read(info.name) for info in rotated.disk.names()} == before
    assert _error(report) is None
    assert _value(report)["harmless"] == report.harmless
    text = "\n".join(_lines(report, dry_run=False))
    for name in forged:
        assert f"retired {name}: a former signing key signed it" in text
    assert "everything that recovery points need is there and whole" in text


def test_a_point_that_the_operator_left_out_is_called_retired(simple: Vaulted) -> None:
    left = simple.back_up("other")
    simple.rotate_signing(NEW, without=[left])
    simple.keeper.deleted.add(left)  # as the cloud does when it accepts the change
    report = simple.repair()
    assert report.harmless == {point_name(left): "retired"}
    assert report.is_whole


def test_a_forgery_in_the_place_of_a_living_point_is_damage(rotated: Vaulted) -> None:
    """Whoever owns the storage puts the thief's file under an id that is listed."""
    drive = copy_of(rotated.disk)
    victim = older(rotated)[0]
    name = forge(rotated, point_id=victim)
    report = rotated.repair()
    assert victim in report.unreadable
    assert name in report.unhealed
    assert not report.harmless
    assert not report.is_whole
    report = rotated.repair(drive=drive)
    assert report.unhealed == [name]
    assert not report.harmless


def test_a_forgery_in_the_place_of_a_deleted_base_is_damage(rotated: Vaulted) -> None:
    """The base was deleted, and lives on in the points that are based on it."""
    [base] = rotated.keeper.deleted
    assert read_public(rotated.objects(), rotated.keys, older(rotated)[0]).base == base
    name, other = point_name(base), rotated.disk.read(point_name(older(rotated)[0]))
    rotated.disk.write(name, forged_point(other, rotated.thief, point_id=base))
    report = rotated.repair()
    assert name in report.unhealed
    assert not report.harmless
    assert report.unreadable
    assert not report.is_whole


def test_a_forgery_in_the_place_of_an_accepted_replacement_is_damage(rotated: Vaulted) -> None:
    drive = copy_of(rotated.disk)
    [genuine] = [info.name for info in rotated.vault.names("replacements/")]
    forged = _forged_replacement(rotated)
    rotated.disk.write(genuine, rotated.disk.read(forged))
    rotated.disk.delete(forged)
    report = rotated.repair(drive=drive)
    assert report.unhealed == [genuine]
    assert not report.harmless


@pytest.mark.parametrize("kind", ["points/", "replacements/"])
def test_a_forgery_is_damage_also_when_the_last_whole_copy_goes_meanwhile(
    rotated: Vaulted, kind: str
) -> None:
    """A drive is taken away when everything was read that says what counts."""
    copy = SimDisk()
    for info in rotated.disk.names():
        copy.write(info.name, rotated.disk.read(info.name))
    if kind == "points/":
        name = forge(rotated, point_id=older(rotated)[0])
    else:
        [name] = [info.name for info in rotated.vault.names(kind)]
        rotated.disk.write(name, rotated.disk.read(_forged_replacement(rotated)))

    class Takes(NullProgress):
        @override
        def start(self, phase: str, total_bytes: int | None, total_count: int | None) -> None:
            if phase == "examining":
                copy.delete(name)

    shop = replace(rotated.workshop(), progress=Takes())
    report = repair(shop, {"drive": FolderObjects(copy)}, dry_run=True)
    assert name in report.unhealed
    assert name not in report.harmless
    assert not report.is_whole


def test_a_forgery_in_the_place_of_a_point_that_the_catalog_lacks_is_damage_if_a_place_has_it(
    rotated: Vaulted,
) -> None:
    drive = copy_of(rotated.disk)
    victim = older(rotated)[1]
    rotated.keeper.recorded.remove(victim)
    name = forge(rotated, point_id=victim)
    report = rotated.repair(drive=drive)
    assert report.unhealed == [name]
    assert not report.harmless


def test_a_damaged_point_that_nobody_lists_stays_damaged(rotated: Vaulted) -> None:
    """A flipped bit is no retired key's signature; who made it, nobody knows."""
    name = forge(rotated)
    rotated.disk.damage(name, offset=rotated.disk.size_bytes(name) // 2)
    report = rotated.repair()
    assert report.unhealed == report.damaged == [name]
    assert not report.harmless


# -- keyrings ------------------------------------------------------------------------------------


def damage(disk: SimDisk, number: int) -> None:
    disk.damage(keyring_name(number), offset=disk.size_bytes(keyring_name(number)) - 5)


@pytest.mark.parametrize("places", [0, 1], ids=["nowhere", "on a drive"])
def test_a_damaged_keyring_below_a_newer_one_is_called_superseded(
    simple: Vaulted, places: int
) -> None:
    simple.rotate_master(NEW)
    drive = copy_of(simple.disk)
    damage(simple.disk, 1)
    report = simple.repair(**dict([("drive", drive)][:places]))
    assert report.damaged == [keyring_name(1)]
    assert report.harmless == {keyring_name(1): "superseded"}
    assert report.is_whole
    text = "\n".join(_lines(report, dry_run=False))
    assert f"superseded {keyring_name(1)}: a newer keyring" in text


def test_the_newest_keyring_is_superseded_by_nothing(simple: Vaulted) -> None:
    simple.rotate_master(NEW)
    drive = copy_of(simple.disk)
    damage(simple.disk, 2)
    report = simple.repair(drive=drive)
    assert report.unhealed == [keyring_name(2)]
    assert not report.harmless


def test_an_older_keyring_of_the_same_master_key_supersedes_nothing(simple: Vaulted) -> None:
    """Its passphrase was replaced."""
    simple.rotate_master(NEW)
    newer = encode_keyring(renumbered(simple.document, simple._master, generation=3))
    simple.disk.write(keyring_name(3), newer)
    drive = copy_of(simple.disk)
    damage(simple.disk, 3)
    report = simple.repair(drive=drive)
    assert report.unhealed == [keyring_name(3)]
    assert not report.harmless


@pytest.mark.parametrize("what", ["junk", "a copy", "of a former master key"])
def test_what_has_a_higher_number_and_opens_less_supersedes_nothing(
    simple: Vaulted, what: str
) -> None:
    first = simple.disk.read(keyring_name(1))
    by_thief = encode_keyring(renumbered(simple.document, simple._master, generation=3))
    simple.rotate_master(NEW)
    drive = copy_of(simple.disk)
    damage(simple.disk, 2)
    above = {"junk": b"junk", "a copy": first, "of a former master key": by_thief}
    simple.disk.write(keyring_name(3), above[what])
    report = simple.repair(drive=drive)
    assert keyring_name(2) in report.unhealed
    assert not report.harmless
