"""Rotating the master key: old and new keyring, withheld and forged ones, and power cuts."""

import secrets
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.support.simdisk import PowerCut, SimDisk
from tests.unit.agent.test_keys import CHEAP, NEW, OLD, Computer, twin
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.home import AgentHome
from overland.agent.keys import (
    KeyringBehind,
    KeyringUnpublished,
    change_passphrase,
    publish,
    ready_to_seal,
    rotate_master,
)
from overland.agent.points.reading import KeyringDamaged, NoKeyring, ReadKeys, open_keys
from overland.agent.setup import load_keys, master_key_name, newest_keyring
from overland.agent.sources import LayeredObjects
from overland.crypto.keyring import (
    NO_MAC,
    Former,
    KeyringDocument,
    decode_keyring,
    encode_keyring,
    with_checksum,
)
from overland.crypto.keyringproof import is_genuine, proven
from overland.crypto.keys import (
    MasterKey,
    PassphraseKept,
    PassphraseWrong,
    RecoveryKitWrong,
    SecretReplaced,
    TooManyMasterKeys,
    open_with_passphrase,
    with_master,
)
from overland.crypto.secrets import Secret
from overland.errors import Unreachable
from overland.values import keyring_name

FORGED = 90_000_000


def opened(computer: Computer, **secret: str) -> ReadKeys:
    return open_keys(LayeredObjects([("vault", computer.vault)]), **secret)


def document(disk: SimDisk, generation: int) -> KeyringDocument:
    name = keyring_name(generation)
    return decode_keyring(disk.read(name), name=name)


def master_of(computer: Computer) -> MasterKey:
    return load_keys(computer.home).master


def test_passphrase_kit_and_master_key_are_new_and_the_old_key_is_kept_sealed() -> None:
    computer = Computer()
    signing = load_keys(computer.home).signing.reveal()
    computer.rotate_master()
    master = master_of(computer)
    assert [key.reveal() for key in master.former] == [computer.master]
    assert master.secret.reveal() != computer.master
    assert load_keys(computer.home).signing.reveal() == signing
    assert computer.opens(passphrase=NEW)
    assert computer.opens(kit=computer.kits[1])
    assert [info.name for info in computer.disk.names("master")] == [master_key_name(1)]
    for secret in ({"passphrase": OLD}, {"recovery_kit": computer.kits[0]}):
        with pytest.raises(SecretReplaced):
            opened(computer, **secret)


def test_rotations_follow_each_other_and_every_master_key_is_kept() -> None:
    computer, masters = Computer(), list[bytes]()
    for number in range(1, 4):
        masters.append(master_of(computer).secret.reveal())
        computer.rotate_master()
        master = master_of(computer)
        assert (master.number, [key.reveal() for key in master.former]) == (number, masters)
        assert computer.opens(kit=computer.kits[-1])
        assert not any(computer.opens(kit=kit) for kit in computer.kits[:-1])


@pytest.mark.parametrize("change", [Computer.change_passphrase, Computer.change_kit])
def test_other_changes_keep_all_master_keys(change: Callable[[Computer], None]) -> None:
    computer = Computer()
    computer.rotate_master()
    before = master_of(computer)
    change(computer)
    after = master_of(computer)
    assert after.secret.reveal() == before.secret.reveal()
    assert [key.reveal() for key in after.former] == [computer.master]
    assert is_genuine(document(computer.disk, 3), MasterKey(Secret(computer.master)))


def test_the_passphrase_before_is_refused_and_changes_nothing() -> None:
    """Its slot wraps the old key: who has that could pass the slot off as one of a newer."""
    computer = Computer()
    with pytest.raises(PassphraseKept):
        rotate_master(
            computer.home,
            computer.vault,
            passphrase=OLD,
            random=secrets.token_bytes,
            keep=computer.kits.append,
            cost=CHEAP,
        )
    assert computer.opens(passphrase=OLD)
    assert len(computer.kits) == 1
    assert master_of(computer).number == 0


def test_a_keyring_that_is_full_takes_no_more_master_keys() -> None:
    computer = Computer()
    master = MasterKey(Secret(computer.master), tuple(Secret(bytes([n]) * 32) for n in range(99)))
    with pytest.raises(TooManyMasterKeys):
        with_master(document(computer.disk, 1), master, NEW, random=secrets.token_bytes, cost=CHEAP)


# -- what is sealed -----------------------------------------------------------------------------


def test_an_unpublished_master_key_is_published_before_anything_is_sealed() -> None:
    class FallingSilent(FolderObjects):
        @override
        def put(self, name: str, *_: object, **__: object) -> None:
            if name == keyring_name(2):
                raise Unreachable("the vault does not answer")

    computer = Computer()
    silent = FallingSilent(computer.store)
    with pytest.raises(KeyringUnpublished):
        rotate_master(
            computer.home,
            silent,
            passphrase=NEW,
            random=secrets.token_bytes,
            keep=computer.kits.append,
            cost=CHEAP,
        )
    with pytest.raises(Unreachable):
        ready_to_seal(computer.home, silent)
    ready_to_seal(computer.home, computer.vault)
    assert computer.opens(passphrase=NEW)
    assert [info.name for info in computer.disk.names("keys/")] == [keyring_name(2)]


@pytest.mark.crash
@pytest.mark.parametrize("disk", ["disk", "store"])
def test_after_a_power_cut_anywhere_what_may_be_sealed_opens_from_the_vault(disk: str) -> None:
    step = 0
    while True:
        computer = Computer()
        setattr(computer, disk, getattr(computer, disk).restart(cut_at=step, seed=step))
        try:
            computer.rotate_master()
            is_cut = False
        except PowerCut:
            is_cut = True
        computer.disk, computer.store = computer.disk.restart(), computer.store.restart()
        ready_to_seal(computer.home, computer.vault)
        sealing = master_of(computer)
        [kit] = [kit for kit in computer.kits if computer.opens(kit=kit)]
        keys = opened(computer, recovery_kit=kit)
        assert keys.segment.number == sealing.number, f"cut at step {step}"
        if not is_cut:
            break
        step += 1
    assert step > 2, "there was something to cut"


def test_a_withheld_keyring_is_put_back_and_never_leads_to_an_older_master_key() -> None:
    computer = Computer()
    computer.rotate_master()
    computer.store.delete(keyring_name(2))
    ready_to_seal(computer.home, computer.vault)
    assert master_of(computer).number == 1
    assert computer.store.read(keyring_name(2)) == computer.disk.read(keyring_name(2))


def test_a_copy_of_the_home_folder_from_before_does_not_seal_any_more() -> None:
    computer = Computer()
    other = twin(computer)
    computer.rotate_master()
    other.store = computer.store
    with pytest.raises(KeyringBehind) as refused:
        ready_to_seal(other.home, other.vault)
    assert (refused.value.here, refused.value.vault) == (1, 2)
    computer.change_kit()
    ready_to_seal(computer.home, computer.vault)
    with pytest.raises(KeyringBehind):
        ready_to_seal(other.home, other.vault)


def test_a_newer_passphrase_elsewhere_and_a_strangers_keyring_do_not_stop_backups() -> None:
    computer = Computer()
    other = twin(computer)
    other.change_passphrase()
    computer.store.write(keyring_name(FORGED), encode_keyring(stranger(computer)))
    computer.store.write(keyring_name(FORGED + 1), b"no keyring")
    ready_to_seal(computer.home, computer.vault)


def test_of_two_rotations_at_once_one_counts_and_the_other_seals_nothing() -> None:
    computer = Computer()
    other = twin(computer)
    rotate_master(
        computer.home,
        None,
        passphrase="y" * 16,
        random=secrets.token_bytes,
        keep=computer.kits.append,
        cost=CHEAP,
    )
    other.rotate_master()
    with pytest.raises(KeyringBehind):
        publish(computer.home, computer.vault)
    with pytest.raises(KeyringBehind):
        ready_to_seal(computer.home, computer.vault)


# -- forged keyrings ----------------------------------------------------------------------------


def stranger(computer: Computer) -> KeyringDocument:
    """A keyring that looks newer, of somebody without any key."""
    made = replace(document(computer.store, 1), generation=FORGED)
    former = Former(salt="1" * 64, sealed_master_key="2" * 96, mac="3" * 64)
    return with_checksum(replace(made, former=[former], mac="4" * 64))


def forged(computer: Computer, *, former: int = 0) -> KeyringDocument:
    """A keyring that looks newer, of somebody with the first master key and an old keyring."""
    master = MasterKey(Secret(computer.master), (Secret(computer.master),) * former)
    made = replace(document(computer.store, 1), generation=FORGED)
    if former:
        blank = Former(salt="1" * 64, sealed_master_key="2" * 96, mac=NO_MAC)
        made = replace(made, former=[blank] * former)
    return proven(made, master)


@pytest.mark.parametrize("former", [0, 1, 2])
def test_who_has_the_old_master_key_cannot_lock_the_owner_out(former: int) -> None:
    computer = Computer()
    computer.rotate_master()
    computer.store.write(keyring_name(FORGED), encode_keyring(forged(computer, former=former)))
    assert opened(computer, passphrase=NEW).segment.number == 1
    assert opened(computer, recovery_kit=computer.kits[1]).segment.number == 1
    ready_to_seal(computer.home, computer.vault)


def test_nothing_is_sealed_while_the_name_of_our_keyring_holds_one_of_an_old_master_key() -> None:
    """Who restores from the vault would not find the master key that seals now."""
    computer = Computer()
    computer.rotate_master()
    ready_to_seal(computer.home, computer.vault)
    name = newest_keyring(computer.home)[0]
    ours = document(computer.store, 2)
    made = replace(document(computer.store, 1), generation=ours.generation)
    old = proven(made, MasterKey(Secret(computer.master)))
    computer.store.delete(name)
    computer.store.write(name, encode_keyring(old))
    with pytest.raises(KeyringBehind):
        ready_to_seal(computer.home, computer.vault)


@pytest.mark.parametrize("former", [0, 1, 2])
def test_an_old_slot_in_a_newer_keyring_leads_nobody_to_the_old_master_key(former: int) -> None:
    computer = Computer()
    computer.rotate_master()
    computer.store.write(keyring_name(FORGED), encode_keyring(forged(computer, former=former)))
    for secret in ({"passphrase": OLD}, {"recovery_kit": computer.kits[0]}):
        with pytest.raises(SecretReplaced):
            opened(computer, **secret)


def test_a_passphrase_of_long_ago_opens_the_newest_and_not_the_forged() -> None:
    """Somebody takes an old passphrase again, and somebody else has the key that it wrapped."""
    computer = Computer()
    computer.change_passphrase()
    rotate_master(
        computer.home,
        computer.vault,
        passphrase=OLD,
        random=secrets.token_bytes,
        keep=computer.kits.append,
        cost=CHEAP,
    )
    computer.store.write(keyring_name(FORGED), encode_keyring(forged(computer)))
    assert opened(computer, passphrase=OLD).segment.number == 1


def test_a_former_master_key_in_another_place_does_not_open() -> None:
    computer = Computer()
    computer.rotate_master()
    computer.rotate_master()
    master, made = master_of(computer), document(computer.disk, 3)
    assert isinstance(made.former, list)
    swapped = proven(replace(made, former=made.former[::-1]), master)
    with pytest.raises(Exception, match="former master key 0 does not open"):
        open_with_passphrase(swapped, OLD)


# -- damaged keyrings ---------------------------------------------------------------------------


def flipped(data: bytes, member: bytes) -> bytes:
    at = data.index(b'"' + member + b'":"') + len(member) + 8
    return data[:at] + (b"1" if data[at : at + 1] == b"0" else b"0") + data[at + 1 :]


@pytest.mark.parametrize("member", [b"salt", b"wrapped_master_key", b"sealed_signing_key"])
def test_a_damaged_newest_keyring_is_named_and_is_no_wrong_passphrase(member: bytes) -> None:
    computer = Computer()
    computer.change_passphrase()
    name = keyring_name(2)
    computer.store.write(name, flipped(computer.store.read(name), member))
    with pytest.raises(KeyringDamaged, match=rf"{name} is damaged.*{keyring_name(1)}") as refused:
        opened(computer, passphrase=NEW)
    assert refused.value.names == (name,)
    assert computer.opens(passphrase=OLD), "the older one opens with what opened it"
    drive = SimDisk()
    drive.write(name, computer.disk.read(name))
    both = [("vault", computer.vault), ("drive", FolderObjects(drive))]
    open_keys(LayeredObjects(both), passphrase=NEW)


def test_a_damaged_older_keyring_and_a_wrong_passphrase_are_a_wrong_passphrase() -> None:
    computer = Computer()
    computer.change_passphrase()
    computer.store.write(keyring_name(1), b"damaged")
    with pytest.raises(PassphraseWrong):
        opened(computer, passphrase="z" * 16)
    other = Computer()
    with pytest.raises(RecoveryKitWrong):
        opened(computer, recovery_kit=other.kits[0])


def test_when_all_keyrings_are_damaged_there_is_none() -> None:
    computer = Computer()
    computer.store.write(keyring_name(1), b"damaged")
    with pytest.raises(NoKeyring, match="1 damaged keyring"):
        opened(computer, passphrase=OLD)


def test_a_keyring_of_the_first_form_is_read_and_its_next_one_has_a_checksum() -> None:
    computer = Computer()
    master = master_of(computer)
    first = document(computer.disk, 1)
    assert first.sha256 == with_checksum(first).sha256
    change_passphrase(
        AgentHome(computer.disk), None, passphrase=NEW, random=secrets.token_bytes, cost=CHEAP
    )
    newer = document(computer.disk, 2)
    assert newer.sha256 == with_checksum(newer).sha256
    assert is_genuine(newer, master)
