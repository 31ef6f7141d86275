"""After a rotation of the signing key the stand-alone reader and the agent believe the same."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.format.test_standalone_reader import DONE, INTEGRITY, Kept, assert_one_line_each
from tests.support.torture import fast_folder

from overland.agent.check.places import check_places
from overland.agent.points.reading import list_points, open_keys
from overland.crypto.sign import public_key, sign
from overland.format.replacement import (
    REPLACEMENT_PURPOSE,
    Replacement,
    encode_replacement,
)
from overland.format.signed import encode_signed
from overland.ports.progress import NullProgress
from overland.values import PointId, ReplacementId

NEW, NEWER = "eight ferries over the sea", "nine barges up the river"
FORGED = PointId(str(UUID(int=0xBAD)))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Three points: each of two rotations ended the key of the one before it."""
    with fast_folder() as folder:
        made = Kept(folder)
        made.made.source.mkdir()
        for number, passphrase in enumerate((NEW, NEWER)):
            (made.made.source / "file").write_bytes(b"%d" % number * 5000)
            made.made.back_up()
            made.kit.write_text(made.made.rotate_signing(passphrase))
            made.passphrase.write_text(passphrase)
        (made.made.source / "file").write_bytes(b"newest" * 5000)
        made.made.back_up()
        yield made


def changes(kept: Kept, number: int) -> list[Path]:
    """The copies of a key change, wherever they lie."""
    return sorted(kept.made.staging.glob(f"seed-*/keychanges/{number:08d}-*.change"))


def nothing(kept: Kept) -> None:
    assert [len(changes(kept, number)) for number in (1, 2)] == [2, 1]


def forge(kept: Kept) -> None:
    """The thief of a home folder seals and signs a point of his own, and one under a known id."""
    for number, point_id in ((0, FORGED), (1, kept.made.results[1].point_id)):
        [path] = kept.made.folder(number).glob("points/*.point")
        place = kept.made.place(number)
        parsed, root = kept.made.stolen.open_point(
            path.read_bytes(), name=f"points/{path.name}", place=place
        )
        public = replace(parsed.public, point_id=point_id, base=None, kind="full", seed_id=None)
        (path.parent / f"{point_id}.point").write_bytes(
            kept.made.stolen.seal_point(public, replace(root, host="the thief's"))
        )


def lose_the_first(kept: Kept) -> None:
    for path in changes(kept, 1):
        path.unlink()


def lose_the_second(kept: Kept) -> None:
    for path in changes(kept, 2):
        path.unlink()


def lose_one_copy(kept: Kept) -> None:
    changes(kept, 1)[0].unlink()


def damage_the_first(kept: Kept) -> None:
    for path in changes(kept, 1):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def damage_one_copy(kept: Kept) -> None:
    path = changes(kept, 1)[0]
    path.write_bytes(path.read_bytes()[:-1])


def replay(kept: Kept) -> None:
    """The first change under the name of the second."""
    [second] = changes(kept, 2)
    second.write_bytes(changes(kept, 1)[0].read_bytes())


def list_the_forgery(kept: Kept) -> None:
    """The thief adds what he made to the list, and gives it a name that fits."""
    forge(kept)
    forged = hashlib.sha256((kept.made.folder(0) / f"points/{FORGED}.point").read_bytes())
    for path in changes(kept, 2):
        data = path.read_bytes()
        at = data.index(b'"sha256":"') + 10
        changed = data[:at] + forged.hexdigest().encode() + data[at + 64 :]
        path.with_name(f"00000002-{hashlib.sha256(changed).hexdigest()}.change").write_bytes(
            changed
        )


def replace_packs(kept: Kept) -> None:
    """The thief lets a pack go that the newest point needs."""
    pack = kept.made.packs(2)[0]
    made = Replacement(
        replacement_id=ReplacementId(FORGED),
        repository_id=kept.made.document.repository_id,
        created_at=kept.made.results[0].created_at,
        reason="repack",
        keeps=[result.point_id for result in kept.made.results],
        lost=[],
        replaced=[pack.relative_to(kept.made.folder(2)).as_posix()],
        objects=[],
    )
    document = encode_signed(
        REPLACEMENT_PURPOSE,
        encode_replacement(made),
        public_key=public_key(kept.made.thief),
        sign=lambda text: sign(kept.made.thief, REPLACEMENT_PURPOSE, text),
    )
    path = kept.made.folder(2) / f"replacements/{FORGED}.replacement"
    path.parent.mkdir()
    path.write_bytes(document)


def believed(kept: Kept) -> list[str]:
    """What the agent lists, of a reader that has nothing but these places."""
    objects = kept.made.objects()
    listing = list_points(objects, open_keys(objects, passphrase=NEWER))
    return [each.point_id for each in listing.points]


@pytest.mark.parametrize(
    ("what", "counting"),
    [
        (nothing, [0, 1, 2]),
        (forge, [0, 2]),
        (lose_the_first, [1, 2]),
        (lose_the_second, [0, 2]),
        (lose_one_copy, [0, 1, 2]),
        (damage_the_first, [1, 2]),
        (damage_one_copy, [0, 1, 2]),
        (replay, [0, 2]),
        (list_the_forgery, [0, 2]),
        (replace_packs, [0, 1, 2]),
    ],
)
def test_reader_and_agent_list_the_same_points(
    kept: Kept, what: Callable[[Kept], None], counting: list[int]
) -> None:
    what(kept)
    expected = [kept.made.results[number].point_id for number in counting]
    assert believed(kept) == expected
    for kit in (False, True):
        listed = kept.read("--list", kit=kit)
        assert [line.split()[0] for line in listed.stdout.splitlines()] == expected
        is_whole = len(expected) == len(kept.made.results) and what is not replace_packs
        assert listed.returncode == (DONE if is_whole else INTEGRITY)
        if not is_whole:
            assert_one_line_each(listed)


@pytest.mark.parametrize(
    "what", [nothing, forge, lose_the_first, lose_one_copy, damage_one_copy, replace_packs]
)
def test_reader_and_agent_check_alike(kept: Kept, what: Callable[[Kept], None]) -> None:
    what(kept)
    layers = [(str(number), kept.made.place(number)) for number in range(3)]
    keys = open_keys(kept.made.objects(), passphrase=NEWER)
    report = check_places(layers, progress=NullProgress(), keys=keys, signatures=None)
    ended = kept.read("--check")
    assert (ended.returncode == DONE) == report.is_whole
    for finding in report.found:
        assert finding.finding.name in ended.stderr, "both name it"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_points_of_every_key_restore(kept: Kept, number: int) -> None:
    target = kept.folder / "out"
    ended = kept.read("--point", kept.made.results[number].point_id, "--target", target)
    assert (ended.returncode, ended.stderr) == (DONE, "")
    expected = (b"0" * 5000, b"1" * 5000, b"newest" * 5000)[number]
    assert (kept.restored(target) / "file").read_bytes() == expected


def test_without_its_change_a_former_point_is_refused_in_words_that_name_it(kept: Kept) -> None:
    [name] = {path.name for path in changes(kept, 1)}
    lose_the_first(kept)
    ended = kept.read("--list")
    assert f"keychanges/{name}, which tells whether it counts, is missing" in ended.stderr
    checked = kept.read("--check")
    assert f"keychanges/{name}: missing; the keyring needs it" in checked.stderr
