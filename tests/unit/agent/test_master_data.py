"""What a rotation of the master key means for the data: old opens, new does not open with old."""

import os
from pathlib import Path

import pytest
from tests.support.backups import Tree, make_plan, make_repository, point_id, run
from tests.support.simdisk import SimDisk
from tests.support.vaulted import Vaulted

from overland.adapters.folderobjects import FolderObjects
from overland.agent.points.reading import ReadKeys, open_point
from overland.agent.repository import Repository
from overland.crypto.aead import SealBroken, index_cipher, open_once, pack_cipher
from overland.crypto.keys import MasterKey
from overland.crypto.masterkey import MasterKeyUnknown
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.format import index, pack, point
from overland.values import point_name

PASSPHRASES = ("eight ferries over sea", "nine barges up the river")


@pytest.fixture
def vaulted(tmp_path: Path) -> Vaulted:
    made = Vaulted(tmp_path)
    for number in range(8):
        (made.source / f"before{number}").write_bytes(os.urandom(30_000))
    made.back_up()
    return made


def names(vaulted: Vaulted) -> set[str]:
    return {info.name for info in vaulted.vault.names() if not info.name.startswith("keys/")}


def opens(vaulted: Vaulted, name: str, keys: ReadKeys) -> bool:
    """Whether any sealed part of an object opens with any of the keys, whatever it says itself."""
    data = vaulted.disk.read(name)
    for number in range(keys.segment.number + 1):
        try:
            _open(data, name, keys, number)
        except SealBroken:
            continue
        return True
    return False


def _open(data: bytes, name: str, keys: ReadKeys, number: int) -> None:
    head = data[:64]
    if name.startswith("packs/"):
        found = pack.decode_header(head, name=name)
        end = pack.decode_trailer(data[-64:], name=name, pack_bytes=len(data))
        key = keys.segment.of(number, name=name)
        cipher = pack_cipher(key, salt=found.salt, header=head)
        at = end.directory_offset
        cipher.open_directory(data[at : at + end.directory_sealed_bytes])
    elif name.startswith("index/"):
        found = index.decode_header(head, name=name)
        key = keys.index.of(number, name=name)
        index_cipher(key, salt=found.salt, header=head).open(0, data[64:128])
    else:
        parsed = point.parse(data, name=name)
        key = keys.point.of(number, name=name)
        aad, sealed = parsed.public_bytes, parsed.sealed_root
        open_once(key, "point-root", salt=parsed.salt, sealed=sealed, aad=aad, name=name)


def test_old_opens_with_the_new_keys_and_new_never_with_the_old(vaulted: Vaulted) -> None:
    known = [(vaulted.keys, names(vaulted))]
    for turn, passphrase in enumerate(PASSPHRASES):
        vaulted.rotate_master(passphrase)
        (vaulted.source / f"after{turn}").write_bytes(os.urandom(30_000))
        vaulted.back_up(full=bool(turn))
        known.append((vaulted.keys, names(vaulted)))
    everything = known[-1][1]
    kinds = {name.partition("/")[0] for name in everything - known[0][1]}
    assert kinds == {"packs", "index", "points"}
    for keys, before in known:
        for name in everything:
            assert opens(vaulted, name, keys) == (name in before), name
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


def test_nothing_is_sent_again(vaulted: Vaulted) -> None:
    before = sum(info.size_bytes for info in vaulted.vault.names("packs/"))
    vaulted.rotate_master(PASSPHRASES[0])
    (vaulted.source / "after").write_bytes(os.urandom(5_000))
    vaulted.back_up()
    sent = sum(info.size_bytes for info in vaulted.vault.names("packs/")) - before
    assert sent < 10_000
    assert before > 200_000
    for info in list(vaulted.state.names()):  # nor by a run that has to look for itself
        vaulted.state.delete(info.name)
    vaulted.restart()
    vaulted.back_up()
    assert sum(info.size_bytes for info in vaulted.vault.names("packs/")) - before < 15_000


def test_a_point_says_that_the_old_keys_lack_its_master_key(vaulted: Vaulted) -> None:
    old = vaulted.keys
    vaulted.rotate_master(PASSPHRASES[0])
    newer = vaulted.back_up()
    with pytest.raises(MasterKeyUnknown, match=r"master key 1.*up to 0.*newest keyring"):
        open_point(vaulted.objects(), old, newer)


def test_a_changed_number_in_a_header_opens_nothing(vaulted: Vaulted) -> None:
    vaulted.rotate_master(PASSPHRASES[0])
    vaulted.back_up(full=True)
    for name in names(vaulted):
        if name.startswith("packs/"):
            data = bytearray(vaulted.disk.read(name))
            data[14] ^= 1
            with pytest.raises(SealBroken):
                vaulted.repository.open_pack(bytes(data[:64]), name).open_directory(
                    _sealed_directory(bytes(data), name)
                )


def _sealed_directory(data: bytes, name: str) -> bytes:
    end = pack.decode_trailer(data[-64:], name=name, pack_bytes=len(data))
    return data[end.directory_offset : end.directory_offset + end.directory_sealed_bytes]


def test_repacking_seals_old_chunks_under_the_new_master_key(vaulted: Vaulted) -> None:
    old, before = vaulted.keys, names(vaulted)
    vaulted.rotate_master(PASSPHRASES[0])
    for number in range(0, 8, 2):
        (vaulted.source / f"before{number}").unlink()
    first = vaulted.keeper.recorded[0]
    vaulted.back_up(full=True)
    vaulted.keeper.deleted.add(first)
    vaulted.repack(min_live=1)
    vaulted.keeper.reclaim()
    vaulted.assert_all_restorable()
    left = {name for name in names(vaulted) if name.startswith(("packs/", "index/", "points/"))}
    assert not any(opens(vaulted, name, old) for name in left - before)
    assert left - before
    assert vaulted.check().is_whole


def test_a_lost_pack_is_repaired_from_an_older_place(vaulted: Vaulted) -> None:
    old = SimDisk()
    for name in names(vaulted):
        old.write(name, vaulted.disk.read(name))
    vaulted.rotate_master(PASSPHRASES[0])
    vaulted.back_up()
    lost = next(iter(old.names("packs/"))).name
    vaulted.disk.delete(lost)
    vaulted.repair(drive=FolderObjects(old))
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole


# -- a first copy under way ---------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def rotated_repository() -> Repository:
    """The repository of `make_repository`, after a rotation."""
    return Repository(
        repository_id=make_repository(SimDisk()).repository_id,
        master_key=MasterKey(Secret(b"n" * 32), (Secret(b"m" * 32),)),
        signing_key=generate_signing_key(lambda size: b"s" * size),
        state=SimDisk(),
        state_folder=None,
    )


def test_a_first_copy_that_began_under_the_old_master_key_is_finished(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"f{number}").write_bytes(os.urandom(100_000))
    plan, out, seen = make_plan(tmp_path, pack_bytes=1 << 20), SimDisk(), list[object]()

    def die(found: object) -> None:
        seen.append(found)
        if len(seen) == 2:
            raise Killed

    with pytest.raises(Killed):
        run(plan, repository=make_repository(SimDisk()), out=out, on_published=die)
    kept = {info.name for info in out.names("packs/")}
    repository = rotated_repository()
    result = run(plan, repository=repository, out=out)
    assert kept < {found.name for found in result.objects}
    numbers = {
        name: pack.decode_header(out.read(name), name=name).master_number
        for name in (info.name for info in out.names("packs/"))
    }
    assert {name for name, number in numbers.items() if number == 0} == kept
    assert len(Tree(out, repository, point_id(1)).contents) == 20
    named = point_name(point_id(1))
    assert point.parse(out.read(named), name=named).master_number == 1
