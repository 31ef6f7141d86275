"""The comparer judges every restore: it must see every difference, and depend on nothing."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.torture import acl, build_torture, remove_tree

from overland.agent import compare
from overland.agent.compare import Rules, compare_trees

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two equal small trees."""
    first = tmp_path / "first"
    (first / "folder" / "below").mkdir(parents=True)
    (first / "file").write_bytes(b"content")
    (first / "folder" / "file").write_bytes(bytes(10_000))
    (first / "link").hardlink_to(first / "file")
    (first / "alone").write_bytes(b"content")
    (first / "symlink").symlink_to("nowhere")
    os.mkfifo(first / "pipe")
    with (first / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    second = tmp_path / "second"
    subprocess.run(["cp", "-a", "--sparse=always", first, second], check=True)
    (second / "folder" / "file").write_bytes(bytes(10_000))
    shutil.copystat(first / "folder" / "file", second / "folder" / "file")
    yield first, second
    remove_tree(tmp_path)


def times(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_atime_ns, status.st_mtime_ns


def kept(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file without a trace in its times and its folder's."""
    before, above = times(path), times(path.parent)
    change(path)
    if path.is_symlink() or path.exists():
        os.utime(path, ns=before, follow_symlinks=False)
    os.utime(path.parent, ns=above)


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def replace_folder(path: Path) -> None:
    path.rmdir()
    path.write_bytes(b"")


def link_to_file(path: Path) -> None:
    path.unlink()
    path.hardlink_to(path.parent / "file")


def unlink_copy(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def fill(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def test_equal_trees_have_no_difference_and_everything_was_looked_at(
    trees: tuple[Path, Path],
) -> None:
    found = compare_trees(*trees)
    assert found.differences == []
    assert found.equal
    assert found.entries == 10
    assert found.size_bytes == 3 * 7 + 10_000 + (1 << 20)


CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "content": ("file", lambda p: p.write_bytes(b"conTent"), "content differs from byte 3 on"),
    "length": ("file", lambda p: p.write_bytes(b"content!"), "7 bytes long, and"),
    "mode": ("folder", lambda p: p.chmod(0o700), "mode '0o755', and"),
    "setuid": ("file", lambda p: p.chmod(0o4644), "mode '0o644', and"),
    "missing": ("pipe", lambda p: p.unlink(), "b'pipe': the FIFO lacks"),
    "extra": ("new", lambda p: p.write_bytes(b""), "b'new': the file is only in the second"),
    "kind": ("folder/below", replace_folder, "is a folder, and in"),
    "target": ("symlink", relink, "target b'nowhere', and in the second tree b'elsewhere'"),
    "link lost": ("link", unlink_copy, "a hard link that is a file of its own"),
    "link added": (
        "alone",
        link_to_file,
        "a file of its own that is a hard link",
    ),
    "attribute": ("folder", lambda p: os.setxattr(p, "user.new", b"1"), "extended attributes []"),
    "acl": (
        "file",
        lambda p: os.setxattr(p, "system.posix_acl_access", acl(7, 4)),
        "system.posix_acl_access",
    ),
    "hole": ("sparse", fill, "the hole 0 to 524288 is filled"),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda name: name.replace(" ", "-"))
def test_each_kind_of_difference_is_found(trees: tuple[Path, Path], change: str) -> None:
    name, act, words = CHANGES[change]
    first, second = trees
    if (second / name).exists() or (second / name).is_symlink():
        kept(second / name, act)
    else:
        act(second / name)
    found = compare_trees(first, second)
    assert any(words in line for line in found.differences), found.differences


@pytest.mark.parametrize("name", ["file", "folder", "symlink", "pipe", "."])
def test_one_nanosecond_is_a_difference(trees: tuple[Path, Path], name: str) -> None:
    first, second = trees
    accessed, modified = times(second / name)
    os.utime(second / name, ns=(accessed, modified + 1), follow_symlinks=False)
    [difference] = [
        line for line in compare_trees(first, second).differences if not line.startswith("b'link'")
    ]
    assert "modification time" in difference


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("name", ["file", "folder", "symlink", "pipe"])
def test_another_owner_is_a_difference_unless_owners_are_left_out(
    trees: tuple[Path, Path], name: str
) -> None:
    first, second = trees
    os.chown(second / name, 1234, -1, follow_symlinks=False)
    assert any("user 0, and" in line for line in compare_trees(first, second).differences)
    assert compare_trees(first, second, Rules(owners=False)).equal


def test_a_socket_may_lack_but_nothing_else(trees: tuple[Path, Path]) -> None:
    first, second = trees
    above = times(first)
    os.mknod(first / "socket", 0o140600)
    os.utime(first, ns=above)
    assert compare_trees(first, second).equal
    assert not compare_trees(first, second, Rules(left_out=frozenset())).equal


def test_a_torture_tree_equals_itself_and_not_another(tmp_path: Path) -> None:
    build_torture(tmp_path / "one", seed=1)
    build_torture(tmp_path / "two", seed=2)
    try:
        found = compare_trees(tmp_path / "one", tmp_path / "one")
        assert found.differences == []
        assert found.entries > 450
        assert not compare_trees(tmp_path / "one", tmp_path / "two").equal
    finally:
        remove_tree(tmp_path / "one")
        remove_tree(tmp_path / "two")


def test_a_tree_deeper_than_descriptors_allow_is_compared(tmp_path: Path) -> None:
    here = tmp_path / "deep"
    here.mkdir()
    fd = os.open(here, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        assert compare_trees(here, here).entries == 1101
    finally:
        subprocess.run(["rm", "-rf", here], check=True)


def test_it_imports_nothing_of_overland() -> None:
    tree = ast.parse(Path(compare.__file__).read_bytes())
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    assert imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
