"""The point and the manifest of a first copy of many objects: what they take to write and to read.

100 TB in packs of 64 MiB are a million and a half.  The packs are made up: a point and a manifest
only list them.
"""

import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.backedup import REPOSITORY, Figures, measured, peak_mib, point, repository_in

from overland.adapters.posix import PosixFiles
from overland.agent.points.pointfile import read_point_file
from overland.agent.repository import Repository
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key, sign
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.format.point import PointPublic, PointRoot, Statistics
from overland.format.seed_manifest import SeedManifest
from overland.seeding.manifest import load_seed_manifest, signed_seed_manifest
from overland.values import PackId, SeedId, keyring_name, pack_name, point_name

__all__ = ["STEPS", "measure_point"]

_PACK_BYTES: Final = 64 << 20
_SEED: Final = SeedId(str(uuid.UUID(int=2)))
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MANIFEST: Final = "manifest.json"


def measure_point(work: str, count: str, step: str) -> Figures:
    """Do one of `STEPS` for so many objects; what it takes beside the program is its own."""
    folder = Path(work)
    repository, before_mib = repository_in(folder / "state"), peak_mib()
    used = measured(lambda: STEPS[step](repository, PosixFiles(folder), int(count)))
    return {
        "objects": int(count),
        "step": step,
        "before_mib": before_mib,
        "peak_mib": peak_mib(),
        "cpu_s": round(used.cpu_s, 1),
    }


def _listed(_: Repository, __: PosixFiles, count: int) -> None:
    assert len(_table(count)) == count, "all are listed"


def _write_point(repository: Repository, files: PosixFiles, count: int) -> None:
    public = PointPublic(
        point_id=point(1),
        repository_id=REPOSITORY,
        created_at=_NOW,
        kind="seed",
        seed_id=_SEED,
        base=None,
        salt="5a" * 32,
        objects=_table(count),
    )
    root = PointRoot(
        roots=[],
        statistics=Statistics(),
        skipped=[],
        host="scale",
        policy="scale",
        include=[],
        exclude=[],
        started_at=_NOW,
        ended_at=_NOW,
    )
    files.write(point_name(point(1)), repository.seal_point(public, root))


def _read_point(repository: Repository, files: PosixFiles, count: int) -> None:
    name = point_name(point(1))
    parsed, _ = repository.open_point(read_point_file(files, name), name=name, place=files)
    assert len(parsed.public.objects) == count, "all are listed"


def _write_manifest(_: Repository, files: PosixFiles, count: int) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    others = [
        ObjectRef(name=name, size_bytes=512, sha256=digest)
        for name in (point_name(point(1)), keyring_name(1))
    ]
    objects = ObjectTable(itertools.chain(_refs(count), others))
    manifest = SeedManifest(
        seed_id=_SEED,
        repository_id=REPOSITORY,
        job_name="scale",
        point_id=point(1),
        snapshot_at=_NOW,
        created_at=_NOW,
        objects=objects.by_name(),
    )
    key = _key()
    document = signed_seed_manifest(
        manifest, public_key=public_key(key), sign=lambda purpose, body: sign(key, purpose, body)
    )
    files.write(_MANIFEST, document)


def _read_manifest(_: Repository, files: PosixFiles, count: int) -> None:
    loaded = load_seed_manifest(files.blocks(_MANIFEST), name=_MANIFEST)
    assert len(loaded.manifest.objects) == count + 2, "all are listed"


STEPS: Final[dict[str, Callable[[Repository, PosixFiles, int], None]]] = {
    "listed while a run goes on": _listed,
    "point written": _write_point,
    "point read": _read_point,
    "manifest written": _write_manifest,
    "manifest read": _read_manifest,
}


def _key() -> Secret:
    return generate_signing_key(lambda size: b"s" * size)


def _table(count: int) -> ObjectTable:
    return ObjectTable(_refs(count))


def _refs(count: int) -> Iterator[ObjectRef]:
    for number in range(count):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        yield ObjectRef(name=pack_name(PackId(digest)), size_bytes=_PACK_BYTES, sha256=digest)
