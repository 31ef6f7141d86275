"""Whose signature counts: four answers that are told apart."""

import hashlib
from collections.abc import Collection

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.format_samples import (
    CHEAP,
    NEW_PASSPHRASE,
    PASSPHRASE,
    REPOSITORY,
    counter,
    keys,
)
from tests.support.key_change_samples import new_signer, next_keyring

from overland.crypto.keyring import (
    FormerSigner,
    KeyringCorrupt,
    decode_keyring,
    encode_keyring,
    former_signers_of,
    generation_of,
    with_checksum,
)
from overland.crypto.keyringproof import is_genuine, is_own, proven, renumbered, revouched
from overland.crypto.keys import (
    PassphraseKept,
    new_keyring,
    open_with_passphrase,
    signing_key,
    with_both,
    with_master,
    with_passphrase,
    with_signing_key,
)
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key, public_key, sign
from overland.crypto.signers import Signers
from overland.errors import KeyChangeMissing, SignatureInvalid, SigningKeyRetired

PURPOSE = "overland-point-v1"
FIRST, SECOND, NEWEST, STRANGER = (
    generate_signing_key(counter(name)) for name in ("first", "second", "newest", "stranger")
)
FILE = b"the whole file"
LISTED = hashlib.sha256(FILE).digest()


def ended(key: Secret, digest: str = "ab" * 32) -> FormerSigner:
    return FormerSigner(public_key=public_key(key).hex(), change_sha256=digest)


SIGNERS = Signers(public_key(NEWEST), [ended(FIRST), ended(SECOND, "cd" * 32)])


def prove(
    by: Secret,
    lists: dict[int, Collection[bytes]],
    *,
    claimed: bytes | None = None,
    file: bytes = FILE,
) -> list[int]:
    """Return the key changes that were asked for."""
    asked: list[int] = []

    def vouched(number: int) -> Collection[bytes] | None:
        asked.append(number)
        return lists.get(number)

    SIGNERS.prove(
        PURPOSE,
        b"body",
        sign(by, PURPOSE, b"body"),
        file=file,
        name="points/x.point",
        vouched=vouched,
        claimed=claimed,
    )
    return asked


def test_the_newest_key_counts_and_no_list_is_asked() -> None:
    assert prove(NEWEST, {}) == []
    assert prove(NEWEST, {1: (), 2: ()}, claimed=public_key(NEWEST)) == []


@pytest.mark.parametrize(("key", "number"), [(FIRST, 1), (SECOND, 2)], ids=["first", "second"])
def test_a_former_key_counts_where_its_own_change_lists_the_file(key: Secret, number: int) -> None:
    assert prove(key, {number: {LISTED}}) == [number]
    other = 3 - number
    with pytest.raises(SigningKeyRetired) as refused:
        prove(key, {number: set(), other: {LISTED}})
    assert refused.value.change == number
    with pytest.raises(SigningKeyRetired):
        prove(key, {number: {LISTED}}, file=FILE + b" of another")
    with pytest.raises(KeyChangeMissing) as missing:
        prove(key, {other: {LISTED}})
    assert missing.value.change == SIGNERS.change_name(number)


def test_a_stranger_is_not_asked_about() -> None:
    with pytest.raises(SignatureInvalid) as refused:
        prove(STRANGER, {1: {LISTED}, 2: {LISTED}})
    assert not isinstance(refused.value, SigningKeyRetired)


def test_a_document_counts_by_the_key_that_it_names_alone() -> None:
    for named in (NEWEST, SECOND, STRANGER):
        with pytest.raises(SignatureInvalid):
            prove(FIRST, {1: {LISTED}}, claimed=public_key(named))
    assert prove(FIRST, {1: {LISTED}}, claimed=public_key(FIRST)) == [1]


def test_each_key_has_its_successor() -> None:
    assert SIGNERS.successor(1) == public_key(SECOND)
    assert SIGNERS.successor(2) == public_key(NEWEST)
    assert SIGNERS.change_name(2) == f"keychanges/00000002-{'cd' * 32}.change"


# -- in the keyring -------------------------------------------------------------------------------


def test_the_keyring_has_the_new_key_and_the_change_that_ended_the_old() -> None:
    document, master, _ = next_keyring()
    before, old_master, _ = keys()
    assert signing_key(document, master).reveal() == new_signer().reveal()
    assert [each.public_key for each in former_signers_of(document)] == [before.signing_public_key]
    assert generation_of(document) == generation_of(before) + 1
    assert is_own(document, master)
    assert is_genuine(document, old_master)
    assert decode_keyring(encode_keyring(document), name="k") == document
    with pytest.raises(PassphraseKept):
        with_signing_key(
            before,
            old_master,
            PASSPHRASE,
            private=new_signer(),
            change_sha256="ab" * 32,
            random=counter(),
            cost=CHEAP,
        )


@pytest.mark.parametrize("what", ["none", "another digest", "another key"])
def test_who_has_not_the_newest_master_key_changes_no_former_key(what: str) -> None:
    document, _, _ = next_keyring()
    _, old_master, _ = keys()
    [former] = former_signers_of(document)
    cases: dict[str, list[FormerSigner] | msgspec.UnsetType] = {
        "none": msgspec.UNSET,
        "another digest": [replace(former, change_sha256="ab" * 32)],
        "another key": [replace(former, public_key="ab" * 32)],
    }
    forged = with_checksum(replace(document, former_signers=cases[what]))
    decode_keyring(encode_keyring(forged), name="k")  # its form is right
    assert not is_genuine(forged, old_master)
    with pytest.raises(KeyringCorrupt, match="MAC"):
        open_with_passphrase(forged, NEW_PASSPHRASE)


def test_every_later_keyring_keeps_the_former_keys() -> None:
    document, master, _ = next_keyring()
    words, turn = "a passphrase of another day", counter("later")
    kept = former_signers_of(document)
    assert former_signers_of(renumbered(document, master, generation=9)) == kept
    assert (
        former_signers_of(with_passphrase(document, master, words, random=turn, cost=CHEAP)) == kept
    )
    assert former_signers_of(with_both(document, master, words, random=turn, cost=CHEAP)[0]) == kept
    newer, newest, _ = with_master(document, master, words, random=turn, cost=CHEAP)
    assert former_signers_of(newer) == kept
    assert is_own(newer, newest)


def test_a_change_that_was_made_again_takes_the_place_of_the_last() -> None:
    document, master, _ = next_keyring()
    again = revouched(document, master, change_sha256="ab" * 32)
    assert [each.change_sha256 for each in former_signers_of(again)] == ["ab" * 32]
    assert is_own(again, master)
    assert replace(again, former_signers=document.former_signers, sha256="", mac="") == replace(
        document, sha256="", mac="", former=again.former
    )


def test_keyrings_of_before_are_as_they_were() -> None:
    plain, master, _ = new_keyring(
        PASSPHRASE, repository_id=REPOSITORY, random=counter("plain"), cost=CHEAP
    )
    assert b"former_signers" not in encode_keyring(plain)
    assert former_signers_of(plain) == []
    rotated, _, _ = with_master(
        plain, master, "words that are others", random=counter("plain 2"), cost=CHEAP
    )
    assert b"former_signers" not in encode_keyring(rotated)
    assert rotated.signing_public_key == plain.signing_public_key
    proven(plain, master)
