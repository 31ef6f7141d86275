"""A small random tree to back up, with odd names, whose every name and content can be found."""

import random
from pathlib import Path

from tests.support.random_trees import Node, build_tree
from tests.support.torture import MODES, ODD_NAMES, TIMES_NS

__all__ = ["NAME_MARK", "TEXT_MARK", "build_source", "work_on"]

NAME_MARK = b"q7ZnameKw4"
"""In every name of the tree; in nothing that leaves the source computer."""

TEXT_MARK = b"q7ZtextKw4"
"""In every content, symlink target and attribute."""


def build_source(top: Path, rng: random.Random) -> None:
    """Make the folder `top` with some megabytes that do not compress, and all kinds of entries."""
    tree = _folder(rng, depth=0)
    for _ in range(rng.randrange(4, 7)):  # so that there are several packs
        tree[_name(rng)] = Node(kind="file", content=_content(rng, rng.randrange(300_000, 900_000)))
    build_tree(top, tree)


def work_on(top: Path, rng: random.Random) -> int:
    """Do some work in the tree; return how many entries were touched."""
    files = [
        path
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20
    ]
    chosen = rng.sample(files, min(len(files), rng.randrange(1, 5)))
    for path in chosen:
        rng.choice((_append, _insert, _replace, _rename, _remove, _touch))(path, rng)
    folders = [top, *(path for path in sorted(top.rglob("*")) if _is_folder(path))]
    created = rng.choice(folders) / _name(rng).decode("utf-8", "surrogateescape")
    created.write_bytes(_content(rng, rng.randrange(100_000)))
    return len(chosen) + 1


def _folder(rng: random.Random, *, depth: int) -> dict[bytes, Node]:
    entries: dict[bytes, Node] = {}
    for _ in range(rng.randrange(2, 7)):
        kind = rng.choice(("file", "file", "file", "sparse", "symlink", "fifo", "link", "folder"))
        if kind == "folder" and depth > 2:
            kind = "file"
        entries[_name(rng)] = _node(rng, kind, depth)
    return entries


def _node(rng: random.Random, kind: str, depth: int) -> Node:
    size_bytes = rng.choice((0, 1, 500, 4096, rng.randrange(200_000)))
    return Node(
        kind=kind,
        content=_content(rng, size_bytes) if kind == "file" else b"",
        size_bytes=rng.randrange(2 << 20),
        data=[(rng.randrange(20), TEXT_MARK + rng.randbytes(50)) for _ in range(rng.randrange(3))],
        target=TEXT_MARK + b"/" + rng.choice(ODD_NAMES)[:60],
        entries=_folder(rng, depth=depth + 1) if kind == "folder" else {},
        mode=rng.choice(MODES),
        owner=(rng.randrange(70_000), rng.randrange(70_000)),
        mtime_ns=rng.choice(TIMES_NS),
        attributes={b"user." + NAME_MARK: TEXT_MARK} if rng.random() < 0.3 else {},
    )


def _name(rng: random.Random) -> bytes:
    return NAME_MARK + rng.randbytes(4).hex().encode() + rng.choice((*ODD_NAMES, b"", b""))[:200]


def _content(rng: random.Random, size_bytes: int) -> bytes:
    """Return bytes of which no kilobyte is without the mark, and that do not compress."""
    parts = []
    for _ in range(-(-size_bytes // 1024)):
        parts += [TEXT_MARK, rng.randbytes(1024 - len(TEXT_MARK))]
    return b"".join(parts)[:size_bytes]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _append(path: Path, rng: random.Random) -> None:
    with path.open("ab") as file:
        file.write(_content(rng, rng.randrange(1, 5000)))


def _insert(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    path.write_bytes(content[:at] + TEXT_MARK + content[at:])


def _replace(path: Path, rng: random.Random) -> None:
    new = path.with_name(_name(rng).decode("utf-8", "surrogateescape"))
    new.write_bytes(_content(rng, rng.randrange(50_000)))
    new.replace(path)


def _rename(path: Path, rng: random.Random) -> None:
    path.rename(path.with_name(_name(rng).decode("utf-8", "surrogateescape")))


def _remove(path: Path, _rng: random.Random) -> None:
    path.unlink()


def _touch(path: Path, rng: random.Random) -> None:
    path.chmod(rng.choice(MODES))
