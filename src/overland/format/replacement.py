"""A replacement: packs and index files that others stand in for (`replacement-v1.md`).

It is the body of a signed document (`format.signed`) and holds ids, names, sizes and digests of
objects only, so that keyless machines can tell what recovery points still need.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import IntegrityError
from overland.values import (
    PointId,
    ReplacementId,
    RepositoryId,
    canonical_uuid,
    is_object_name,
    replacement_name,
)

__all__ = [
    "MAX_NEW_OBJECTS",
    "MAX_POINTS",
    "MAX_REPLACED",
    "REPLACEMENT_PURPOSE",
    "Replacement",
    "ReplacementInvalid",
    "ReplacementObject",
    "decode_replacement",
    "encode_replacement",
    "needed_after",
]

REPLACEMENT_PURPOSE: Final = "overland-replacement-v1"
MAX_POINTS: Final = 100_000
MAX_REPLACED: Final = 1_000_000
MAX_NEW_OBJECTS: Final = 500_000
_ALIGNMENT: Final = 512

_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Points = Annotated[list[PointId], msgspec.Meta(max_length=MAX_POINTS)]


class ReplacementInvalid(IntegrityError):
    """A replacement breaks a rule of `docs/format/replacement-v1.md`."""

    code = "replacement-invalid"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(f"{name} is not a valid replacement: {check}; nothing is taken from it")
        self.name, self.check = name, check


class ReplacementObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pack or index file that comes: its name, size and SHA-256."""

    name: str
    size_bytes: Annotated[int, msgspec.Meta(gt=0, le=1 << 30)]
    sha256: _Sha256


class Replacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every chunk of the points in `keeps` lies in what stays once `replaced` is gone."""

    format_version: Literal[1] = 1
    replacement_id: ReplacementId
    repository_id: RepositoryId
    created_at: _Instant
    reason: Literal["repack", "repair"]
    keeps: _Points
    lost: _Points
    replaced: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_REPLACED)]
    objects: Annotated[list[ReplacementObject], msgspec.Meta(max_length=MAX_NEW_OBJECTS)]


def encode_replacement(replacement: Replacement) -> bytes:
    """Return the canonical body to sign for `REPLACEMENT_PURPOSE`.

    Raises:
        ReplacementInvalid: A rule of `docs/format/replacement-v1.md` §2 is broken.
    """
    body = msgspec.json.encode(replacement)
    decode_replacement(body, name=replacement_name(replacement.replacement_id))
    return body


def decode_replacement(body: bytes, *, name: str) -> Replacement:
    """Return a replacement from the body of its signed document.

    Args:
        body: The body; its signature is the caller's to verify.
        name: The object's name, which must be that of the replacement's id.

    Raises:
        ReplacementInvalid: A rule of `docs/format/replacement-v1.md` §2 is broken.
    """
    try:
        found = msgspec.json.decode(body, type=Replacement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReplacementInvalid(name, check=f"not a replacement of version 1: {error}") from None
    if msgspec.json.encode(found) != body:
        raise ReplacementInvalid(name, check="it is not in canonical form")
    _check(found, name=name)
    return found


def needed_after(
    needed: Iterable[str], replacements: Sequence[Replacement], *, point_id: PointId
) -> set[str]:
    """Return which packs and index files a recovery point needs (`replacement-v1.md` §4).

    Args:
        needed: The names that the point and its bases list.
        replacements: All that were accepted, in any order.
        point_id: The point.
    """
    names = set(needed)
    waiting = list(replacements)
    gone: set[str] = set()
    met = True
    # One replacement's objects may be replaced by another, whichever is looked at first.
    while met:
        met = False
        for replacement in list(waiting):
            if names.isdisjoint(replacement.replaced):
                continue
            waiting.remove(replacement)
            names.update(item.name for item in replacement.objects)
            if point_id not in replacement.lost:
                gone.update(replacement.replaced)
            met = True
    return names - gone


def _check(found: Replacement, *, name: str) -> None:
    ids = (found.replacement_id, found.repository_id, *found.keeps, *found.lost)
    if not all(map(_is_canonical, ids)):
        raise ReplacementInvalid(name, check="an id is not a canonical UUID")
    if name != replacement_name(found.replacement_id):
        raise ReplacementInvalid(name, check="its id is not that of its name")
    if found.created_at.utcoffset() != timedelta(0):
        raise ReplacementInvalid(name, check="an instant is not in UTC")
    _check_points(found, name=name)
    _check_objects(found, name=name)


def _check_points(found: Replacement, *, name: str) -> None:
    if not (_is_sorted(found.keeps) and _is_sorted(found.lost)):
        raise ReplacementInvalid(name, check="points are not sorted, or not unique")
    if not found.keeps and not found.lost:
        raise ReplacementInvalid(name, check="it names no point")
    if not set(found.keeps).isdisjoint(found.lost):
        raise ReplacementInvalid(name, check="a point is both kept and lost")
    if found.reason == "repack" and found.lost:
        raise ReplacementInvalid(name, check="a repack loses nothing")


def _check_objects(found: Replacement, *, name: str) -> None:
    coming = [item.name for item in found.objects]
    if not all(map(_is_payload, (*found.replaced, *coming))):
        raise ReplacementInvalid(name, check="an object's name is not allowed")
    if not (_is_sorted(found.replaced) and _is_sorted(coming)):
        raise ReplacementInvalid(name, check="objects are not sorted by name, or not unique")
    if not set(found.replaced).isdisjoint(coming):
        raise ReplacementInvalid(name, check="an object both comes and goes")
    if any(o.sha256 not in o.name or o.size_bytes % _ALIGNMENT for o in found.objects):
        raise ReplacementInvalid(name, check="an object's name or size is not its own")


def _is_payload(name: str) -> bool:
    return is_object_name(name) and name.startswith(("packs/", "index/"))


def _is_sorted(values: Sequence[str]) -> bool:
    return all(before < after for before, after in pairwise(values))


def _is_canonical(text: str) -> bool:
    try:
        return canonical_uuid(text) == text
    except ValueError:
        return False
