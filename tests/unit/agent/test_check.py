"""A check finds every damaged byte and every missing object, by name, with keys and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.checking import check_by_processes
from tests.support.torture import fast_folder

from overland.agent.check.findings import CheckReport
from overland.agent.check.places import check_places
from overland.agent.check.run import check
from overland.agent.points.reading import open_keys
from overland.agent.points.signatures import Signatures
from overland.crypto.signers import Signers
from overland.ports.progress import NullProgress


@pytest.fixture(params=["threads", "processes"])
def backed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackedUp]:
    if request.param == "processes":
        check_by_processes(monkeypatch)
    with fast_folder() as folder:
        world = BackedUp(folder)
        (world.source / "folder").mkdir(parents=True)
        for number in range(20):
            (world.source / "folder" / f"{number}").write_bytes(bytes([number]) * 20_000)
        (world.source / "last").write_bytes(b"last")
        world.back_up()
        yield world


def checked(backed: BackedUp, number: int = 0, *, with_keys: bool) -> CheckReport:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE) if with_keys else None
    signatures = Signatures.of(backed.document)
    return check(backed.place(number), progress=NullProgress(), keys=keys, signatures=signatures)


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def names(report: CheckReport, kind: str) -> set[str]:
    return {finding.name for finding in report.findings if finding.kind == kind}


@pytest.mark.parametrize("with_keys", [False, True], ids=["keyless", "with-keys"])
def test_a_whole_store_has_no_findings(backed: BackedUp, *, with_keys: bool) -> None:
    report = checked(backed, with_keys=with_keys)
    assert report.findings == []
    assert report.is_whole
    assert report.restorable == {backed.results[0].point_id: True}
    assert report.objects == len(list(backed.place(0).names()))
    assert (report.chunks > 20) == with_keys


@pytest.mark.parametrize("with_keys", [False, True], ids=["keyless", "with-keys"])
@pytest.mark.parametrize("kind", ["packs/*/*.pack", "index/*", "points/*", "keys/*"])
@pytest.mark.parametrize("at", [0, 70, 200, -1])
def test_each_flipped_byte_is_found_by_its_objects_name(
    backed: BackedUp, kind: str, at: int, *, with_keys: bool
) -> None:
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE) if with_keys else None
    [*_, victim] = sorted(backed.folder().glob(kind))
    flip(victim, at)
    signatures = Signatures.of(backed.document)
    report = check(backed.place(0), progress=NullProgress(), keys=keys, signatures=signatures)
    assert names(report, "corrupt") == {str(victim.relative_to(backed.folder()))}
    assert not report.is_whole


@pytest.mark.parametrize("with_keys", [False, True], ids=["keyless", "with-keys"])
def test_a_missing_pack_is_named_and_its_point_not_restorable(
    backed: BackedUp, *, with_keys: bool
) -> None:
    [victim, *_] = backed.packs()
    victim.unlink()
    report = checked(backed, with_keys=with_keys)
    assert str(victim.relative_to(backed.folder())) in names(report, "missing")
    assert report.restorable == {backed.results[0].point_id: False}


def test_with_keys_the_paths_that_a_missing_pack_costs_are_named(backed: BackedUp) -> None:
    for victim in backed.packs()[1:]:
        victim.unlink()
    report = checked(backed, with_keys=True)
    [finding] = [f for f in report.findings if f.name.startswith("points/")]
    assert "its chunks are in no pack" in finding.reason or "needed chunks" in finding.reason


def test_a_missing_index_costs_nothing_but_is_named(backed: BackedUp) -> None:
    [victim] = backed.folder().glob("index/*")
    victim.unlink()
    report = checked(backed, with_keys=True)
    assert names(report, "missing") == {f"index/{victim.name}"}
    assert report.restorable == {backed.results[0].point_id: True}


def test_an_incremental_without_its_base_is_not_restorable(backed: BackedUp) -> None:
    (backed.source / "last").write_bytes(b"changed")
    backed.back_up()
    report = checked(backed, 1, with_keys=False)
    assert f"points/{backed.results[0].point_id}.point" in names(report, "missing")
    assert report.restorable == {backed.results[1].point_id: False}


def test_a_point_signed_by_somebody_else_is_corrupt(backed: BackedUp) -> None:
    signatures = Signatures(backed.document.repository_id, Signers(bytes(32)))
    report = check(backed.place(0), progress=NullProgress(), signatures=signatures)
    assert names(report, "corrupt") == {f"points/{backed.results[0].point_id}.point"}


def test_what_two_points_share_is_walked_once_and_missed_in_both(tmp_path: Path) -> None:
    backed = two_points(tmp_path)
    report = checked_together(backed)
    assert all(report.restorable.values())
    assert len(report.restorable) == 2
    for victim in backed.packs(0):
        victim.unlink()
    report = checked_together(backed)
    assert not any(report.restorable.values())
    lacking = [f for f in report.findings if f.name.startswith("points/") and f.kind == "missing"]
    assert len(lacking) == 2


def test_what_only_the_later_point_has_is_missed_in_that_one_alone(tmp_path: Path) -> None:
    backed = two_points(tmp_path)
    for victim in backed.packs(1):
        victim.unlink()
    report = checked_together(backed)
    first, second = (result.point_id for result in backed.results)
    assert report.restorable == {first: True, second: False}


def two_points(folder: Path) -> BackedUp:
    """Two points, of which the later has one folder more."""
    backed = BackedUp(folder)
    for name in ("shared", "later"):
        (backed.source / name).mkdir(parents=True)
        for number in range(20):
            (backed.source / name / f"{number}").write_bytes(name.encode() * (number + 1))
        backed.back_up()
    return backed


def checked_together(backed: BackedUp) -> CheckReport:
    """Both places as one store, as `check_places` makes it of them."""
    report = check_places(
        [(str(number), backed.place(number)) for number in range(2)],
        progress=NullProgress(),
        keys=open_keys(backed.objects(), passphrase=PASSPHRASE),
        signatures=None,
    )
    return report.checked
