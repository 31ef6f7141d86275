"""What a rotation of the signing key means for readers: the thief of the old key makes nothing."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.support.backed_up import PASSPHRASE, BackedUp, SettledClock
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted

from overland.adapters.folderobjects import FolderObjects
from overland.agent.backup.chain import named_by_points, replaced_names
from overland.agent.check.findings import CheckReport
from overland.agent.check.places import check_places
from overland.agent.check.run import check
from overland.agent.mount.view import PointsView
from overland.agent.points.reading import (
    ReadKeys,
    list_points,
    newest_signatures,
    open_keys,
    open_point,
    read_public,
)
from overland.agent.points.replacements import proven_replacement
from overland.agent.points.signatures import Signatures
from overland.agent.points.tree import PointTree
from overland.agent.sources import LayeredObjects
from overland.crypto.secrets import Secret
from overland.crypto.sign import public_key, sign
from overland.crypto.signers import KeyChangeMissing, SigningKeyRetired
from overland.errors import IntegrityError, Unreachable
from overland.format import point
from overland.format.replacement import REPLACEMENT_PURPOSE, decode_replacement, encode_replacement
from overland.format.signed import decode_signed, encode_signed
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import PointId, ReplacementId, point_name, replacement_name

NEW, NEWER = "eight ferries over the sea", "nine barges up the river"
FORGED = PointId(str(UUID(int=0xBAD)))


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    """Two chains, a replacement, a new signing key, and a point that this one signed."""
    made = Vaulted(tmp_path)
    for number in range(6):
        (made.source / f"before{number}").write_bytes(os.urandom(30_000))
    first = made.back_up()
    (made.source / "before0").unlink()
    made.back_up()
    made.keeper.deleted.add(first)
    assert made.repack(min_live=1).replacement_id is not None
    made.back_up("other")
    made.rotate_signing(NEW)
    (made.source / "after").write_bytes(os.urandom(10_000))
    made.back_up()
    return made


def change_of(vaulted: Vaulted) -> str:
    [name] = vaulted.keys.signatures.change_names
    return name


def older(vaulted: Vaulted) -> list[PointId]:
    """The points that the former key signed and that live."""
    return [each for each in vaulted.keeper.recorded[:-1] if each not in vaulted.keeper.deleted]


def forged_point(data: bytes, thief: Secret, *, point_id: PointId = FORGED) -> bytes:
    """A point as the thief of a signing key and of the old master key can make it."""
    parsed = point.parse(data, name="points/old.point")
    public = replace(parsed.public, point_id=point_id)
    return bytes(
        point.assemble(
            public,
            parsed.sealed_root,
            master_number=parsed.master_number,
            sign=lambda signed: sign(thief, point.SIGNATURE_PURPOSE, signed),
        )
    )


def forge(vaulted: Vaulted, *, point_id: PointId = FORGED) -> str:
    """Put a point of the thief's into the vault; return its name."""
    before = vaulted.vault.read(point_name(vaulted.keeper.recorded[0]))
    data = forged_point(before, vaulted.thief, point_id=point_id)
    vaulted.disk.write(point_name(point_id), data)
    return point_name(point_id)


def checked(vaulted: Vaulted, *, with_keys: bool) -> CheckReport:
    return check(
        vaulted.vault,
        progress=NullProgress(),
        keys=vaulted.keys if with_keys else None,
        signatures=vaulted.keys.signatures,
        reclaimed=vaulted.keeper.deleted,
        workers=1,
    )


def found(report: CheckReport, kind: str) -> dict[str, str]:
    return {each.name: each.reason for each in report.findings if each.kind == kind}


def test_everything_that_the_former_key_signed_counts_and_restores(vaulted: Vaulted) -> None:
    assert len(older(vaulted)) == 2
    vaulted.assert_all_restorable()
    for with_keys in (True, False):
        assert checked(vaulted, with_keys=with_keys).is_whole
    listing = list_points(vaulted.objects(), vaulted.keys)
    assert {each.point_id for each in listing.points} >= {*vaulted.keeper.recorded[1:]}
    assert listing.damaged == listing.unproven == ()


def test_a_reader_elsewhere_needs_the_new_passphrase_and_nothing_else(vaulted: Vaulted) -> None:
    objects = vaulted.objects()
    keys = open_keys(objects, passphrase=NEW)
    for each in older(vaulted):
        assert read_public(objects, keys, each).point_id == each
    with pytest.raises(Exception, match="replaced"):
        open_keys(objects, passphrase=PASSPHRASE)


@pytest.mark.parametrize("with_keys", [True, False], ids=["with-keys", "keyless"])
def test_a_point_that_the_thief_adds_is_refused(vaulted: Vaulted, *, with_keys: bool) -> None:
    name = forge(vaulted)
    with pytest.raises(SigningKeyRetired, match="replaced"):
        read_public(vaulted.objects(), vaulted.keys, FORGED)
    listing = list_points(vaulted.objects(), vaulted.keys)
    assert listing.damaged == (name,)
    assert FORGED not in {each.point_id for each in listing.points}
    report = checked(vaulted, with_keys=with_keys)
    assert {*found(report, "corrupt")} == {name}
    assert "replaced" in found(report, "corrupt")[name]
    assert FORGED not in report.restorable
    data = vaulted.vault.read(name)
    with pytest.raises(SigningKeyRetired):
        vaulted.repository.verified_point(data, name=name, place=vaulted.vault)


def test_a_backup_relies_on_nothing_that_the_thief_names(vaulted: Vaulted) -> None:
    before = named_by_points(vaulted.repository, vaulted.vault, beside=None)
    data = vaulted.vault.read(point_name(vaulted.keeper.recorded[-1]))
    parsed = point.parse(data, name="points/newest.point")
    digest = "ab" * 32
    lure = point.ObjectRef(name=f"packs/ab/{digest}.pack", size_bytes=512, sha256=digest)
    made = point.assemble(
        replace(parsed.public, point_id=FORGED, objects=[lure]),
        parsed.sealed_root,
        master_number=0,
        sign=lambda signed: sign(vaulted.thief, point.SIGNATURE_PURPOSE, signed),
    )
    vaulted.disk.write(point_name(FORGED), made)
    assert named_by_points(vaulted.repository, vaulted.vault, beside=None) == before


def test_a_known_id_with_other_bytes_is_refused_and_the_genuine_copy_serves(
    vaulted: Vaulted,
) -> None:
    """Who owns the storage can put another file under an id that is listed."""
    victim = older(vaulted)[0]
    genuine = vaulted.vault.read(point_name(victim))
    name = forge(vaulted, point_id=victim)
    assert vaulted.vault.read(name) != genuine
    with pytest.raises(SigningKeyRetired):
        read_public(vaulted.objects(), vaulted.keys, victim)
    elsewhere = SimDisk()
    elsewhere.write(name, genuine)
    both = LayeredObjects([("vault", vaulted.vault), ("drive", FolderObjects(elsewhere))])
    assert read_public(both, vaulted.keys, victim).point_id == victim


def _forged_replacement(vaulted: Vaulted) -> str:
    [name] = [info.name for info in vaulted.vault.names("replacements/")]
    genuine = decode_signed(vaulted.vault.read(name), REPLACEMENT_PURPOSE, name=name)
    body = replace(
        decode_replacement(genuine.body, name=name),
        replacement_id=ReplacementId(FORGED),
        replaced=sorted(vaulted.packs())[:1],
        objects=[],
    )
    made = encode_signed(
        REPLACEMENT_PURPOSE,
        encode_replacement(body),
        public_key=public_key(vaulted.thief),
        sign=lambda text: sign(vaulted.thief, REPLACEMENT_PURPOSE, text),
    )
    forged = replacement_name(ReplacementId(FORGED))
    vaulted.disk.write(forged, made)
    return forged


def test_a_replacement_of_the_thief_replaces_nothing(vaulted: Vaulted) -> None:
    before = replaced_names(vaulted.repository, [vaulted.vault])
    assert before, "the former key's own one counts"
    forged = _forged_replacement(vaulted)
    with pytest.raises(SigningKeyRetired):
        proven_replacement(
            vaulted.vault.read(forged),
            name=forged,
            place=vaulted.vault,
            signatures=vaulted.keys.signatures,
        )
    assert replaced_names(vaulted.repository, [vaulted.vault]) == before
    for with_keys in (True, False):
        assert {*found(checked(vaulted, with_keys=with_keys), "corrupt")} == {forged}
    vaulted.assert_all_restorable()


def test_what_the_operator_left_out_does_not_count(tmp_path: Path) -> None:
    vaulted = Vaulted(tmp_path)
    (vaulted.source / "file").write_bytes(b"content")
    kept, left = vaulted.back_up(), vaulted.back_up("other")
    vaulted.rotate_signing(NEW, without=[left])
    assert read_public(vaulted.objects(), vaulted.keys, kept).point_id == kept
    with pytest.raises(SigningKeyRetired):
        read_public(vaulted.objects(), vaulted.keys, left)


# -- the key change itself ------------------------------------------------------------------------


def lose(vaulted: Vaulted) -> None:
    vaulted.disk.delete(change_of(vaulted))


def flip(vaulted: Vaulted) -> None:
    data = bytearray(vaulted.disk.read(change_of(vaulted)))
    data[len(data) // 2] ^= 1
    vaulted.disk.write(change_of(vaulted), bytes(data))


def swap_for_one_that_lists_the_forgery(vaulted: Vaulted) -> None:
    data = vaulted.disk.read(change_of(vaulted))
    digest = hashlib.sha256(vaulted.disk.read(forge(vaulted))).hexdigest().encode()
    at = data.index(b'"sha256":"') + 10
    vaulted.disk.write(change_of(vaulted), data[:at] + digest + data[at + 64 :])


BROKEN = [lose, flip, swap_for_one_that_lists_the_forgery]


def elsewhere(vaulted: Vaulted) -> ReadKeys:
    """The keys of a reader that has no home folder."""
    return open_keys(vaulted.objects(), passphrase=NEW)


@pytest.mark.parametrize("broken", BROKEN)
def test_without_the_change_former_points_are_unproven_and_new_ones_restore(
    vaulted: Vaulted, broken: Callable[[Vaulted], None]
) -> None:
    change = change_of(vaulted)
    broken(vaulted)
    keys, newest = elsewhere(vaulted), vaulted.keeper.recorded[-1]
    listing = list_points(vaulted.objects(), keys)
    assert [each.point_id for each in listing.points] == [newest]
    assert {*listing.unproven} >= {point_name(each) for each in older(vaulted)}
    assert listing.damaged == (), "nothing is known to be wrong with them"
    for each in older(vaulted):
        with pytest.raises(KeyChangeMissing, match=change) as missing:
            read_public(vaulted.objects(), keys, each)
        assert not isinstance(missing.value, IntegrityError)
    vaulted.keys = keys
    assert vaulted.restored(newest) == vaulted.contents[newest]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("with_keys", [True, False], ids=["with-keys", "keyless"])
def test_a_check_names_the_change_and_no_point_for_it(
    vaulted: Vaulted, broken: Callable[[Vaulted], None], *, with_keys: bool
) -> None:
    change = change_of(vaulted)
    broken(vaulted)
    report = check(
        vaulted.vault,
        progress=NullProgress(),
        keys=elsewhere(vaulted) if with_keys else None,
        signatures=newest_signatures(vaulted.objects()),
        reclaimed=vaulted.keeper.deleted,
        workers=1,
    )
    assert not report.is_whole
    assert {*found(report, "missing")} | {*found(report, "corrupt")} >= {change}
    assert not [name for name in found(report, "corrupt") if name.startswith("points/")]


def test_a_copy_in_another_place_serves(vaulted: Vaulted) -> None:
    change = change_of(vaulted)
    drive = SimDisk()
    drive.write(change, vaulted.disk.read(change))
    lose(vaulted)
    layers: list[tuple[str, Objects]] = [
        ("vault", vaulted.vault),
        ("drive", FolderObjects(drive)),
    ]
    both = LayeredObjects(layers)
    keys = open_keys(both, passphrase=NEW)
    assert list_points(both, keys).unproven == ()
    report = check_places(
        layers,
        progress=NullProgress(),
        keys=keys,
        signatures=None,
        reclaimed=vaulted.keeper.deleted,
    )
    assert report.is_whole


def test_a_place_that_does_not_answer_is_not_a_missing_change(vaulted: Vaulted) -> None:
    class Silent:
        def read(self, name: str) -> bytes:
            raise Unreachable(name)

    lose(vaulted)
    signatures = Signatures.of(vaulted.document, at_hand=[Silent()])
    name = point_name(older(vaulted)[0])
    with pytest.raises(Unreachable):
        proven_point(signatures, vaulted.vault, name)


def proven_point(signatures: Signatures, place: Objects, name: str) -> None:
    data = place.read(name)
    parsed = point.parse(data, name=name)
    signatures.prove(
        place,
        point.SIGNATURE_PURPOSE,
        parsed.signed_bytes,
        parsed.signature,
        file=data,
        name=name,
    )


def test_the_home_folder_has_it_where_the_vault_lost_it(vaulted: Vaulted) -> None:
    lose(vaulted)
    vaulted.back_up()  # which reads former points and a former replacement
    vaulted.assert_all_restorable()
    report = checked(vaulted, with_keys=True)
    assert {*found(report, "missing")} == {change_of(vaulted)}, "others would miss it"


@pytest.mark.parametrize("broken", [lose, flip])
def test_a_repair_puts_it_back_from_the_home_folder(
    vaulted: Vaulted, broken: Callable[[Vaulted], None]
) -> None:
    change = change_of(vaulted)
    broken(vaulted)
    report = vaulted.repair()
    assert report.fetched == {change: "home folder"}
    assert report.is_whole
    assert vaulted.vault.read(change) == vaulted.home.read(change)
    assert checked(vaulted, with_keys=True).is_whole


@pytest.mark.parametrize("broken", [lose, flip])
def test_a_repair_puts_it_back_from_a_drive(
    vaulted: Vaulted, broken: Callable[[Vaulted], None]
) -> None:
    change, drive = change_of(vaulted), SimDisk()
    drive.write(change, vaulted.disk.read(change))
    broken(vaulted)
    vaulted.home.delete(change)
    vaulted.restart()
    vaulted.keys = open_keys(
        LayeredObjects([("vault", vaulted.vault), ("drive", FolderObjects(drive))]),
        passphrase=NEW,
    )
    report = vaulted.repair(drive=FolderObjects(drive))
    assert report.fetched == {change: "drive"}
    assert checked(vaulted, with_keys=True).is_whole


def test_a_repair_without_it_refuses_and_changes_nothing(vaulted: Vaulted) -> None:
    lose(vaulted)
    vaulted.home.delete(change_of(vaulted))
    vaulted.restart()
    vaulted.keys = elsewhere(vaulted)
    before = sorted(info.name for info in vaulted.vault.names())
    with pytest.raises(KeyChangeMissing):
        vaulted.repair()
    assert sorted(info.name for info in vaulted.vault.names()) == before


# -- a second rotation ----------------------------------------------------------------------------


def test_every_key_is_ended_by_its_own_change(vaulted: Vaulted) -> None:
    by_second = vaulted.keeper.recorded[-1]
    first_thief = vaulted.thief
    vaulted.rotate_signing(NEWER)
    vaulted.back_up()
    assert len(vaulted.keys.signatures.change_names) == 2
    vaulted.assert_all_restorable()
    assert checked(vaulted, with_keys=True).is_whole
    genuine = vaulted.vault.read(point_name(by_second))
    for thief in (first_thief, vaulted.thief):
        vaulted.disk.write(point_name(FORGED), forged_point(genuine, thief))
        with pytest.raises(SigningKeyRetired):
            read_public(vaulted.objects(), vaulted.keys, FORGED)


def test_a_change_vouches_for_the_key_that_it_ends_and_for_no_other(vaulted: Vaulted) -> None:
    """A forgery of the first thief's, in the vault when the second key is ended, is not saved."""
    first_thief = vaulted.thief
    data = forged_point(vaulted.vault.read(point_name(older(vaulted)[0])), first_thief)
    vaulted.disk.write(point_name(FORGED), data)
    vaulted.rotate_signing(NEWER)  # whose list has every point in the vault that change 1 lacks
    second = vaulted.home.read(vaulted.keys.signatures.change_names[1])
    assert hashlib.sha256(data).hexdigest().encode() in second
    with pytest.raises(SigningKeyRetired) as refused:
        read_public(vaulted.objects(), vaulted.keys, FORGED)
    assert refused.value.change == 1


def test_an_older_change_under_the_name_of_the_newer_is_no_change(vaulted: Vaulted) -> None:
    vaulted.rotate_signing(NEWER)
    first, second = vaulted.keys.signatures.change_names
    vaulted.disk.write(second, vaulted.disk.read(first))
    keys = open_keys(vaulted.objects(), passphrase=NEWER)
    with pytest.raises(KeyChangeMissing, match=second):
        read_public(vaulted.objects(), keys, vaulted.keeper.recorded[-1])


def test_a_repack_after_it_goes_on_from_what_was_replaced_before(vaulted: Vaulted) -> None:
    (vaulted.source / "before1").unlink()
    vaulted.back_up()
    vaulted.repack(min_live=1)
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


# -- drives, and what shows them ------------------------------------------------------------------


@pytest.fixture
def carried(tmp_path: Path) -> BackedUp:
    """A drive made before the rotation, and one made after it."""
    made = BackedUp(tmp_path)
    made.source.mkdir()
    (made.source / "file").write_bytes(b"before")
    made.back_up()
    made.rotate_signing(NEW)
    (made.source / "file").write_bytes(b"after")
    made.back_up()
    return made


def test_old_and_new_points_restore_from_drives_alone(carried: BackedUp) -> None:
    for number, content in enumerate((b"before", b"after")):
        opened, store = carried.open(number, passphrase=NEW)
        tree = PointTree(opened, store)
        [entry] = [step.entry for step in tree.walk() if step.path.endswith(b"/file")]
        assert entry is not None
        parts = [part for ids in tree.content_ids(entry) for part in store.read(ids)]
        assert b"".join(parts) == content


def test_a_drive_of_before_alone_needs_the_change_from_elsewhere(carried: BackedUp) -> None:
    alone = LayeredObjects([("old", carried.place(0))])
    keys = open_keys(carried.objects(), passphrase=NEW)
    read_public(carried.objects(), keys, carried.results[0].point_id)
    fresh = ReadKeys.of(carried.document, carried._master)
    with pytest.raises(KeyChangeMissing):
        open_point(alone, fresh, carried.results[0].point_id)
    open_point(alone, keys, carried.results[0].point_id)  # the change is known by then
    old = open_keys(alone, passphrase=PASSPHRASE)
    open_point(alone, old, carried.results[0].point_id)  # as on the day it was made


def test_a_mount_shows_what_counts_and_not_the_forgery(carried: BackedUp) -> None:
    keys = open_keys(carried.objects(), passphrase=NEW)
    name = point_name(carried.results[0].point_id)
    data = forged_point(carried.place(0).read(name), carried.thief)
    (carried.folder(0) / point_name(FORGED)).write_bytes(data)
    view = PointsView(carried.objects, keys, clock=SettledClock())
    assert len(view._points) == 2
