"""Damaged and foreign keyrings in the vault: changes pass over them, `reissue` gets past them."""

import secrets
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.support.simdisk import PowerCut, SimDisk
from tests.unit.agent.test_keys import NEW, OLD, Computer, twin
from tests.unit.agent.test_master_keys import document, master_of, opened
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.keys import (
    KeyringBehind,
    KeyringTaken,
    KeyringUnpublished,
    generations,
    new_recovery_kit,
    publish,
    ready_to_seal,
    reissue,
)
from overland.agent.points.reading import KeyringDamaged
from overland.agent.setup import load_keys
from overland.agent.vaultkeyrings import Maker, look
from overland.crypto.keyring import (
    MAX_KEYRING_BYTES,
    NO_MAC,
    Former,
    KeyringCorrupt,
    decode_keyring,
    encode_keyring,
    former_of,
    with_checksum,
)
from overland.crypto.keyringproof import proven, renumbered
from overland.crypto.keys import PassphraseWrong, SecretReplaced
from overland.crypto.masterkey import MasterKey
from overland.crypto.secrets import Secret
from overland.errors import ObjectCorrupt, Unreachable
from overland.ports.objects import Objects
from overland.values import keyring_name

LAST = 99_999_999
TOP = 90_000_000
DAMAGED = b"no keyring any more"


def of_stranger(computer: Computer, number: int) -> bytes:
    """A keyring by somebody with the token and without a key: whole, with a MAC that is none."""
    made = replace(document(computer.store, 1), generation=number, mac="4" * 64)
    return encode_keyring(with_checksum(made))


def of_thief(computer: Computer, number: int, *, former: int = 0) -> bytes:
    """A keyring by somebody with the first master key, as in an old home folder."""
    master = MasterKey(Secret(computer.master), (Secret(computer.master),) * former)
    made = replace(document(computer.store, 1), generation=number)
    if former:
        blank = Former(salt="1" * 64, sealed_master_key="2" * 96, mac=NO_MAC)
        made = replace(made, former=[blank] * former)
    return encode_keyring(proven(made, master))


def overwrite(computer: Computer, number: int, data: bytes) -> None:
    """Do to the store what only its medium, or its owner, can do."""
    name = keyring_name(number)
    if any(info.name == name for info in computer.store.names("keys/")):
        computer.store.delete(name)
    computer.store.write(name, data)


def kinds(computer: Computer) -> dict[int, Maker]:
    return {each.number: each.maker for each in look(computer.home, computer.vault).others}


def at_home(computer: Computer) -> list[str]:
    return [info.name for info in computer.disk.names("keys/")]


# -- what is passed over ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 7, TOP - 1, TOP, LAST])
@pytest.mark.parametrize("what", ["damaged", "stranger"])
@pytest.mark.parametrize(
    "change", [Computer.change_passphrase, Computer.rotate, Computer.rotate_master]
)
def test_a_keyring_that_is_nobodys_takes_a_number_and_stops_no_change(
    change: Callable[[Computer], None], what: str, number: int
) -> None:
    computer = Computer()
    data = DAMAGED if what == "damaged" else of_stranger(computer, number)
    computer.store.write(keyring_name(number), data)
    assert list(kinds(computer).values()) == [Maker(what)]
    for newest in (NEW, OLD if change is Computer.rotate_master else NEW):
        change(computer)
        assert computer.opens(passphrase=newest)
        assert computer.opens(kit=computer.kits[-1])
        found = generations(computer.home, computer.vault)
        assert found.is_published
        assert found.here != number
        ready_to_seal(computer.home, computer.vault)
    assert computer.store.read(keyring_name(number)) == data, "nothing in a vault is replaced"


def test_the_last_numbers_cannot_be_used_up() -> None:
    computer = Computer()
    for taken, expected in ((TOP - 2, TOP - 1), (LAST, TOP), (TOP + 1, TOP + 2)):
        computer.store.write(keyring_name(taken), of_stranger(computer, taken))
        computer.change_kit()
        assert generations(computer.home, computer.vault).here == expected
    assert computer.opens(kit=computer.kits[-1])


def test_a_change_that_was_interrupted_is_published_below_a_strangers_keyring() -> None:
    computer = Computer()
    new_recovery_kit(computer.home, None, random=secrets.token_bytes, keep=computer.kits.append)
    computer.store.write(keyring_name(50), of_stranger(computer, 50))
    publish(computer.home, computer.vault)
    assert computer.opens(kit=computer.kits[1])


@pytest.mark.parametrize("data", [b"", b"x" * (MAX_KEYRING_BYTES + 1), b"x" * (8 << 20)])
def test_whatever_lies_under_a_keyrings_name_is_read_no_further_than_a_keyring(
    data: bytes,
) -> None:
    class Metered(FolderObjects):
        most = 0

        @override
        def read_range(self, name: str, *, offset: int, length: int) -> bytes:
            Metered.most = max(Metered.most, length)
            return super().read_range(name, offset=offset, length=length)

        @override
        def read(self, name: str) -> bytes:
            raise AssertionError("it may be of any length")

    computer = Computer()
    computer.store.write(keyring_name(2), data)
    found = look(computer.home, Metered(computer.store))
    assert [each.maker for each in found.others] == [Maker.DAMAGED]
    assert Metered.most <= MAX_KEYRING_BYTES + 1


def test_a_store_that_says_itself_that_a_keyring_is_damaged_stops_nothing() -> None:
    class Checking(FolderObjects):
        @override
        def read_range(self, name: str, *, offset: int, length: int) -> bytes:
            if name == keyring_name(2):
                raise ObjectCorrupt(name, check="SHA-256")
            return super().read_range(name, offset=offset, length=length)

    computer = Computer()
    computer.change_passphrase()
    assert reissue(computer.home, Checking(computer.store)) == 3
    assert computer.opens(passphrase=NEW)


# -- reissue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["damaged", "stranger"])
def test_reissue_gets_past_what_has_the_name_of_the_newest_keyring(what: str) -> None:
    computer = Computer()
    computer.rotate_master()
    before = load_keys(computer.home)
    data = DAMAGED if what == "damaged" else of_stranger(computer, 2)
    overwrite(computer, 2, data)
    for blocked in (computer.change_passphrase, lambda: publish(computer.home, computer.vault)):
        with pytest.raises(KeyringTaken, match=r"00000002.*`overland keys reissue`") as refused:
            blocked()
        assert (refused.value.number, refused.value.maker) == (2, Maker(what))
    found = generations(computer.home, computer.vault)
    assert (found.is_published, found.unusable) == (False, (keyring_name(2),))
    assert found.is_reissue_due
    assert reissue(computer.home, computer.vault) == 3
    assert computer.opens(passphrase=NEW), "the passphrase stays"
    assert computer.opens(kit=computer.kits[1]), "and so does the kit"
    with pytest.raises((SecretReplaced, PassphraseWrong)):
        opened(computer, passphrase=OLD)
    after = load_keys(computer.home)
    assert after.master.secret.reveal() == before.master.secret.reveal()
    assert after.signing.reveal() == before.signing.reveal()
    assert at_home(computer) == [keyring_name(3)]
    assert computer.store.read(keyring_name(2)) == data, "nothing in a vault is replaced"
    computer.rotate()
    assert generations(computer.home, computer.vault).here == 4


def test_whoever_restores_elsewhere_gets_in_again_after_reissue() -> None:
    computer = Computer()
    computer.change_passphrase()
    overwrite(computer, 2, DAMAGED)
    with pytest.raises(KeyringDamaged, match="overland keys reissue"):
        opened(computer, passphrase=NEW)
    reissue(computer.home, computer.vault)
    opened(computer, passphrase=NEW)


def test_sixteen_foreign_keyrings_lock_readers_out_only_until_reissue() -> None:
    """A reader opens no more than sixteen: each may cost what trying a passphrase costs."""
    computer = Computer()
    for number in range(5, 25):
        computer.store.write(keyring_name(number), of_stranger(computer, number))
    with pytest.raises(KeyringCorrupt, match="MAC"):
        opened(computer, passphrase=OLD)
    found = generations(computer.home, computer.vault)
    assert found.is_published
    assert found.is_reissue_due
    assert reissue(computer.home, computer.vault) == 25
    opened(computer, passphrase=OLD)
    assert generations(computer.home, computer.vault).unusable == ()


def test_reissue_without_need_changes_nothing() -> None:
    computer = Computer()
    computer.change_passphrase()
    before = computer.store.read(keyring_name(2))
    for vault in (computer.vault, None):
        assert reissue(computer.home, vault) == 2
    assert at_home(computer) == [keyring_name(2)]
    assert [info.name for info in computer.store.names("keys/")] == [
        keyring_name(1),
        keyring_name(2),
    ]
    computer.store.write(keyring_name(LAST), of_stranger(computer, LAST))
    assert not generations(computer.home, computer.vault).is_reissue_due, "nothing is above it"
    assert reissue(computer.home, computer.vault) == 2
    assert computer.store.read(keyring_name(2)) == before


def test_an_old_home_folder_cannot_bring_its_passphrase_back() -> None:
    computer = Computer()
    other = twin(computer)
    computer.change_passphrase()
    for number in range(3, 12):
        computer.store.write(keyring_name(number), of_stranger(computer, number))
    computer.store.write(keyring_name(12), DAMAGED)
    assert not generations(other.home, other.vault).is_reissue_due
    for disown in (False, True):
        with pytest.raises(KeyringBehind) as refused:
            reissue(other.home, other.vault, disown=disown)
        assert (refused.value.here, refused.value.vault) == (1, 2)
    assert at_home(other) == [keyring_name(1)]
    assert not computer.opens(passphrase=OLD)


def test_of_two_copies_that_changed_at_once_neither_takes_the_others_change_back() -> None:
    computer = Computer()
    other = twin(computer)
    new_recovery_kit(computer.home, None, random=secrets.token_bytes, keep=computer.kits.append)
    other.change_passphrase()
    with pytest.raises(KeyringBehind, match="another keyring 2"):
        reissue(computer.home, computer.vault, disown=True)
    assert computer.opens(passphrase=NEW)


# -- somebody with a former master key ----------------------------------------------------------


@pytest.mark.parametrize("former", [0, 1, 2])
def test_a_keyring_by_a_former_key_needs_the_operators_word(former: int) -> None:
    computer = Computer()
    computer.rotate_master()
    overwrite(computer, 2, of_thief(computer, 2, former=former))
    assert kinds(computer) == {2: Maker.FORMER}
    actions: list[Callable[[Objects], object]] = [
        lambda vault: publish(computer.home, vault),
        lambda vault: ready_to_seal(computer.home, vault),
        lambda vault: reissue(computer.home, vault),
    ]
    for action in actions:
        with pytest.raises(KeyringBehind, match="another keyring 2"):
            action(computer.vault)
    assert at_home(computer) == [keyring_name(2)]
    assert reissue(computer.home, computer.vault, disown=True) == 3
    assert opened(computer, passphrase=NEW).segment.number == 1
    with pytest.raises((SecretReplaced, PassphraseWrong)):
        opened(computer, passphrase=OLD)
    ready_to_seal(computer.home, computer.vault)
    computer.change_kit()
    assert computer.opens(kit=computer.kits[-1])


@pytest.mark.parametrize("number", [3, LAST])
@pytest.mark.parametrize("former", [0, 1, 2])
def test_a_keyring_by_a_former_key_above_ours_stops_nobody(former: int, number: int) -> None:
    computer = Computer()
    computer.rotate_master()
    computer.store.write(keyring_name(number), of_thief(computer, number, former=former))
    ready_to_seal(computer.home, computer.vault)
    computer.change_kit()
    assert computer.opens(kit=computer.kits[-1])
    assert master_of(computer).number == 1


def test_a_rotation_of_another_copy_above_an_unpublished_one_is_not_passed_over() -> None:
    """The other copy met a stranger's keyring, and so has a higher number than ours."""
    computer = Computer()
    other = twin(computer)
    vault = computer.store
    computer.store = SimDisk()  # it is rotated, and its vault knows nothing of it
    publish(computer.home, computer.vault)
    computer.rotate_master()
    computer.store = vault
    computer.store.write(keyring_name(2), of_stranger(computer, 2))
    other.rotate_master()
    assert generations(other.home, other.vault).here == 3
    assert kinds(computer) == {2: Maker.STRANGER, 3: Maker.FORMER}
    for action in (publish, reissue, ready_to_seal):
        with pytest.raises(KeyringBehind) as refused:
            action(computer.home, computer.vault)
        assert refused.value.vault == 3


# -- sealing ------------------------------------------------------------------------------------


def test_a_run_puts_a_keyring_that_is_damaged_in_the_vault_again_by_itself() -> None:
    computer = Computer()
    computer.rotate_master()
    overwrite(computer, 2, DAMAGED)
    ready_to_seal(computer.home, computer.vault)
    assert generations(computer.home, computer.vault).here == 3
    assert opened(computer, passphrase=NEW).segment.number == 1


def flipped(mac: str) -> str:
    return ("1" if mac[0] == "0" else "0") + mac[1:]


def with_other_mac(data: bytes, which: str) -> bytes:
    """Return a keyring in which one digit of a MAC is another, as a flipped bit leaves it."""
    made = decode_keyring(data, name="a keyring")
    if which == "its own":
        return encode_keyring(replace(made, mac=flipped(made.mac)))
    [first, *others] = former_of(made)
    return encode_keyring(replace(made, former=[replace(first, mac=flipped(first.mac)), *others]))


@pytest.mark.parametrize("which", ["its own", "a former master key's"])
def test_a_run_puts_a_keyring_with_a_damaged_mac_again_by_itself_and_says_so(which: str) -> None:
    computer = Computer()
    computer.rotate_master()
    damaged = with_other_mac(computer.store.read(keyring_name(2)), which)
    overwrite(computer, 2, damaged)
    assert kinds(computer) == {2: Maker.DAMAGED}
    with capture_logs() as said:
        ready_to_seal(computer.home, computer.vault)
    [mended] = [each for each in said if each["event"] == "keyring.mended"]
    assert mended["log_level"] == "warning"
    assert (mended["damaged"], mended["new"]) == (keyring_name(2), keyring_name(3))
    assert computer.store.read(keyring_name(2)) == damaged, "nothing in a vault is replaced"
    assert generations(computer.home, computer.vault).here == 3
    assert opened(computer, passphrase=NEW).segment.number == 1
    with capture_logs() as said:
        ready_to_seal(computer.home, computer.vault)
    assert not said, "and that once"
    assert generations(computer.home, computer.vault).here == 3


def test_a_keyring_with_another_slot_is_no_damage_though_its_checksum_holds() -> None:
    """Who can write the store can make a checksum; what he put there is for the operator to see."""
    computer = Computer()
    computer.rotate_master()
    ours = document(computer.store, 2)
    other = replace(ours.slots[0], wrapped_master_key="5" * 96)
    made = with_checksum(replace(ours, slots=[other, *ours.slots[1:]]))
    for mac in (ours.mac, "4" * 64):
        overwrite(computer, 2, encode_keyring(replace(made, mac=mac)))
        assert kinds(computer) == {2: Maker.STRANGER}
        with pytest.raises(KeyringTaken, match="register the computer again first; then run"):
            ready_to_seal(computer.home, computer.vault)
    assert at_home(computer) == [keyring_name(2)]


def test_a_later_master_key_of_another_copy_is_not_passed_over_when_its_mac_is_damaged() -> None:
    """Else a flipped bit would lead this computer to go on under a key that was replaced."""
    computer = Computer()
    other = twin(computer)
    new_recovery_kit(computer.home, None, random=secrets.token_bytes, keep=computer.kits.append)
    other.rotate_master()
    later = with_other_mac(computer.store.read(keyring_name(2)), "a former master key's")
    overwrite(computer, 2, later)
    assert kinds(computer) == {2: Maker.STRANGER}
    with pytest.raises(KeyringTaken):
        ready_to_seal(computer.home, computer.vault)


def test_copies_of_our_keyring_with_other_macs_above_ours_change_nothing() -> None:
    computer = Computer()
    computer.rotate_master()
    for number in range(3, 30):
        copy = with_checksum(replace(document(computer.store, 2), generation=number))
        computer.store.write(keyring_name(number), encode_keyring(copy))
    before = [info.name for info in computer.store.names("keys/")]
    ready_to_seal(computer.home, computer.vault)
    assert [info.name for info in computer.store.names("keys/")] == before
    assert at_home(computer) == [keyring_name(2)]


def test_a_strangers_keyring_in_the_place_of_ours_stops_sealing_until_reissue() -> None:
    computer = Computer()
    computer.rotate_master()
    overwrite(computer, 2, of_stranger(computer, 2))
    with pytest.raises(KeyringTaken):
        ready_to_seal(computer.home, computer.vault)
    reissue(computer.home, computer.vault)
    ready_to_seal(computer.home, computer.vault)


def test_a_damaged_keyring_below_another_of_the_owner_is_left_alone() -> None:
    """A copy of the home folder changed the passphrase since; its keyring opens the same key."""
    computer = Computer()
    other = twin(computer)
    other.change_passphrase()
    overwrite(computer, 1, DAMAGED)
    ready_to_seal(computer.home, computer.vault)
    assert generations(computer.home, computer.vault).here == 1
    assert not computer.opens(passphrase=OLD)


# -- killed on the way --------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize("what", ["damaged", "stranger"])
@pytest.mark.parametrize("disk", ["disk", "store"])
def test_power_cut_at_every_step_of_reissue(disk: str, what: str) -> None:
    step = 0
    while True:
        computer = Computer()
        computer.rotate_master()
        overwrite(computer, 2, DAMAGED if what == "damaged" else of_stranger(computer, 2))
        setattr(computer, disk, getattr(computer, disk).restart(cut_at=step, seed=step))
        try:
            reissue(computer.home, computer.vault)
            is_cut = False
        except PowerCut:
            is_cut = True
        for each in ("disk", "store"):
            setattr(computer, each, getattr(computer, each).restart())
        assert computer.knows_the_first_master()
        reissue(computer.home, computer.vault)
        found = generations(computer.home, computer.vault)
        assert found.is_published
        assert found.here in {3, 4}
        assert at_home(computer) == [keyring_name(found.here)]
        assert opened(computer, passphrase=NEW).segment.number == 1
        assert computer.opens(kit=computer.kits[1])
        computer.change_kit()
        assert computer.opens(kit=computer.kits[-1])
        if not is_cut:
            break
        step += 1
    assert step > 2, "there was something to cut"


def test_a_vault_that_falls_silent_halfway_leaves_what_publish_finishes() -> None:
    class FallingSilent(FolderObjects):
        @override
        def put(self, name: str, *_: object, **__: object) -> None:
            raise Unreachable("the vault does not answer")

    computer = Computer()
    computer.change_passphrase()
    overwrite(computer, 2, DAMAGED)
    with pytest.raises(KeyringUnpublished, match="keyring 3"):
        reissue(computer.home, FallingSilent(computer.store))
    assert publish(computer.home, computer.vault) == 3
    assert computer.opens(passphrase=NEW)


def test_a_stranger_who_is_faster_costs_another_try_and_nothing_else() -> None:
    class Faster(FolderObjects):
        @override
        def put(self, name: str, *_: object, **__: object) -> None:
            computer.store.write(name, of_stranger(computer, int(name[5:13])))
            return super().put(name, *_, **__)  # type: ignore[arg-type]  # as it was called

    computer = Computer()
    computer.change_passphrase()
    overwrite(computer, 2, DAMAGED)
    with pytest.raises(KeyringBehind):
        reissue(computer.home, Faster(computer.store))
    assert at_home(computer) == [keyring_name(2)]
    assert reissue(computer.home, computer.vault) == 4
    assert computer.opens(passphrase=NEW)


def test_another_number_is_another_keyring_to_its_mac() -> None:
    computer = Computer()
    keys = load_keys(computer.home)
    made = renumbered(keys.document, keys.master, generation=9)
    assert made.slots == keys.document.slots
    assert made.mac != keys.document.mac
    assert proven(replace(made, mac=NO_MAC), keys.master) == made
