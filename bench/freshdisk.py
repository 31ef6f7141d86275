"""A new ext4 in an image file, on the disk or in memory, that is gone when the benchmark ends.

Figures for small files are good only on a file system in which nothing was removed shortly before,
and one in memory shows what a program takes where no disk is waited for.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.measure import ToolFailed

__all__ = ["fresh_ext4", "image_bytes", "memory_bytes"]

_BLOCK: Final = bytes(4 << 20)
_MEMORY: Final = "tmpfs"
_MEMORY_SHARE: Final = 0.8  # of what is free, the most that files may take
_INODE_EVERY_BYTES: Final = 8 << 10  # half of the default distance: one set is small files only
_TABLES_SHARE: Final = 1.05
_JOURNAL_BYTES: Final = 512 << 20


@contextlib.contextmanager
def fresh_ext4(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Make an ext4 for so many bytes in an image file in `folder`; yield where it is mounted.

    The loop device opens the image past the page cache.  Otherwise what a program writes past it
    would stay in memory, and each commit of the journal would have all of it written out while
    every other request waits, as no disk does.  On a disk the image is written in full first, so
    that the file system below has nothing to allocate meanwhile; in memory it grows.

    Raises:
        ToolFailed: It cannot be made, as by who is not root.
    """
    length = image_bytes(size_bytes)
    with contextlib.ExitStack() as leaving:
        file = leaving.enter_context(tempfile.NamedTemporaryFile(dir=folder, suffix=".ext4"))
        if _is_memory(folder):
            file.truncate(length)
        else:
            for _ in range(-(-length // len(_BLOCK))):
                file.write(_BLOCK)
            file.flush()
        ready = ("-E", "nodiscard,lazy_itable_init=0")  # nothing is left to do when it is mounted
        _said("mkfs.ext4", "-q", "-m", "0", "-i", str(_INODE_EVERY_BYTES), *ready, file.name)
        device = _said("losetup", "--find", "--show", "--direct-io=on", file.name).strip()
        try:
            where = Path(leaving.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            _said("mount", device, str(where))
            leaving.callback(_said, "umount", str(where))
        finally:
            _said("losetup", "--detach", device)  # when it is unmounted, even if we are killed
        yield where


def image_bytes(size_bytes: int) -> int:
    """Return how long the image of an ext4 for so many bytes is."""
    return int(size_bytes * _TABLES_SHARE) + _JOURNAL_BYTES


def memory_bytes(folder: Path) -> int | None:
    """Return how much files may take, where `folder` is in memory; None where it is on a disk."""
    if not _is_memory(folder):
        return None
    lines = Path("/proc/meminfo").read_text().splitlines()
    available_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return int(available_kib * 1024 * _MEMORY_SHARE)


def _is_memory(folder: Path) -> bool:
    return _said("stat", "--file-system", "--format=%T", str(folder)).strip() == _MEMORY


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
