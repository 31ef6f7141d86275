import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.format_samples import CHEAP, PASSPHRASE, REPOSITORY, counter, keys

from overland.crypto.ids import chunk_id, chunk_ids
from overland.crypto.keyring import KeyringCorrupt
from overland.crypto.keys import (
    PassphraseWrong,
    Purpose,
    RecoveryKitWrong,
    new_keyring,
    open_with_passphrase,
    open_with_recovery_kit,
    signing_key,
    with_passphrase,
)
from overland.crypto.recovery_kit import RecoveryKitMistyped, format_kit, parse_kit
from overland.crypto.secrets import Secret
from overland.crypto.slots import PassphraseTooShort
from overland.values import RepositoryId

DOCUMENT, MASTER, KIT = keys()
OTHER = RepositoryId("11111111-2222-3333-4444-555555555555")


def test_both_ways_lead_to_the_same_master_key() -> None:
    assert open_with_passphrase(DOCUMENT, PASSPHRASE).secret.reveal() == MASTER.secret.reveal()
    assert open_with_recovery_kit(DOCUMENT, KIT).secret.reveal() == MASTER.secret.reveal()


@pytest.mark.parametrize("wrong", ["", PASSPHRASE + " ", PASSPHRASE.upper()])
def test_a_wrong_passphrase_is_refused(wrong: str) -> None:
    with pytest.raises(PassphraseWrong):
        open_with_passphrase(DOCUMENT, wrong)


def test_a_short_passphrase_is_refused_when_it_is_set() -> None:
    for make in (
        lambda: new_keyring("x" * 15, repository_id=REPOSITORY, random=counter(), cost=CHEAP),
        lambda: with_passphrase(DOCUMENT, MASTER, "x" * 15, random=counter(), cost=CHEAP),
    ):
        with pytest.raises(PassphraseTooShort) as refused:
            make()
        assert refused.value.characters == 15


def test_a_passphrase_opens_however_its_letters_are_composed() -> None:
    composed, split = "caf\N{LATIN SMALL LETTER E WITH ACUTE} at the quay", "cafe\u0301 at the quay"
    document, _, _ = new_keyring(composed, repository_id=REPOSITORY, random=counter(), cost=CHEAP)
    open_with_passphrase(document, split)


def test_a_new_passphrase_replaces_the_old_one_and_keeps_the_kit() -> None:
    changed = with_passphrase(
        DOCUMENT, MASTER, "another long passphrase", random=counter("new"), cost=CHEAP
    )
    assert open_with_passphrase(changed, "another long passphrase").secret.reveal() == (
        MASTER.secret.reveal()
    )
    open_with_recovery_kit(changed, KIT)
    with pytest.raises(PassphraseWrong):
        open_with_passphrase(changed, PASSPHRASE)


def test_a_keyring_with_a_foreign_signing_key_is_refused() -> None:
    foreign, _, _ = new_keyring(
        PASSPHRASE, repository_id=REPOSITORY, random=counter("foreign"), cost=CHEAP
    )
    swapped = replace(DOCUMENT, signing_public_key=foreign.signing_public_key)
    with pytest.raises(KeyringCorrupt, match="MAC"):
        open_with_passphrase(swapped, PASSPHRASE)
    with pytest.raises(KeyringCorrupt, match="not a pair"):
        signing_key(swapped, MASTER)
    with pytest.raises(KeyringCorrupt, match="does not open"):
        signing_key(replace(DOCUMENT, signing_salt="0" * 64), MASTER)


def test_a_keyring_moved_to_another_repository_does_not_open() -> None:
    moved = replace(DOCUMENT, repository_id=OTHER)
    with pytest.raises(PassphraseWrong):
        open_with_passphrase(moved, PASSPHRASE)
    with pytest.raises(RecoveryKitWrong):
        open_with_recovery_kit(moved, KIT)


def test_every_purpose_has_its_own_subkey() -> None:
    subkeys = {MASTER.subkey(purpose).reveal() for purpose in Purpose}
    assert len(subkeys) == len(Purpose)
    assert MASTER.secret.reveal() not in subkeys


def test_a_chunk_id_depends_on_key_and_content() -> None:
    key = MASTER.subkey(Purpose.CHUNK_ID)
    ids = {chunk_id(key, b"a"), chunk_id(key, b"b"), chunk_id(Secret(bytes(32)), b"a")}
    assert len(ids) == 3
    assert {len(id_) for id_ in ids} == {32}
    assert chunk_id(key, memoryview(bytearray(b"a"))) in ids
    joined = chunk_id(key, b"b") + chunk_id(key, b"ab") + chunk_id(key, b"")
    assert chunk_ids(key, memoryview(b"ab"), [(1, 1), (0, 2), (2, 0)]) == joined


def test_a_kit_names_its_repository_and_is_read_as_people_type() -> None:
    assert REPOSITORY in KIT
    title, repository, letters = KIT.split()
    sloppy = f"  {title.upper()} {repository}\r\n{letters.lower().replace('-', ' ')}  \n"
    assert parse_kit(sloppy)[1].reveal() == parse_kit(KIT)[1].reveal()
    misread = letters.replace("O", "0").replace("I", "1").replace("B", "8")
    assert parse_kit(f"{title}\n{repository}\n{misread}")[0] == REPOSITORY


@given(place=st.integers(0, 69), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_letter_in_a_kit_is_noticed(place: int, letter: str) -> None:
    title, repository, letters = KIT.split()
    typed = letters[:place] + letter + letters[place + 1 :]
    if typed != letters:
        with pytest.raises(RecoveryKitMistyped):
            parse_kit(f"{title}\n{repository}\n{typed}\n")


@pytest.mark.parametrize("typed", ["", "hello", KIT[:-9], KIT + "AAAA", KIT.replace("-", "?")])
def test_what_is_no_kit_is_refused(typed: str) -> None:
    with pytest.raises(RecoveryKitMistyped):
        parse_kit(typed)


def test_a_kit_of_another_repository_is_noticed_before_it_is_tried() -> None:
    kit = format_kit(OTHER, Secret(bytes(32)))
    with pytest.raises(RecoveryKitWrong, match=OTHER):
        open_with_recovery_kit(DOCUMENT, kit)
    with pytest.raises(RecoveryKitMistyped):
        parse_kit(kit.replace(OTHER, REPOSITORY))
