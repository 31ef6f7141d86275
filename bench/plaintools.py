"""Runs that are timed, and the plain tools that ours are compared with."""

import mmap
import os
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

__all__ = [
    "COPIES",
    "COPY",
    "READ",
    "Run",
    "forget",
    "in_process",
    "side_by_side",
    "timed",
    "write_store",
]

_BLOCK_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall and processor seconds of all processes that took part, and memory's peak.

    Of an ingest, `moving_s` is the wall time from the first object's begin to the last one's end:
    without the start of the engines, the manifests, the logs.  A run that has no processor seconds
    is part of another one.
    """

    wall_s: float
    cpu_s: float
    peak_mib: int = 0
    moving_s: float = 0.0


def timed(work: Callable[[], object]) -> Run:
    """Run work in this process and measure it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    work()
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before), _peak_mib())


def in_process(work: Callable[..., Run], *arguments: object) -> Run:
    """Run what measures itself in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _cpu_s(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def _peak_mib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


# -- plain tools --------------------------------------------------------------------------------


def _shell(script: str, *words: str) -> Run:
    """Run a script; its processes' time counts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["sh", "-ec", script, "sh", *words], check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before))


def side_by_side(script: str, lanes: Sequence[Sequence[str]]) -> Run:
    """Run the script once per drive, all at once."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(lambda words: _shell(script, *words), lanes))
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before))


# The copy of one file is hashed while the next one is copied; a drive that may be unplugged has
# its caches written, so `sync` belongs to it.
_PIPELINE: Final = (
    'd=$1; shift; for f; do cp "$f" "$d"/; echo "$d/${f##*/}"; done | xargs -n1 %s; sync -f "$d"'
)
_ONE_AFTER_ANOTHER: Final = (
    'd=$1; shift; cp "$@" "$d"/; sync -f "$d"; '
    'for f in "$d"/*; do dd if="$f" iflag=nocache count=0 status=none; done; '
    'sha256sum "$@" "$d"/*'
)
COPIES: Final = {
    "cp | sha256sum": _PIPELINE % "sha256sum",
    "cp | openssl sha256": _PIPELINE % "openssl dgst -sha256",
    "cp, then sha256sum of both ends": _ONE_AFTER_ANOTHER,
}
COPY: Final = (
    'd=$1; shift; for f; do dd if="$f" of="$d/${f##*/}" bs=4M iflag=direct oflag=direct '
    "conv=fsync status=none; done"
)
READ: Final = 'for f; do dd if="$f" of=/dev/null bs=4M iflag=direct status=none; done'


def write_store(folder: str, lanes: Sequence[Sequence[int]]) -> Run:
    """Write files of these sizes past the page cache, all lanes at once.

    In each lane a file is durable before the next one is begun.
    """
    buffer = mmap.mmap(-1, _BLOCK_BYTES)
    buffer.write(os.urandom(_BLOCK_BYTES))

    def write(lane: int) -> None:
        for number, size_bytes in enumerate(lanes[lane]):
            path = f"{folder}/{lane}-{number}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
            left = -(-size_bytes // 4096) * 4096
            while left > 0:
                left -= os.write(fd, memoryview(buffer)[: min(left, _BLOCK_BYTES)])
            os.fsync(fd)
            os.close(fd)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return timed(lambda: list(pool.map(write, range(len(lanes)))))


def forget(paths: Sequence[Path]) -> None:
    """Take files out of the page cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
