"""Sockets of this computer: who may connect, who may answer, and what is left behind."""

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from overland.adapters.http import UrllibHttp
from overland.adapters.localsocket import SocketInUse, SocketUnsafe, listening
from overland.errors import Unreachable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a socket, in a folder of its owner's."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder / "objects.sock"


def test_only_this_user_may_connect(path: Path) -> None:
    with listening(path, group=None):
        assert path.is_socket()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_group_may_connect_when_it_is_named(path: Path) -> None:
    name = grp.getgrgid(os.getgid()).gr_name
    with listening(path, group=name):
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getgid())


def test_the_mode_is_right_however_open_the_system_makes_files(path: Path) -> None:
    before = os.umask(0)
    try:
        with listening(path, group=None):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.umask(0) == 0, "the program's own umask is as it was"
    finally:
        os.umask(before)


def test_an_unknown_group_is_refused_and_leaves_nothing(path: Path) -> None:
    with (
        pytest.raises(SocketUnsafe, match="no group"),
        listening(path, group="no-such-group-here"),
    ):
        pass
    assert not path.exists()


def test_the_socket_goes_with_its_program_but_not_with_an_earlier_one(path: Path) -> None:
    with listening(path, group=None):
        pass
    assert not path.exists()
    with listening(path, group=None):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as later:
            later.bind(str(path))
    assert path.is_socket(), "it is a later program's"


def test_what_a_killed_program_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    with listening(path, group=None), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_on_which_somebody_listens_is_left_alone(path: Path) -> None:
    with listening(path, group=None) as first:
        with pytest.raises(SocketInUse), listening(path, group=None):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            first.accept()[0].close()


def test_one_that_is_too_busy_to_answer_is_left_alone_too(path: Path) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    try:
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(str(path))
            busy.listen(0)
            for client in clients:
                client.settimeout(0)
                client.connect_ex(str(path))
            with pytest.raises(SocketInUse), listening(path, group=None):
                pass
            assert path.is_socket()
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    target = path.parent / "target"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(target))
        path.symlink_to(target)
    else:
        path.write_text("somebody's")
    with pytest.raises(SocketUnsafe, match="has its name"), listening(path, group=None):
        pass
    assert path.exists()
    assert kind != "link" or target.is_socket()


def _group_may_write(path: Path) -> Path:
    path.parent.chmod(0o770)
    return path


def _others_may_write(path: Path) -> Path:
    path.parent.chmod(0o1777)  # as of /tmp: who comes first has the name
    return path


def _others_may_exchange_the_folder(path: Path) -> Path:
    path.parent.parent.chmod(0o777)
    return path


def _others_may_write_behind_a_link(path: Path) -> Path:
    real = path.parent / "real"
    real.mkdir()
    real.chmod(0o777)
    link = path.parent / "link"
    link.symlink_to(real)
    return link / "objects.sock"


def _absent_folder(path: Path) -> Path:
    return path.parent / "absent" / "objects.sock"


def _too_long(path: Path) -> Path:
    return path.parent / ("n" * 108)


@pytest.mark.parametrize(
    "place",
    [
        _group_may_write,
        _others_may_write,
        _others_may_exchange_the_folder,
        _others_may_write_behind_a_link,
        _absent_folder,
        _too_long,
    ],
)
def test_a_place_where_others_could_answer_is_refused_at_both_ends(
    path: Path, place: object
) -> None:
    assert callable(place)
    unsafe = place(path)
    with pytest.raises(SocketUnsafe), listening(unsafe, group=None):
        pass
    assert not unsafe.exists()
    with pytest.raises(SocketUnsafe):
        UrllibHttp("", "token", None, local=unsafe).request("GET", "/")


def test_a_folder_below_one_that_all_share_can_be_used(path: Path) -> None:
    path.parent.parent.chmod(0o1777)  # its owner alone may rename what is in it
    try:
        with listening(path, group=None):
            assert path.is_socket()
    finally:
        path.parent.parent.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(path: Path) -> None:
    os.chown(path.parent, 4711, 4711)
    with pytest.raises(SocketUnsafe, match="another user"), listening(path, group=None):
        pass


def test_nobody_listening_is_unreachable_after_a_few_attempts(path: Path) -> None:
    pauses = list[float]()
    http = UrllibHttp("", None, None, local=path, pause=pauses.append)
    with pytest.raises(Unreachable, match=str(path)):
        http.request("GET", "/healthz")
    assert len(pauses) == 3
