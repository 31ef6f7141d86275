"""A mount while points go: what is not there is an `OSError`, and none shows another's."""

import errno
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp, SettledClock
from tests.support.torture import fast_folder

from overland.agent.mount.view import PointsView
from overland.agent.points.reading import open_keys
from overland.values import point_name

NEW = "eight ferries over the sea"
ONE_SECOND = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def backed() -> Iterator[BackedUp]:
    with fast_folder() as folder:
        world = BackedUp(folder)
        world.source.mkdir()
        (world.source / "first").write_bytes(b"A")
        yield world


def shown(backed: BackedUp, view: PointsView, point: bytes) -> list[bytes]:
    place = view.place(b"/" + point + str(backed.source).encode())
    return [name for name, _ in view.names(place)]


def test_a_point_that_went_since_it_was_listed_is_not_there(backed: BackedUp) -> None:
    backed.back_up()
    keys = open_keys(backed.objects(), passphrase=PASSPHRASE)
    view = PointsView(backed.objects, keys, clock=SettledClock())
    (backed.folder(0) / point_name(backed.results[0].point_id)).unlink()
    for path in (b"/" + view.latest(), b"/" + view.latest() + b"/srv"):
        with pytest.raises(FileNotFoundError):
            view.place(path)


def test_a_point_that_lost_its_proof_since_it_was_listed_cannot_be_read(backed: BackedUp) -> None:
    backed.back_up()
    backed.rotate_signing(NEW)
    backed.back_up()
    keys = open_keys(backed.objects(), passphrase=NEW)
    view = PointsView(backed.objects, keys, clock=SettledClock())
    former = next(iter(view._points))
    lost = open_keys(backed.objects(), passphrase=NEW)
    for name in backed.repository.signatures.change_names:
        (backed.folder(1) / name).unlink()
    view._points[former].store.keys = lost
    with pytest.raises(OSError, match=r".") as failed:
        view.place(b"/" + former)
    assert failed.value.errno == errno.EIO


def test_of_two_points_of_one_second_none_shows_what_the_other_had(
    backed: BackedUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SettledClock, "now", lambda _: ONE_SECOND)
    backed.back_up()
    (backed.source / "first").rename(backed.source / "second")
    backed.back_up()
    monkeypatch.undo()
    clock = SettledClock()
    view = PointsView(
        backed.objects, open_keys(backed.objects(), passphrase=PASSPHRASE), clock=clock
    )
    name, other = view._points
    assert other.startswith(name + b"-"), "both are of one second"
    assert shown(backed, view, name) == [b"first"]
    (backed.folder(0) / point_name(backed.results[0].point_id)).unlink()
    clock.sleep(11)
    view.refresh()
    assert list(view._points) == [name]
    assert shown(backed, view, name) == [b"second"]
