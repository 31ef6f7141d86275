"""Back up what real snapshots show, and look at what came of it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.backed_up import BackedUp

from overland.adapters.programs import SystemPrograms
from overland.source.snapshots import snapshots
from overland.source.snapshotview import DEFAULT_PERCENT, SnapshotMode, SnapshotView
from overland.source.streams import StreamSource

__all__ = [
    "REPOSITORY",
    "TOKENLESS",
    "back_up",
    "counted",
    "counting",
    "killed_with_a_snapshot",
    "restored",
    "stream_of",
]

REPOSITORY = "6f1c1e0a-5b1f-4a53-9d7f-0f2f0a3f9b11"
TOKENLESS = "overland-snapshot-6f1c1e0a-"
"""How the names of this repository's snapshots begin."""

_KILLED = """
import os, sys
from pathlib import Path
from overland.adapters.programs import SystemPrograms
from overland.source.snapshots import snapshots
with snapshots([os.fsencode(sys.argv[1])], mode=sys.argv[2], repository_id=sys.argv[3],
               programs=SystemPrograms(), folder=Path(sys.argv[4])):
    os.kill(os.getpid(), 9)
"""


def back_up(
    backed: BackedUp,
    *roots: Path,
    mode: SnapshotMode,
    percent: int = DEFAULT_PERCENT,
    **changes: object,
) -> SnapshotView:
    """Back up as a run of a policy with this mode does."""
    with snapshots(
        [os.fsencode(root) for root in roots],
        mode=mode,
        repository_id=REPOSITORY,
        programs=SystemPrograms(),
        folder=_mounts_of(backed),
        percent=percent,
    ) as view:
        backed.back_up(*roots, elsewhere=view.elsewhere, confirm=view.confirm, **changes)
    return view


def restored(backed: BackedUp, source: Path, number: int = -1) -> Path:
    """Restore a point; return what it has of a source."""
    target = backed.target / str(number % len(backed.results))
    backed.restore(number, target=target, strip=b"/")
    return target / str(source).lstrip("/")


def stream_of(code: str, *arguments: object) -> tuple[StreamSource]:
    """A stream that runs Python: it is read when the snapshots are taken, before the folders."""
    argv = [sys.executable, "-c", code, *(str(each) for each in arguments)]
    opened = SystemPrograms().start
    return (StreamSource(path="/change", timeout_s=300, open=lambda: opened(argv)),)


@contextmanager
def counting(folder: Path) -> Iterator[None]:
    """Have a writer count in two files, `a` and `z`, of which `a` is never more than one ahead."""
    stop = threading.Event()

    def count() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in ("a", "z"):
                (folder / "new").write_text(str(number))
                (folder / "new").rename(folder / name)

    writer = threading.Thread(target=count)
    writer.start()
    while not (folder / "z").exists():
        pass
    try:
        yield
    finally:
        stop.set()
        writer.join()


def counted(folder: Path) -> int:
    """Return how far `a` is ahead of `z`; 0 or 1 if both are of one instant."""
    return int((folder / "a").read_text()) - int((folder / "z").read_text())


def killed_with_a_snapshot(backed: BackedUp, source: Path, *, mode: SnapshotMode) -> None:
    """Run a process that takes a snapshot and is killed."""
    argv: list[str | Path] = [sys.executable, "-c", _KILLED, source, mode, REPOSITORY]
    argv.append(_mounts_of(backed))
    died = subprocess.run(argv, check=False, capture_output=True)
    assert died.returncode == -9, died.stderr


def _mounts_of(backed: BackedUp) -> Path:
    return backed.staging.parent / "snapshots"
