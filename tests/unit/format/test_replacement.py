"""What a point needs after replacements: never less than promised, whatever their order."""

from itertools import permutations

import msgspec
import pytest
from tests.support import format_samples as sample

from overland.format.replacement import (
    Replacement,
    ReplacementInvalid,
    ReplacementObject,
    decode_replacement,
    encode_replacement,
    needed_after,
)
from overland.format.seed_manifest import ManifestInvalid, encode_seed_manifest
from overland.values import PointId, ReplacementId, is_object_name, replacement_name

KEPT, LOST = sample.POINT, sample.replacement().lost[0]


def pack(letter: str) -> str:
    return f"packs/{letter * 2}/{letter * 64}.pack"


def replaces(gone: str, coming: str, *, lost: list[PointId] | None = None) -> Replacement:
    return msgspec.structs.replace(
        sample.replacement(),
        lost=lost or [],
        replaced=[pack(letter) for letter in gone],
        objects=[
            ReplacementObject(name=pack(letter), size_bytes=512, sha256=letter * 64)
            for letter in coming
        ],
    )


def names(letters: str) -> set[str]:
    return {pack(letter) for letter in letters}


def test_what_is_written_is_read_and_has_its_own_name() -> None:
    body = encode_replacement(sample.replacement())
    name = replacement_name(sample.REPLACEMENT)
    assert decode_replacement(body, name=name) == sample.replacement()
    assert is_object_name(name)


def test_another_name_is_refused() -> None:
    body = encode_replacement(sample.replacement())
    other = replacement_name(ReplacementId(sample.POINT))
    with pytest.raises(ReplacementInvalid, match="not that of its name"):
        decode_replacement(body, name=other)


def test_a_replacement_that_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(ReplacementInvalid, match="loses nothing"):
        encode_replacement(msgspec.structs.replace(sample.replacement(), reason="repack"))


def test_a_seed_never_holds_a_replacement() -> None:
    manifest = sample.manifest()
    objects = list(manifest.objects)
    objects[-1] = msgspec.structs.replace(
        objects[-1], name=replacement_name(sample.REPLACEMENT), size_bytes=512
    )
    with pytest.raises(ManifestInvalid, match="name is not allowed"):
        encode_seed_manifest(msgspec.structs.replace(manifest, objects=objects))


def test_a_point_that_meets_no_replacement_needs_what_it_needed() -> None:
    assert needed_after(names("ab"), [replaces("c", "d")], point_id=KEPT) == names("ab")


def test_replacements_compose_in_any_order() -> None:
    steps = [replaces("a", "c"), replaces("bc", "d"), replaces("d", "ef")]
    for order in permutations(steps):
        assert needed_after(names("ab"), list(order), point_id=KEPT) == names("ef")


def test_a_lost_point_goes_on_needing_what_is_left_of_it() -> None:
    repaired = replaces("a", "c", lost=[LOST])
    assert needed_after(names("ab"), [repaired], point_id=LOST) == names("abc")
    assert needed_after(names("ab"), [repaired], point_id=KEPT) == names("bc")


def test_a_lost_point_that_is_whole_again_lets_go() -> None:
    steps = [replaces("a", "c", lost=[LOST]), replaces("ac", "d")]
    for order in permutations(steps):
        assert needed_after(names("ab"), list(order), point_id=LOST) == names("bd")
