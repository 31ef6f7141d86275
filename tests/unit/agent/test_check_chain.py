"""A check follows a point to all that it builds on, and says of it what a restore finds."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp

from overland.agent.check.findings import CheckReport
from overland.agent.check.run import check
from overland.agent.points.reading import open_keys
from overland.agent.restore.report import RestoreIncomplete
from overland.ports.progress import NullProgress
from overland.values import ObjectInfo, PackId, pack_name


def merged(backed: BackedUp, folder: Path) -> None:
    """Put all places into one."""
    for number in range(1, len(backed.results)):
        for path in list(backed.folder(number).rglob("*")):
            if path.is_file():
                place = folder / path.relative_to(backed.folder(number))
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)


@pytest.fixture
def backed(tmp_path: Path) -> BackedUp:
    made = BackedUp(tmp_path)
    made.source.mkdir()
    for number in range(3):
        (made.source / f"{number}").write_bytes(f"new in run {number}".encode() * 500)
        made.back_up()
    merged(made, made.folder(0))
    return made


def checked(backed: BackedUp, *, with_keys: bool = False) -> CheckReport:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE) if with_keys else None
    return check(backed.place(0), progress=NullProgress(), keys=keys)


@pytest.mark.parametrize("kind", ["packs/", "index/"])
@pytest.mark.parametrize("lost_of", [0, 1, 2])
def test_what_an_older_point_lacks_every_later_one_lacks(
    backed: BackedUp, kind: str, lost_of: int
) -> None:
    assert checked(backed).is_whole
    name = next(o.name for o in backed.results[lost_of].objects if o.name.startswith(kind))
    (backed.folder(0) / name).unlink()

    report = checked(backed)

    assert [(found.name, found.kind) for found in report.findings] == [(name, "missing")]
    assert [report.restorable[result.point_id] for result in backed.results] == [
        number < lost_of for number in range(3)
    ]


@pytest.mark.parametrize("lost", [0, 1])
def test_without_the_file_of_an_older_point_no_later_one_is_restorable(
    backed: BackedUp, lost: int
) -> None:
    (backed.folder(0) / f"points/{backed.results[lost].point_id}.point").unlink()
    report = checked(backed)
    assert [report.restorable.get(result.point_id) for result in backed.results] == [
        None if number == lost else number < lost for number in range(3)
    ]


def test_a_point_under_anothers_name_is_corrupt(backed: BackedUp) -> None:
    first, _, last = (
        backed.folder(0) / f"points/{result.point_id}.point" for result in backed.results
    )
    last.write_bytes(first.read_bytes())
    for with_keys in (False, True):
        report = checked(backed, with_keys=with_keys)
        assert [(found.name, found.kind) for found in report.findings] == [
            (f"points/{last.name}", "corrupt")
        ]


def test_what_has_the_right_name_and_is_no_pack_is_corrupt(backed: BackedUp) -> None:
    content = b"no pack." * 64
    name = pack_name(PackId(hashlib.sha256(content).hexdigest()))
    path = backed.folder(0) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    for with_keys in (False, True):
        report = checked(backed, with_keys=with_keys)
        assert [(found.name, found.kind) for found in report.findings] == [(name, "corrupt")]


@pytest.mark.parametrize("with_keys", [False, True], ids=["keyless", "with keys"])
def test_a_pack_that_goes_while_it_is_checked_is_missing(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch, *, with_keys: bool
) -> None:
    place = backed.place(0)
    listed = list(place.names())
    [gone, *_] = backed.packs()
    gone.unlink()
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE) if with_keys else None

    def names(prefix: str = "", **_: object) -> Iterator[ObjectInfo]:
        return (info for info in listed if info.name.startswith(prefix))

    monkeypatch.setattr(place, "names", names)
    report = check(place, progress=NullProgress(), keys=keys)
    assert (pack_name(PackId(gone.stem)), "missing") in [
        (found.name, found.kind) for found in report.findings
    ]
    assert not report.is_whole


def test_restorable_is_what_a_restore_finds_whatever_pack_is_lost(backed: BackedUp) -> None:
    (backed.source / "folder" / "below").mkdir(parents=True)
    for number in range(5):
        (backed.source / "folder" / "below" / f"{number}").write_bytes(bytes([number]) * 9000)
    backed.back_up()
    (backed.source / "last").write_bytes(b"last")
    backed.back_up()
    for number in (3, 4):
        for path in [path for path in backed.folder(number).rglob("*") if path.is_file()]:
            place = backed.folder(0) / path.relative_to(backed.folder(number))
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    mixed = False
    for pack in backed.packs():
        away = pack.rename(pack.with_suffix(".away"))
        found = checked(backed, with_keys=True).restorable
        for number, result in enumerate(backed.results):
            try:
                backed.restore(number, target=backed.target / pack.stem / str(number))
            except RestoreIncomplete:
                whole = False
            else:
                whole = True
            assert found[result.point_id] == whole, f"point {number} without {pack.name}"
        mixed = mixed or len(set(found.values())) == 2
        away.rename(pack)
    assert mixed, "some packs are not needed by all points"
