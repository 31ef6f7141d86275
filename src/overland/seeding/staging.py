"""The staging location: where the objects of a seed wait for the drives.

A seed is one folder, `seed-<uuid>/`, beside whatever else the operator keeps there:

1. `seed.json` is written first and says whose seed this is, so that an interrupted one is known;
2. then the objects, each published whole under its name;
3. then `manifest.json`, the signed list of all objects with their digests;
4. then `READY`, which holds the SHA-256 of `manifest.json`.  Without it the seed is incomplete.

Only names of ours below the folder of a seed of ours are ever written or removed.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from overland.errors import IntegrityError, ObjectAbsent, OutOfSpace, RefusedError
from overland.format.seed_manifest import ManifestObject, SeedManifest
from overland.ports.files import Files
from overland.seeding.manifest import Signer, load_seed_manifest, signed_seed_manifest
from overland.seeding.seedrecord import (
    SeedRecord,
    SeedRecordInvalid,
    read_record,
    seed_folder,
    write_record,
)
from overland.seeding.subfolder import Subfolder
from overland.values import SeedId, canonical_uuid

if TYPE_CHECKING:
    from overland.seeding.copying import ObjectCopier

__all__ = [
    "FoundSeed",
    "SeedAlreadyStaged",
    "SeedConflict",
    "SeedDraft",
    "SeedIncomplete",
    "StagedProblem",
    "StagedSeed",
    "StagingLocation",
]

MANIFEST: Final = "manifest.json"
READY: Final = "READY"

_FOLDER: Final = re.compile(r"seed-([0-9a-f-]{36})/seed\.json")


class SeedIncomplete(RefusedError):
    """The first copy was not finished, so there is nothing to put on drives yet."""

    code = "seed-incomplete"

    def __init__(self, seed_id: str, *, why: str) -> None:
        super().__init__(
            f"seed {seed_id} is incomplete: {why}; run `overland backup now` on the source "
            "computer to finish it"
        )
        self.seed_id, self.why = seed_id, why


class SeedConflict(RefusedError):
    """The folder belongs to a seed with other settings."""

    code = "seed-conflict"

    def __init__(self, seed_id: str, *, field: str) -> None:
        super().__init__(
            f"the staging location holds seed {seed_id} with another {field}; "
            "abandon that seed, or use another staging location"
        )
        self.seed_id, self.field = seed_id, field


class SeedAlreadyStaged(RefusedError):
    """The seed is complete; nothing more is written to it."""

    code = "seed-already-staged"

    def __init__(self, seed_id: str) -> None:
        super().__init__(
            f"seed {seed_id} is complete in the staging location; run `overland disk prepare` on "
            "the copy computer"
        )
        self.seed_id = seed_id


class FoundSeed(msgspec.Struct, frozen=True, kw_only=True):
    """A seed in a staging location; `why_not` says why it cannot go on drives, if it cannot."""

    seed_id: SeedId
    record: SeedRecord | None
    why_not: str | None


class StagedProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a staged seed that is not what the manifest says.

    Of one that is unreadable nobody knows: the medium did not give it, and `check` says why not.
    """

    name: str
    check: str
    is_unreadable: bool = False


class StagingLocation:
    """The folder at `path`, seen through the `Files` that `files_of(path)` returns."""

    def __init__(self, path: str, *, files_of: Callable[[str], Files]) -> None:
        self.path = path
        self._files = files_of(path)

    def seeds(self) -> list[FoundSeed]:
        """Return the seeds here, complete or not, by age.

        Foreign files and folders are not ours to judge and are left out.
        """
        matches = (_FOLDER.fullmatch(info.name) for info in self._files.names("seed-"))
        found = [self._find(match[1]) for match in matches if match and _is_uuid(match[1])]
        return sorted(found, key=lambda seed: (seed.record is None, _age(seed), seed.seed_id))

    def begin(
        self, record: SeedRecord, *, needed_bytes: int, even_if_small: bool = False
    ) -> "SeedDraft":
        """Return the folder of a new seed, or of one that was interrupted, to write objects to.

        `needed_bytes` is the size of the selected source data; what the seed's folder holds
        already counts as free (R20).  `even_if_small` leaves that rule out, because what is
        written is compressed.  On return `seed.json` survives a power cut.

        Raises:
            OutOfSpace: The staging location is smaller; nothing was written.
            SeedAlreadyStaged: The seed is complete.
            SeedConflict: The folder belongs to a seed with other settings.
            SeedFormatUnknown: A newer program began it.
            SeedRecordInvalid: Its `seed.json` is damaged.
        """
        seed = Subfolder(self._files, seed_folder(record.seed_id))
        stored = read_record(seed, record.seed_id)
        if _holds(seed, READY):
            seed.settle(READY)  # who wrote it may have been killed before the last sync
            raise SeedAlreadyStaged(record.seed_id)
        if stored is not None:
            _refuse_other_settings(stored, record)
        if not even_if_small:
            self._refuse_small(seed, needed_bytes)
        if stored is None:
            write_record(seed, record)
        self._files.sweep()
        return SeedDraft(stored or record, seed)

    def open(self, seed_id: str) -> "StagedSeed":
        """Return a complete seed, its manifest verified against `READY` and its signature.

        Raises:
            SeedIncomplete: It is absent or was interrupted.
            SeedFormatUnknown: A newer program wrote it.
            IntegrityError: `seed.json` or the manifest is damaged.
            ValueError: `seed_id` is no UUID.
        """
        seed = Subfolder(self._files, seed_folder(canonical_uuid(seed_id)))
        record = read_record(seed, seed_id)
        if record is None:
            raise SeedIncomplete(seed_id, why="the staging location does not hold it")
        try:
            ready = seed.read(READY)
            loaded = load_seed_manifest(
                seed.blocks(MANIFEST),
                name=f"{seed_folder(seed_id)}/{MANIFEST}",
                check=lambda digest: _check_ready(ready, digest),
            )
        except ObjectAbsent as absent:
            raise SeedIncomplete(seed_id, why=f"{absent.name} is not there") from None
        manifest = loaded.manifest
        if (manifest.seed_id, manifest.repository_id) != (record.seed_id, record.repository_id):
            raise SeedRecordInvalid(MANIFEST, check="it is the manifest of another seed")
        return StagedSeed(
            record=record,
            manifest=manifest,
            document_bytes=loaded.document_bytes,
            sha256=loaded.sha256,
            public_key=loaded.public_key,
            files=seed,
        )

    def _find(self, seed_id: str) -> FoundSeed:
        seed = Subfolder(self._files, seed_folder(seed_id))
        record = None
        try:
            record = read_record(seed, seed_id)
            self.open(seed_id)
        except SeedIncomplete as incomplete:
            return FoundSeed(seed_id=SeedId(seed_id), record=record, why_not=incomplete.why)
        except (RefusedError, IntegrityError) as error:
            return FoundSeed(seed_id=SeedId(seed_id), record=record, why_not=str(error))
        return FoundSeed(seed_id=SeedId(seed_id), record=record, why_not=None)

    def _refuse_small(self, seed: Files, needed_bytes: int) -> None:
        staged_bytes = sum(info.size_bytes for info in seed.names())
        free_bytes = self._files.free_bytes() + staged_bytes
        if free_bytes < needed_bytes:
            raise OutOfSpace(self.path, needed_bytes=needed_bytes, free_bytes=free_bytes)


class SeedDraft:
    """A seed being written.  `files` is where the agent publishes its objects."""

    def __init__(self, record: SeedRecord, files: Files) -> None:
        self.record, self.files = record, files

    def finish(self, manifest: SeedManifest, *, public_key: bytes, sign: Signer) -> str:
        """Sign the manifest, write it, and declare the seed ready; return its SHA-256.

        On return the seed is complete and survives a power cut.  After a power cut during the
        call it is complete or incomplete, never complete with another manifest.

        Raises:
            SeedIncomplete: An object of the manifest is absent or has another size.
            ManifestInvalid: The manifest breaks a rule of its format.
            OutOfSpace: There is no room for it; the seed is incomplete.
        """
        assert manifest.seed_id == self.record.seed_id, "each seed has its own manifest"
        for problem in _size_problems(self.files, manifest.objects):
            raise SeedIncomplete(self.record.seed_id, why=f"{problem.name}: {problem.check}")
        document = signed_seed_manifest(manifest, public_key=public_key, sign=sign)
        digest = hashlib.sha256(document).hexdigest()
        self.files.write(MANIFEST, document)
        self.files.write(READY, f"{digest}\n".encode("ascii"))
        return digest


class StagedSeed(msgspec.Struct, frozen=True, kw_only=True):
    """A complete seed: its record, its signed manifest, and its files.

    `public_key` is the key that signed the manifest; whether it is the source computer's is for
    the cloud to say, which knows that computer.
    """

    record: SeedRecord
    manifest: SeedManifest
    document_bytes: int
    sha256: str
    public_key: bytes
    files: Files

    def read_document(self) -> bytes:
        """Return the signed manifest as bytes; of 100 TB it has 280 MB, so nobody keeps it.

        Raises:
            SeedRecordInvalid: It is not what it was any more.
            ObjectAbsent: It is not there any more.
        """
        document = self.files.read(MANIFEST)
        if hashlib.sha256(document).hexdigest() != self.sha256:
            raise SeedRecordInvalid(MANIFEST, check="its SHA-256 is not the one in READY")
        return document

    def check_sizes(self) -> list[StagedProblem]:
        """Return the objects that are absent or have another size; reads no content."""
        return _size_problems(self.files, self.manifest.objects)

    def check_content(self, copier: "ObjectCopier") -> list[StagedProblem]:
        """Return the objects whose content is not what the manifest says; reads everything.

        An object that the medium does not give is one of them, and the check goes on.
        """
        problems = []
        for item in self.manifest.objects:
            try:
                copier.read_back(
                    item.name, medium=self.files, size_bytes=item.size_bytes, sha256=item.sha256
                )
            except (ObjectAbsent, IntegrityError) as error:
                problems.append(StagedProblem(name=item.name, check=str(error)))
            except OSError as error:
                why = error.strerror or str(error)
                problems.append(StagedProblem(name=item.name, check=why, is_unreadable=True))
        return problems


def _check_ready(ready: bytes, digest: str) -> None:
    if ready.strip().decode("ascii", "replace") != digest:
        raise SeedRecordInvalid(MANIFEST, check="its SHA-256 is not the one in READY")


def _size_problems(files: Files, objects: Iterable[ManifestObject]) -> list[StagedProblem]:
    """Compare a folder with a manifest's objects; both are sorted by name, and long."""
    infos, problems = files.names(), []
    info = next(infos, None)
    for item in objects:
        while info is not None and info.name < item.name:
            info = next(infos, None)
        if info is None or info.name != item.name:
            problems.append(StagedProblem(name=item.name, check="it is not there"))
        elif info.size_bytes != item.size_bytes:
            check = f"it has {info.size_bytes} bytes instead of {item.size_bytes}"
            problems.append(StagedProblem(name=item.name, check=check))
    return problems


def _refuse_other_settings(stored: SeedRecord, record: SeedRecord) -> None:
    for field in ("repository_id", "subscription_id", "storage_account", "container"):
        if getattr(stored, field) != getattr(record, field):
            raise SeedConflict(record.seed_id, field=field.replace("_", " "))


def _holds(files: Files, name: str) -> bool:
    try:
        files.size_bytes(name)
    except ObjectAbsent:
        return False
    return True


def _is_uuid(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False


def _age(seed: FoundSeed) -> float:
    return seed.record.created_at.timestamp() if seed.record else 0.0
