"""Random small trees for Hypothesis, and random changes between two backups."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from tests.support.torture import BORDERS, MODES, TIMES_NS

__all__ = ["Node", "build_tree", "mutate", "trees"]

_IS_ROOT = os.geteuid() == 0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A random entry; each kind uses what it needs."""

    kind: str
    content: bytes = b""
    size_bytes: int = 0
    data: list[tuple[int, bytes]] = field(default_factory=list)
    target: bytes = b""
    entries: "dict[bytes, Node]" = field(default_factory=dict)
    mode: int = 0o600
    owner: tuple[int, int] = (0, 0)
    mtime_ns: int = 0
    attributes: dict[bytes, bytes] = field(default_factory=dict)


_names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
_times_ns = st.sampled_from(TIMES_NS) | st.integers(-(2**31) * 10**9, 2**33 * 10**9)
_owners = st.tuples(st.integers(0, 70_000), st.integers(0, 70_000))
_attributes = st.dictionaries(
    st.sampled_from([b"user.a", b"user.\xff"]), st.binary(max_size=50), max_size=2
)
_contents = st.binary(max_size=200) | st.builds(
    lambda seed, size: random.Random(seed).randbytes(size),
    st.integers(0, 3),
    st.sampled_from(BORDERS[:12]) | st.integers(0, 300_000),
)


def _described(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        mode=st.sampled_from(MODES),
        owner=_owners,
        mtime_ns=_times_ns,
        attributes=_attributes,
        **fields,
    )


_leaves = st.one_of(
    _described(kind=st.just("file"), content=_contents),
    _described(
        kind=st.just("sparse"),
        size_bytes=st.integers(0, 4 << 20),
        data=st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=50)), max_size=4),
    ),
    _described(
        kind=st.just("symlink"),
        target=st.binary(min_size=1, max_size=80).filter(lambda target: b"\0" not in target),
    ),
    _described(kind=st.just("fifo")),
    st.just(Node(kind="link")),
)


def trees() -> st.SearchStrategy[dict[bytes, Node]]:
    """Return a strategy of random trees: a dictionary from name to entry, for `build_tree`."""
    return st.recursive(
        st.dictionaries(_names, _leaves, max_size=6),
        lambda inside: st.dictionaries(
            _names, _leaves | _described(kind=st.just("folder"), entries=inside), max_size=5
        ),
        max_leaves=12,
    )


def build_tree(top: Path, tree: dict[bytes, Node]) -> None:
    """Build a tree of `trees()` as the new folder `top`."""
    top.mkdir()
    _Builder().fill(top, tree)


class _Builder:
    """Builds one tree, remembering a file for the hard links to point to."""

    def __init__(self) -> None:
        self._linkable: Path | None = None

    def fill(self, folder: Path, tree: dict[bytes, Node]) -> None:
        for name, node in tree.items():
            self._make(folder / os.fsdecode(name), node)

    def _make(self, path: Path, node: Node) -> None:
        match node.kind:
            case "file":
                path.write_bytes(node.content)
                self._linkable = path
            case "sparse":
                _write_sparse(path, node)
            case "symlink":
                path.symlink_to(os.fsdecode(node.target))
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
                self.fill(path, node.entries)
            case _ if self._linkable is not None:
                path.hardlink_to(self._linkable)
        if node.kind != "link":
            _describe(path, node)


def _write_sparse(path: Path, node: Node) -> None:
    with path.open("wb") as file:
        file.truncate(node.size_bytes)
        for at, data in node.data:
            file.seek(at << 16)
            file.write(data)


def _describe(path: Path, node: Node) -> None:
    """Give an entry its metadata, as far as this user may, and could still read the entry."""
    if node.kind in {"file", "sparse", "folder"}:
        for name, value in node.attributes.items():
            os.setxattr(path, name, value)
    if _IS_ROOT:
        os.chown(path, *node.owner, follow_symlinks=False)
    if node.kind != "symlink":
        path.chmod(node.mode if _IS_ROOT else node.mode | 0o700)
    os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


_LONGEST_PATH = 3000  # the system takes 4,096 bytes, and a new name may be longer


def mutate(top: Path, seed: int) -> None:
    """Change the tree `top` as a day of work does: write, insert, rename, remove, touch, create."""
    rng = random.Random(seed)
    for folder, _, names in list(os.walk(top)):
        if not os.access(folder, os.W_OK | os.X_OK):
            continue  # not root, and somebody took the right away
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or rng.random() < 0.5:
                continue
            if not os.access(path, os.R_OK | os.W_OK):
                continue
            if path.stat().st_size <= 8 << 20:
                rng.choice(_CHANGES)(path, rng)
        if rng.random() < 0.5:
            created = Path(folder, f"new {rng.randrange(10**9)}")
            created.write_bytes(rng.randbytes(rng.randrange(100_000)))
    for folder, below, _ in list(os.walk(top, topdown=False)):
        if os.access(folder, os.W_OK | os.X_OK):
            _rename_folders([Path(folder, name) for name in sorted(below)], rng)


def _rename_folders(paths: list[Path], rng: random.Random) -> None:
    """Give some of the folders new names, or each other's."""
    chosen = [path for path in paths if rng.random() < 0.3 and _is_renamable(path)]
    if len(chosen) != 2:
        for path in chosen:
            _rename(path, rng)
        return
    one, other = chosen
    away = one.with_name("on its way")
    one.rename(away)
    other.rename(one)
    away.rename(other)


def _is_renamable(path: Path) -> bool:
    return len(os.fsencode(path)) < _LONGEST_PATH and not path.is_symlink()


def _append(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 5000)))


def _insert(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    path.write_bytes(content[:at] + rng.randbytes(7) + content[at:])


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def _rename(path: Path, rng: random.Random) -> None:
    path.rename(path.with_name(f"renamed {rng.randrange(10**9)}"))


def _remove(path: Path, _rng: random.Random) -> None:
    path.unlink()


def _touch(path: Path, rng: random.Random) -> None:
    time_ns = rng.randrange(10**18)
    os.utime(path, ns=(time_ns, time_ns))


_CHANGES: tuple[Callable[[Path, random.Random], None], ...] = (
    _append,
    _insert,
    _cut,
    _rename,
    _remove,
    _touch,
)
