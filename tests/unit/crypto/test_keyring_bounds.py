"""Keyrings at the edges: bounds, names, and what each MAC covers."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.support import format_samples as sample

from overland.crypto.keyring import (
    MAX_KEYRING_BYTES,
    Argon2Parameters,
    KeyringCorrupt,
    KeyringDocument,
    decode_keyring,
    encode_keyring,
    with_checksum,
)
from overland.crypto.keyringproof import holds, is_genuine, renumbered
from overland.crypto.masterkey import MasterKey, Purpose
from overland.crypto.recovery_kit import RecoveryKitMistyped, parse_kit
from overland.crypto.slots import stretch

Body = dict[str, Any]  # any JSON: what is tried are values that the types forbid

FIRST, MASTER, KIT = sample.keys()
SECOND, NEWEST, _ = sample.rotated()
CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)


def changed(document: KeyringDocument, change: Callable[[Body], object]) -> bytes:
    """Return a keyring without a checksum, so that only the rule in question can refuse it."""
    body: Body = json.loads(msgspec.json.encode(document))
    body.pop("sha256", None)
    change(body)
    return msgspec.json.encode(body) + b"\n"


def slots(count: int) -> Callable[[Body], object]:
    return lambda body: body.__setitem__("slots", [body["slots"][0]] * count)


def cost(field: str, value: int) -> Callable[[Body], object]:
    return lambda body: body["slots"][0]["argon2id"].__setitem__(field, value)


@pytest.mark.parametrize(
    "change",
    [
        slots(16),
        cost("memory_kib", 32),
        cost("memory_kib", 1 << 20),
        cost("iterations", 16),
        cost("lanes", 4),
    ],
    ids=["16 slots", "least memory", "most memory", "most passes", "most lanes"],
)
def test_a_keyring_at_a_bound_is_taken(change: Callable[[Body], object]) -> None:
    decode_keyring(changed(FIRST, change), name="a copy")


@pytest.mark.parametrize(
    "change",
    [
        slots(0),
        slots(17),
        cost("memory_kib", 31),
        cost("memory_kib", (1 << 20) + 1),
        cost("iterations", 0),
        cost("iterations", 17),
        cost("lanes", 0),
        cost("lanes", 5),
    ],
    ids=[
        "no slot",
        "17 slots",
        "too little memory",
        "too much memory",
        "no pass",
        "too many passes",
        "no lane",
        "too many lanes",
    ],
)
def test_a_keyring_just_outside_a_bound_is_refused(change: Callable[[Body], object]) -> None:
    """Each of them could otherwise eat the machine of who only wants to open it."""
    with pytest.raises(KeyringCorrupt, match="not a keyring of format 1"):
        decode_keyring(changed(FIRST, change), name="a copy")


@pytest.mark.parametrize("generation", [0, 1, 100_000_000])
def test_only_later_generations_have_a_number(generation: int) -> None:
    def numbered(body: Body) -> None:
        body["generation"] = generation

    with pytest.raises(KeyringCorrupt, match="not a keyring of format 1"):
        decode_keyring(changed(SECOND, numbered), name="a copy")


def test_more_bytes_than_a_keyring_may_have_are_not_looked_into() -> None:
    for length, why in ((MAX_KEYRING_BYTES, "format 1"), (MAX_KEYRING_BYTES + 1, "too long")):
        with pytest.raises(KeyringCorrupt, match=why):
            decode_keyring(bytes(length), name="a copy")


def test_a_keyring_has_the_name_of_its_generation() -> None:
    for document, own, other in ((FIRST, 1, 2), (SECOND, 2, 1), (SECOND, 2, 3)):
        data = encode_keyring(document)
        decode_keyring(data, name=f"keys/{own:08d}.keyring")
        with pytest.raises(KeyringCorrupt, match="another generation"):
            decode_keyring(data, name=f"keys/{other:08d}.keyring")


def test_a_former_master_key_names_a_keyring_with_its_generation() -> None:
    """Or an old keyring would pass under the number of a later one, by who has not its key."""
    assert is_genuine(SECOND, MASTER)
    assert not is_genuine(replace(SECOND, generation=3), MASTER)
    assert not is_genuine(replace(SECOND, generation=3), NEWEST)
    assert is_genuine(renumbered(SECOND, NEWEST, generation=3), MASTER)


@pytest.mark.parametrize("field", ["slots", "signing_public_key", "signing_salt"])
def test_a_former_master_key_vouches_for_the_whole_keyring(field: str) -> None:
    other = {
        "slots": SECOND.slots[:1],
        "signing_public_key": "0" * 64,
        "signing_salt": "0" * 64,
    }[field]
    forged = with_checksum(replace(SECOND, **{field: other}))
    assert not is_genuine(forged, MASTER)
    assert not is_genuine(forged, NEWEST)


def test_a_keyring_of_before_is_not_genuine_for_a_newer_master_key() -> None:
    """Whoever has the old key makes such ones at will."""
    assert is_genuine(FIRST, MASTER)
    assert not is_genuine(FIRST, NEWEST)
    assert holds(
        FIRST,
        macs=NEWEST.subkeys(Purpose.KEYRING_MAC),
        successor=NEWEST.subkey(Purpose.KEYRING_SUCCESSOR),
    ), "its MAC holds all the same"


def test_a_master_keys_mac_is_not_the_one_by_which_it_names_its_successor() -> None:
    macs = MASTER.subkeys(Purpose.KEYRING_MAC)
    successor = MASTER.subkey(Purpose.KEYRING_SUCCESSOR)
    assert holds(SECOND, macs=macs, successor=successor)
    assert not holds(SECOND, macs=macs, successor=MASTER.subkey(Purpose.KEYRING_MAC))


def test_no_two_purposes_share_a_label() -> None:
    """A second name for the same label would count as the same purpose, and hide."""
    assert len(Purpose) == len(Purpose.__members__)
    assert len({MasterKey(MASTER.secret).subkey(each).reveal() for each in Purpose}) == len(
        Purpose.__members__
    )


@pytest.mark.parametrize(
    ("typed", "same"),
    [("\ufb01ne word", "fine word"), ("\uff11\uff12\uff13", "123"), ("a\u00a0b", "a b")],
    ids=["ligature", "wide digits", "hard blank"],
)
def test_a_passphrase_is_the_same_from_every_keyboard(typed: str, same: str) -> None:
    """NFKC, and not NFC, which leaves all of these apart (`keys-v1.md` §2.2)."""
    salt = bytes(32)
    assert stretch(typed, salt, CHEAP).reveal() == stretch(same, salt, CHEAP).reveal()


@pytest.mark.parametrize("more", ["A" * 8, "7" * 8, "A" * 16])
def test_nothing_follows_a_kit(more: str) -> None:
    """Eight letters are five whole bytes: only the length tells."""
    parse_kit(KIT)
    with pytest.raises(RecoveryKitMistyped):
        parse_kit(KIT.rstrip() + more)
