"""What somebody who can write where the objects lie can do with genuine parts: nothing unseen.

Each test takes real objects of one or two repositories and puts one where another belongs.
`docs/threat-model.md` has the claims.
"""

import random
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.format_samples import CHEAP
from tests.support.torture import fast_folder

from overland.agent.compare import compare_trees
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import list_points, open_keys, open_point
from overland.agent.repository import Repository
from overland.agent.restore.run import RestoreIncomplete, RestoreOptions, restore
from overland.crypto.aead import SealBroken
from overland.crypto.keyring import encode_keyring
from overland.crypto.keys import new_keyring, signing_key, with_passphrase
from overland.crypto.masterkey import Subkeys
from overland.crypto.secrets import Secret
from overland.crypto.sign import message_start
from overland.errors import IntegrityError, ObjectCorrupt, SignatureInvalid
from overland.format import point as point_format
from overland.ports.progress import NullProgress
from overland.sealing.seal import PackSeal, open_pack
from overland.values import RepositoryId, keyring_name

FILES = 12
OTHER = RepositoryId("11111111-2222-3333-4444-555555555555")


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as made:
        yield made


@pytest.fixture
def mine(folder: Path) -> BackedUp:
    """A seed and an incremental, in packs of one size each."""
    world = BackedUp(folder / "mine", pack_bytes=1 << 20)
    _fill(world, seed=1)
    world.back_up()
    (world.source / "later").write_bytes(random.Random(99).randbytes(100_000))
    world.back_up()
    return world


@pytest.fixture
def theirs(folder: Path) -> BackedUp:
    """The same files in another repository, with the same ids of points and the same passphrase."""
    world = BackedUp(folder / "theirs", pack_bytes=1 << 20)
    world.document, master, world.recovery_kit = new_keyring(
        PASSPHRASE, repository_id=OTHER, random=secrets.token_bytes, cost=CHEAP
    )
    world.repository = Repository(
        repository_id=OTHER,
        master_key=master,
        signing_key=signing_key(world.document, master),
        state=world.repository.state,
        state_folder=None,
    )
    _fill(world, seed=1)
    world.back_up()
    return world


def _fill(world: BackedUp, *, seed: int) -> None:
    world.source.mkdir(parents=True)
    chance = random.Random(seed)
    for number in range(FILES):
        (world.source / f"{number:02}").write_bytes(chance.randbytes(200_000))


def _named(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _is_noticed(world: BackedUp) -> None:
    """A restore says that something is wrong, and every file that it wrote is the source's."""
    with pytest.raises((RestoreIncomplete, IntegrityError)):
        world.restore()
    for path in world.target.rglob("*"):
        if path.is_file():
            source = world.source / path.relative_to(world.target)
            assert path.read_bytes() == source.read_bytes(), "a wrong byte was restored"


def _is_harmless(world: BackedUp) -> None:
    """A restore finds all it needs elsewhere, and restores everything."""
    world.restore()
    assert compare_trees(str(world.source).encode(), str(world.target).encode()).equal


# Packs.


def test_two_packs_that_exchange_names_are_noticed(mine: BackedUp) -> None:
    one, other = mine.packs()[:2]
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    _is_noticed(mine)


def test_a_pack_of_another_repository_in_the_place_of_ours_is_noticed(
    mine: BackedUp, theirs: BackedUp
) -> None:
    for ours, foreign in zip(mine.packs(), theirs.packs(), strict=False):
        ours.write_bytes(foreign.read_bytes())
    _is_noticed(mine)


def test_a_pack_of_another_repository_beside_ours_is_harmless(
    mine: BackedUp, theirs: BackedUp
) -> None:
    for foreign in theirs.packs():
        placed = mine.folder() / "packs" / foreign.parent.name / foreign.name
        placed.parent.mkdir(exist_ok=True)
        shutil.copy(foreign, placed)
    _is_harmless(mine)


def test_a_segment_opens_in_its_own_place_and_pack_only() -> None:
    subkey, plain = Subkeys([Secret(b"k" * 32)]), [b"a" * 100, b"b" * 100]
    packs, headers = [], []
    for salt in (b"1" * 32, b"2" * 32):
        pack = PackSeal(subkey, repository_id=OTHER, salt=salt)
        sealed = []
        for raw in plain:
            out = bytearray(len(raw) + 16)
            pack.seal_into(raw, memoryview(out))
            sealed.append(bytes(out))
        packs.append((sealed, pack.seal_directory(b"directory")))
        headers.append(pack.header)
    opens = open_pack(subkey, repository_id=OTHER)
    for at, header in enumerate(headers):
        for of, (sealed, directory) in enumerate(packs):
            for number in range(2):
                for taken in range(2):
                    opener = opens(header, "pack")
                    is_right = at == of and number == taken
                    try:
                        raw = opener.open_segment(number, sealed[taken], codec=0, raw_bytes=100)
                        assert is_right, f"segment {taken} of pack {of} opened as {number} of {at}"
                        assert raw == plain[number]
                    except SealBroken:
                        assert not is_right
            with pytest.raises(SealBroken):
                opens(header, "pack").open_segment(0, directory, codec=0, raw_bytes=9)
            with pytest.raises(SealBroken):
                opens(header, "pack").open_directory(sealed[0])
    with pytest.raises(ObjectCorrupt, match="another repository"):
        open_pack(subkey, repository_id=RepositoryId(str(UUID(int=9))))(headers[0], "pack")
    moved = headers[0][:16] + bytes(16) + headers[0][32:]
    relabelled = open_pack(subkey, repository_id=RepositoryId(str(UUID(int=0))))(moved, "pack")
    with pytest.raises(SealBroken):
        relabelled.open_segment(0, packs[0][0][0], codec=0, raw_bytes=100)


# Index files.


def test_an_index_of_another_repository_is_left_aside(mine: BackedUp, theirs: BackedUp) -> None:
    for foreign in _named(theirs.folder(), "index/*.index"):
        shutil.copy(foreign, mine.folder() / "index")
    _is_harmless(mine)


def test_an_index_in_the_place_of_another_is_not_believed(mine: BackedUp) -> None:
    later, first = (_named(mine.folder(number), "index/*.index")[0] for number in (1, 0))
    first.write_bytes(later.read_bytes())
    _is_harmless(mine)  # packs have their own directories


# Points.


def test_a_point_signed_by_another_key_is_refused(mine: BackedUp, theirs: BackedUp) -> None:
    name = _named(theirs.folder(), "points/*.point")[0].name
    (mine.folder() / "points" / name).write_bytes((theirs.folder() / "points" / name).read_bytes())
    objects = mine.objects()
    keys = open_keys(objects, passphrase=PASSPHRASE)
    listing = list_points(objects, keys)
    assert listing.damaged == (f"points/{name}",)
    with pytest.raises(SignatureInvalid):
        open_point(mine.objects(), keys, mine.results[0].point_id)


def test_an_older_point_under_a_newer_ones_name_is_refused(mine: BackedUp) -> None:
    older, newer = (_named(mine.folder(number), "points/*.point")[0] for number in (0, 1))
    newer.write_bytes(older.read_bytes())
    objects = mine.objects()
    keys = open_keys(objects, passphrase=PASSPHRASE)
    with pytest.raises(IntegrityError, match="name of another"):
        open_point(objects, keys, mine.results[1].point_id)
    with pytest.raises(IntegrityError, match="name of another"):
        mine.repository.verified_point(
            newer.read_bytes(), name=f"points/{newer.name}", place=mine.place(0)
        )


def test_a_points_root_opens_with_its_own_public_part_only(mine: BackedUp) -> None:
    """Somebody with the signing key alone cannot put one point's tree into another's place."""
    older, newer = (_named(mine.folder(number), "points/*.point")[0] for number in (0, 1))
    first, second = (
        mine.repository.verified_point(
            path.read_bytes(), name=f"points/{path.name}", place=mine.place(0)
        )
        for path in (older, newer)
    )
    start = message_start(point_format.SIGNATURE_PURPOSE)
    signed = point_format.assemble(
        second.public,
        first.sealed_root,
        master_number=0,
        sign=mine.repository._sign_point,
        before=start,
    )
    forged = bytes(signed[len(start) :])
    with pytest.raises(SealBroken):
        mine.repository.open_point(forged, name=f"points/{newer.name}", place=mine.place(0))


# Keyrings.


def test_a_strangers_keyring_with_a_higher_number_hides_nothing(mine: BackedUp) -> None:
    """Whoever can only write cannot keep the owner from his own backups."""
    stranger = secrets.token_urlsafe(30)
    bogus, master, _ = new_keyring(
        stranger, repository_id=mine.document.repository_id, random=secrets.token_bytes, cost=CHEAP
    )
    path = mine.folder() / keyring_name(1)
    second = with_passphrase(bogus, master, stranger, random=secrets.token_bytes, cost=CHEAP)
    path.with_name("00000002.keyring").write_bytes(encode_keyring(second))
    path.with_name("99999999.keyring").write_bytes(b"{}")
    _is_harmless(mine)
    with pytest.raises(IntegrityError):
        _restored_with(mine, stranger)


def _restored_with(world: BackedUp, passphrase: str) -> None:
    objects = world.objects()
    keys = open_keys(objects, passphrase=passphrase)
    store = ChunkStore(objects, keys)
    store.load_index()
    restore(
        open_point(objects, keys, world.results[0].point_id),
        store=store,
        target=str(world.target).encode(),
        progress=NullProgress(),
        options=RestoreOptions(strip=str(world.source).encode(), sync=False),
    )
