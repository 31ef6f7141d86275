"""The names and ids that every part of Overland shares.

An *object* is one immutable file of a repository.  It has the same name in the staging location,
on a drive, in a container and in a vault, so that every hop is copy and verify
(`docs/format/repository-v1.md`).
"""

import re
from typing import Final, NewType
from uuid import UUID

import msgspec

__all__ = [
    "ACCOUNT_NAME",
    "CONTAINER_NAME",
    "DIGEST_HEX_LENGTH",
    "MAX_JOB_NAME",
    "POLICY_JOB_NAME",
    "TOP_UP_NAME",
    "ObjectInfo",
    "ObjectName",
    "PackId",
    "PointId",
    "ReplacementId",
    "RepositoryId",
    "SeedId",
    "canonical_uuid",
    "index_name",
    "is_job_or_top_up",
    "is_object_name",
    "key_change_name",
    "keyring_name",
    "named_digest",
    "pack_name",
    "path_text",
    "point_name",
    "promised_digest",
    "replacement_name",
    "top_up_name",
]

ObjectName = NewType("ObjectName", str)
"""A name such as `packs/3f/3f…e1.pack`; only the six patterns of `is_object_name` exist."""

PackId = NewType("PackId", str)
"""SHA-256 of a pack's bytes, 64 lower-case hexadecimal digits."""

PointId = NewType("PointId", str)
"""A recovery point's id, a UUID in canonical lower-case form."""

ReplacementId = NewType("ReplacementId", str)
"""A replacement's id, a UUID in canonical lower-case form."""

RepositoryId = NewType("RepositoryId", str)
"""A repository's id, a UUID in canonical lower-case form; one repository per source computer."""

SeedId = NewType("SeedId", str)
"""A seed's id, a UUID in canonical lower-case form; the link between policy and import job."""

DIGEST_HEX_LENGTH: Final = 64

_NAMED_BY_DIGEST: Final = re.compile(
    r"(?:packs/../|index/|keychanges/[0-9]{8}-)([0-9a-f]{64})\.(?:pack|index|change)"
)
_WHOSE: Final = re.compile(r".*?(?=packs/|index/|keychanges/)", re.DOTALL)
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OBJECT: Final = re.compile(
    r"packs/(?P<fan>[0-9a-f]{2})/(?P=fan)[0-9a-f]{62}\.pack"
    r"|index/[0-9a-f]{64}\.index"
    rf"|points/{_UUID}\.point"
    r"|keys/[0-9]{8}\.keyring"
    r"|keychanges/[0-9]{8}-[0-9a-f]{64}\.change"
    rf"|replacements/{_UUID}\.replacement"
)


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows of one object without reading it."""

    name: str
    size_bytes: int


ACCOUNT_NAME: Final = re.compile(r"[a-z0-9]{3,24}")
"""A storage account's name: 3-24 lower-case letters and digits."""

CONTAINER_NAME: Final = re.compile(r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*")
"""A container's name: 3-63 lower-case letters, digits and single hyphens, none at the ends."""

POLICY_JOB_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{1,63}")
"""The import job's name of the offline page: 2-64 lower-case letters, digits, `-`, `_`."""

MAX_JOB_NAME: Final = 64
"""Characters of an import job's name."""

TOP_UP_NAME: Final = re.compile(r".*-topup-(?P<number>[1-9][0-9]{0,2})", re.IGNORECASE)
"""The name of an import job that brings what another one did not; no policy may ask for it."""


def is_object_name(name: str) -> bool:
    """Return whether `name` is one of the six forms that a repository may hold.

    Names from outside pass through here before they come near a path; nothing that leaves its
    folder can match.
    """
    return _OBJECT.fullmatch(name) is not None


def named_digest(name: str) -> str | None:
    """Return the SHA-256 that the name of a pack, an index file or a key change promises."""
    match = _NAMED_BY_DIGEST.fullmatch(name)
    return match[1] if match else None


def promised_digest(name: str) -> str | None:
    """Return `named_digest` of a name in a shared space: what stands before is whose it is."""
    return named_digest(_WHOSE.sub("", name, count=1))


def pack_name(pack_id: PackId) -> ObjectName:
    """Return the object name of a pack; packs fan out over 256 folders by their first byte."""
    return ObjectName(f"packs/{pack_id[:2]}/{pack_id}.pack")


def index_name(digest: str) -> ObjectName:
    """Return the object name of an index file whose bytes have the SHA-256 `digest`."""
    return ObjectName(f"index/{digest}.index")


def point_name(point_id: PointId) -> ObjectName:
    """Return the object name of a recovery point."""
    return ObjectName(f"points/{point_id}.point")


def keyring_name(generation: int) -> ObjectName:
    """Return the object name of the keyring's `generation`, counted from 1; the highest counts."""
    assert 1 <= generation <= 99_999_999, "eight digits hold the generation"
    return ObjectName(f"keys/{generation:08d}.keyring")


def key_change_name(number: int, digest: str) -> ObjectName:
    """Return the object name of the key change with a number, whose bytes have this SHA-256."""
    assert 1 <= number <= 99_999_999, "eight digits hold the number"
    return ObjectName(f"keychanges/{number:08d}-{digest}.change")


def replacement_name(replacement_id: ReplacementId) -> ObjectName:
    """Return the object name of a replacement (`docs/format/replacement-v1.md`)."""
    return ObjectName(f"replacements/{replacement_id}.replacement")


def canonical_uuid(text: str) -> str:
    """Return `text` as a canonical lower-case UUID.

    Raises:
        ValueError: It is not a UUID.
    """
    return str(UUID(text))


def top_up_name(job_name: str, number: int) -> str:
    """Return the name of the `number`-th import job that brings what job `job_name` did not.

    It is derived, so that nobody types a name twice; a long name loses its end.
    """
    assert 1 <= number <= 999, "a seed is topped up a few times"
    ending = f"-topup-{number}"
    return job_name[: MAX_JOB_NAME - len(ending)] + ending


def is_job_or_top_up(name: str, job_name: str) -> bool:
    """Return whether `name` is the import job `job_name` or a top-up of it; case is ignored."""
    name, job_name = name.casefold(), job_name.casefold()
    found = TOP_UP_NAME.fullmatch(name)
    return name == job_name or (
        found is not None and top_up_name(job_name, int(found["number"])) == name
    )


def path_text(path: bytes) -> str:
    """Return a path of a source for people: control characters and foreign bytes are escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
