"""The names of a first copy of many objects: what they take to write, to read and to compare.

100 TB in packs of 64 MiB are a million and a half.  The packs are made up, each when it is asked
for: points, manifests and listings only name them, and a check without keys reads of each what
proves its name.
"""

import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from bench.backedup import REPOSITORY, Figures, measured, peak_mib, point, repository_in

from overland.adapters.posix import PosixFiles
from overland.agent.backup.chain import named_by_points
from overland.agent.check.places import check_places
from overland.agent.points.pointfile import read_point_file
from overland.agent.repository import Repository
from overland.agent.restore.lost import not_there
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key, sign
from overland.errors import ObjectAbsent
from overland.format.objecttable import ObjectRef, ObjectTable
from overland.format.pack import HEADER_BYTES, TRAILER_BYTES, Trailer, encode_trailer
from overland.format.point import PointPublic, PointRoot, Statistics
from overland.format.seed_manifest import SeedManifest
from overland.ports.progress import NullProgress
from overland.seeding.manifest import load_seed_manifest, signed_seed_manifest
from overland.values import ObjectInfo, PackId, SeedId, keyring_name, pack_name, point_name

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


class _Place:
    """A place with a point and the packs that it names, which are made up; sorted by name."""

    def __init__(self, files: PosixFiles, count: int) -> None:
        self._files, self._count = files, count

    @cached_property
    def _numbers(self) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
        digests = b"".join(_digest(number)[:8] for number in range(self._count))
        self._keys = np.frombuffer(digests, ">u8").astype(np.uint64)
        order = np.argsort(self._keys).astype(np.uint32)
        self._keys = self._keys[order]
        return order

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for folder, infos in (("packs/", self._packs()), ("points/", self._files.names("points/"))):
            if folder.startswith(prefix) or prefix.startswith(folder):
                yield from (info for info in infos if info.name > start_after)

    def _packs(self) -> Iterator[ObjectInfo]:
        for number in self._numbers.tolist():
            name = pack_name(PackId(_digest(number).hex()))
            yield ObjectInfo(name=name, size_bytes=_PACK_BYTES)

    def blocks(self, name: str) -> Iterator[memoryview]:
        key = np.uint64(int(name[9:25], 16))
        number = int(self._numbers[np.searchsorted(self._keys, key)])
        yield memoryview(_content(number))

    def read(self, name: str) -> bytes:
        return self._files.read(name)

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self._files.read_range(name, offset=offset, length=length)

    def head(self, name: str) -> ObjectInfo:
        raise ObjectAbsent(name)

    def put(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError

    def delete(self, name: str) -> NoReturn:
        raise AssertionError(name)


def _checked(_: Repository, files: PosixFiles, count: int) -> None:
    place = _Place(files, count)
    report = check_places([("made up", place)], progress=NullProgress(), keys=None, signatures=None)
    assert report.is_whole, "all is there, and is what its name says"
    assert report.checked.objects == count + 1, "all were looked at"


def _left(repository: Repository, files: PosixFiles, count: int) -> None:
    place = _Place(files, count)
    named = named_by_points(repository, place, beside=None)
    assert all(info.name in named for info in place.names("packs/")), "no run left any"


def _missed(repository: Repository, files: PosixFiles, count: int) -> None:
    name = point_name(point(1))
    parsed, _ = repository.open_point(read_point_file(files, name), name=name, place=files)
    assert not not_there([parsed.public], _Place(files, count)), "all are there"


STEPS: Final[dict[str, Callable[[Repository, PosixFiles, int], None]]] = {
    "listed while a run goes on": _listed,
    "point written": _write_point,
    "point read": _read_point,
    "checked without keys": _checked,
    "what no point names": _left,
    "missed by a restore": _missed,
    "manifest written": _write_manifest,
    "manifest read": _read_manifest,
}


def _key() -> Secret:
    return generate_signing_key(lambda size: b"s" * size)


def _table(count: int) -> ObjectTable:
    return ObjectTable(_refs(count))


def _refs(count: int) -> Iterator[ObjectRef]:
    for number in range(count):
        digest = _digest(number).hex()
        yield ObjectRef(name=pack_name(PackId(digest)), size_bytes=_PACK_BYTES, sha256=digest)


def _digest(number: int) -> bytes:
    return hashlib.sha256(_content(number)).digest()


def _content(number: int) -> bytes:
    """Return what stands for a pack: its number, and a trailer as of one of 64 MiB."""
    return number.to_bytes(8, "little") + _TRAILER


_TRAILER: Final = encode_trailer(
    Trailer(
        directory_offset=HEADER_BYTES,
        directory_sealed_bytes=_PACK_BYTES - HEADER_BYTES - TRAILER_BYTES,
        segment_count=1,
        chunk_count=1,
    )
)
