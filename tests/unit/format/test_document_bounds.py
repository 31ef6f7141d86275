"""Every bound and every rule of the JSON documents: what is just outside of it is refused.

Each case is the good sample with one thing changed, in canonical form, so that only the rule that
it is named after can refuse it.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.support import format_samples as sample

from overland.format.point import PointCorrupt, decode_public, encode_public
from overland.format.replacement import (
    MAX_POINTS,
    Replacement,
    ReplacementInvalid,
    decode_replacement,
    encode_replacement,
)
from overland.format.seed_manifest import (
    ManifestInvalid,
    decode_drive_manifest,
    decode_seed_manifest,
    encode_drive_manifest,
    encode_seed_manifest,
)
from overland.values import replacement_name

Body = dict[str, Any]  # any JSON: what is tried are values that the types forbid
Change = Callable[[Body], object]

ALIGNED_MAX = 1 << 30
NAME = "the sample"


def changed(body: bytes, change: Change) -> bytes:
    found: Body = json.loads(body)
    change(found)
    return msgspec.json.encode(found)


def put(key: str, value: object) -> Change:
    return lambda body: body.__setitem__(key, value)


def put_in(key: str, row: int, field: str, value: object) -> Change:
    return lambda body: body[key][row].__setitem__(field, value)


def twice(key: str) -> Change:
    return lambda body: body[key].insert(1, body[key][0])


def without(key: str, end: str) -> Change:
    return lambda body: put(key, [o for o in body[key] if not o["name"].endswith(end)])(body)


def points(count: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{number:012x}" for number in range(count)]


POINT = f"points/{sample.POINT}.point"
OTHER_ZONE = "2026-05-01T10:00:00+02:00"
WRONG_ID = sample.POINT.upper()

REPLACEMENTS: dict[str, tuple[Change, str]] = {
    "an empty object": (put_in("objects", 0, "size_bytes", 0), "not a replacement of version 1"),
    "an object too long": (
        put_in("objects", 0, "size_bytes", ALIGNED_MAX + 512),
        "not a replacement of version 1",
    ),
    "a size between": (put_in("objects", 0, "size_bytes", 513), "not its own"),
    "another digest": (put_in("objects", 0, "sha256", "0" * 64), "not its own"),
    "a point goes": (put("replaced", [POINT]), "name is not allowed"),
    "a keyring goes": (put("replaced", ["keys/00000001.keyring"]), "name is not allowed"),
    "nothing goes": (put("replaced", []), "not a replacement of version 1"),
    "an object goes twice": (twice("replaced"), "not sorted by name"),
    "an object comes twice": (twice("objects"), "not sorted by name"),
    "a point is kept twice": (twice("keeps"), "not sorted"),
    "a point is lost twice": (twice("lost"), "not sorted"),
    "too many points kept": (put("keeps", points(MAX_POINTS + 1)), "not a replacement of version"),
    "too many points lost": (put("lost", points(MAX_POINTS + 1)), "not a replacement of version"),
}


@pytest.mark.parametrize("case", REPLACEMENTS)
def test_a_replacement_just_outside_a_bound_is_refused(case: str) -> None:
    change, why = REPLACEMENTS[case]
    body = encode_replacement(sample.replacement())
    with pytest.raises(ReplacementInvalid, match=why):
        decode_replacement(changed(body, change), name=replacement_name(sample.REPLACEMENT))


@pytest.mark.parametrize(
    "change",
    [
        put_in("objects", 0, "size_bytes", ALIGNED_MAX),
        put("keeps", points(MAX_POINTS)),
        put("objects", []),
    ],
    ids=["an object of 1 GiB", "the most points", "nothing comes"],
)
def test_a_replacement_at_a_bound_is_taken(change: Change) -> None:
    body = changed(encode_replacement(sample.replacement()), change)
    decode_replacement(body, name=replacement_name(sample.REPLACEMENT))


def test_the_longest_lists_are_those_of_the_document() -> None:
    """`replacement-v1.md` §2; lists of that length are too long for a test of every run."""
    found = {
        field.name: field.type
        for field in msgspec.inspect.type_info(Replacement).fields  # type: ignore[attr-defined]  # of a struct
    }
    assert (found["replaced"].min_length, found["replaced"].max_length) == (1, 1_000_000)
    assert found["objects"].max_length == 500_000
    assert found["keeps"].max_length == found["lost"].max_length == 100_000


SEEDS: dict[str, tuple[Change, str]] = {
    "an object twice": (twice("objects"), "not sorted by name"),
    "a seed id in capitals": (put("seed_id", sample.SEED.upper()), "canonical UUID"),
    "a repository id in capitals": (
        put("repository_id", sample.REPOSITORY.upper()),
        "canonical UUID",
    ),
    "a point id in capitals": (put("point_id", WRONG_ID), "canonical UUID"),
    "a snapshot in another zone": (put("snapshot_at", OTHER_ZONE), "not in UTC"),
    "made in another zone": (put("created_at", OTHER_ZONE), "not in UTC"),
    "no keyring": (without("objects", ".keyring"), "no keyring"),
    "no point": (without("objects", ".point"), "its own recovery point"),
    "a point of a size between": (put_in("objects", -1, "size_bytes", 513), "multiple of 512"),
    "an index file of a size between": (put_in("objects", 0, "size_bytes", 513), "multiple of 512"),
    "an empty object": (put_in("objects", 0, "size_bytes", 0), "not a manifest of version 1"),
    "an object too long": (
        put_in("objects", 0, "size_bytes", ALIGNED_MAX + 512),
        "not a manifest of version 1",
    ),
    "another digest": (put_in("objects", 0, "sha256", "0" * 64), "not its SHA-256"),
    "nothing": (put("objects", []), "not a manifest of version 1"),
    "parity": (put("parity", ["one"]), "not a manifest of version 1"),
    "a job without a name": (put("job_name", ""), "not a manifest of version 1"),
    "a job name too long": (put("job_name", "n" * 257), "not a manifest of version 1"),
}


@pytest.mark.parametrize("case", SEEDS)
def test_a_seed_manifest_just_outside_a_bound_is_refused(case: str) -> None:
    change, why = SEEDS[case]
    body = encode_seed_manifest(sample.manifest())
    decode_seed_manifest(body, name=NAME)
    with pytest.raises(ManifestInvalid, match=why):
        decode_seed_manifest(changed(body, change), name=NAME)


DRIVES: dict[str, tuple[Change, str]] = {
    "an object twice": (twice("objects"), "not sorted by name"),
    "a seed id in capitals": (put("seed_id", sample.SEED.upper()), "canonical UUID"),
    "prepared in another zone": (put("prepared_at", OTHER_ZONE), "not in UTC"),
    "the third of two": (put("sequence", 3), "above the drive count"),
    "the zeroth": (put("sequence", 0), "not a manifest of version 1"),
    "number 10,001": (put("sequence", 10_001), "not a manifest of version 1"),
    "of no drives": (put("drive_count", 0), "not a manifest of version 1"),
    "of 10,001 drives": (put("drive_count", 10_001), "not a manifest of version 1"),
    "a blank in the serial": (put("drive_serial", "ZX91 K7Q0"), "not a manifest of version 1"),
    "no serial": (put("drive_serial", ""), "not a manifest of version 1"),
    "a serial too long": (put("drive_serial", "Z" * 65), "not a manifest of version 1"),
    "a line feed in the serial": (put("drive_serial", "ZX91\n"), "not a manifest of version 1"),
}


@pytest.mark.parametrize("case", DRIVES)
def test_a_drive_manifest_just_outside_a_bound_is_refused(case: str) -> None:
    change, why = DRIVES[case]
    body = encode_drive_manifest(sample.drive_manifest(b"the seed's"))
    decode_drive_manifest(body, name=NAME)
    with pytest.raises(ManifestInvalid, match=why):
        decode_drive_manifest(changed(body, change), name=NAME)


@pytest.mark.parametrize(
    "change",
    [put("sequence", 2), put("drive_count", None), put("drive_serial", "!" + "~" * 63)],
    ids=["the second of two", "of nobody knows how many", "the longest serial"],
)
def test_a_drive_manifest_at_a_bound_is_taken(change: Change) -> None:
    body = encode_drive_manifest(sample.drive_manifest(b"the seed's"))
    decode_drive_manifest(changed(body, change), name=NAME)


PUBLICS: dict[str, tuple[Change, str]] = {
    "an object twice": (twice("objects"), "there twice"),
    "a keyring": (put_in("objects", 0, "name", "keys/00000001.keyring"), "name is not allowed"),
    "another digest": (put_in("objects", 0, "sha256", "0" * 64), "not its own"),
    "a size between": (put_in("objects", 0, "size_bytes", 513), "not its own"),
    "an empty object": (put_in("objects", 0, "size_bytes", 0), "not a public part of version 1"),
    "a seed without its id": (put("seed_id", None), "a seed has a seed id"),
    "a seed id without a seed": (put("kind", "full"), "a seed has a seed id"),
    "a seed with a base": (put("base", sample.POINT), "an incremental has a base"),
    "an incremental without a base": (
        lambda body: body.update(kind="incremental", seed_id=None),
        "an incremental has a base",
    ),
    "a base in capitals": (
        lambda body: body.update(kind="incremental", seed_id=None, base=WRONG_ID),
        "canonical UUID",
    ),
    "made in another zone": (put("created_at", OTHER_ZONE), "not in UTC"),
}


@pytest.mark.parametrize("case", PUBLICS)
def test_a_public_part_just_outside_a_bound_is_refused(case: str) -> None:
    change, why = PUBLICS[case]
    body = bytes(encode_public(sample.public()))
    decode_public(body, name=NAME)
    with pytest.raises(PointCorrupt, match=why):
        decode_public(changed(body, change), name=NAME)
