"""Who made a keyring: its MAC, and the MACs by which former master keys name their successor.

`keys-v1.md` §2.5 to §2.7.  Whoever has a former master key can tell that a newer one counts, and
whoever has only a former master key cannot make a keyring that passes for one of a newer.
"""

import hmac
from typing import Final

import msgspec

from overland.crypto.aead import SealBroken, derive, open_once, seal_once
from overland.crypto.keyring import (
    NO_MAC,
    Former,
    KeyringCorrupt,
    KeyringDocument,
    former_of,
    former_signers_of,
    master_number,
    with_checksum,
    without_macs,
)
from overland.crypto.masterkey import MasterKey, Purpose, Subkeys
from overland.crypto.secrets import Secret
from overland.crypto.slots import Random, additional_data
from overland.values import RepositoryId

__all__ = [
    "holds",
    "is_genuine",
    "is_own",
    "opened",
    "proven",
    "renumbered",
    "revouched",
    "wrapped",
]

_SALT_BYTES: Final = 32
_FORMER_MASTER: Final = "former-master"


def proven(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
    """Return the keyring with its checksum, and with the MACs of all master keys."""
    assert master_number(document) == master.number, "the keyring holds all former master keys"
    made = with_checksum(document)
    if master.former:
        former = [
            msgspec.structs.replace(each, mac=_successor_mac(made, _successor_key(key)))
            for each, key in zip(former_of(made), master.former, strict=True)
        ]
        made = msgspec.structs.replace(made, former=former)
    mac = _mac(made, master.subkey(Purpose.KEYRING_MAC))
    return msgspec.structs.replace(made, mac=mac)


def renumbered(document: KeyringDocument, master: MasterKey, *, generation: int) -> KeyringDocument:
    """Return the same keyring as another generation: a number is under the MACs, all else stays."""
    assert generation > 1, "only the first keyring is the first"
    return proven(msgspec.structs.replace(document, generation=generation), master)


def revouched(
    document: KeyringDocument, master: MasterKey, *, change_sha256: str
) -> KeyringDocument:
    """Return the same keyring with another key change at its end, whose list was made anew.

    Only for a keyring that is nowhere yet but in the home folder that makes it.
    """
    signers = former_signers_of(document)
    assert signers, "only a change that was made can be made again"
    last = msgspec.structs.replace(signers[-1], change_sha256=change_sha256)
    return proven(msgspec.structs.replace(document, former_signers=[*signers[:-1], last]), master)


def is_own(document: KeyringDocument, master: MasterKey) -> bool:
    """Return whether the holder of this very master key made the keyring, and it is the newest."""
    if master_number(document) != master.number:
        return False
    mac = _mac(document, master.subkey(Purpose.KEYRING_MAC))
    return hmac.compare_digest(mac, document.mac)


def is_genuine(document: KeyringDocument, master: MasterKey) -> bool:
    """Return whether the holder of the master key made the keyring, for this key or a later one."""
    return master_number(document) >= master.number and holds(
        document,
        macs=master.subkeys(Purpose.KEYRING_MAC),
        successor=master.subkey(Purpose.KEYRING_SUCCESSOR),
    )


def holds(document: KeyringDocument, *, macs: Subkeys, successor: Secret) -> bool:
    """Return whether a keyring's MAC holds, under whichever master key it was made for.

    Args:
        document: Of any age.
        macs: `Purpose.KEYRING_MAC` of all master keys that are known.
        successor: `Purpose.KEYRING_SUCCESSOR` of the newest of these: a keyring of a later master
            key has a MAC under it.
    """
    number = master_number(document)
    if number <= macs.number:
        return hmac.compare_digest(_mac(document, macs.of(number, name="keyring")), document.mac)
    mac = former_of(document)[macs.number].mac
    return hmac.compare_digest(_successor_mac(document, successor), mac)


def wrapped(master: MasterKey, repository_id: RepositoryId, random: Random) -> list[Former]:
    """Return the former master keys, each sealed under the newest with a fresh salt."""
    made = []
    for number, former in enumerate(master.former):
        salt = random(_SALT_BYTES)
        sealed = seal_once(
            master.subkey(Purpose.FORMER_WRAP),
            _FORMER_MASTER,
            salt=salt,
            plaintext=former.reveal(),
            aad=_aad(repository_id, number),
        )
        made.append(Former(salt=salt.hex(), sealed_master_key=sealed.hex(), mac=NO_MAC))
    return made


def opened(document: KeyringDocument, secret: Secret) -> MasterKey:
    """Return the master key that a slot held, with the former ones.

    Raises:
        KeyringCorrupt: The keyring's MAC does not hold, or a former master key does not open.
    """
    newest = MasterKey(secret)
    mac = _mac(document, newest.subkey(Purpose.KEYRING_MAC))
    if not hmac.compare_digest(mac, document.mac):
        raise KeyringCorrupt("the keyring", check="its MAC does not hold")
    found = []
    for number, each in enumerate(former_of(document)):
        try:
            key = open_once(
                newest.subkey(Purpose.FORMER_WRAP),
                _FORMER_MASTER,
                salt=bytes.fromhex(each.salt),
                sealed=bytes.fromhex(each.sealed_master_key),
                aad=_aad(document.repository_id, number),
                name="the keyring",
            )
        except SealBroken:
            raise KeyringCorrupt(
                "the keyring", check=f"former master key {number} does not open"
            ) from None
        found.append(Secret(key))
    return MasterKey(secret, tuple(found))


def _successor_key(former: Secret) -> Secret:
    return derive(former, Purpose.KEYRING_SUCCESSOR, salt=b"")


def _mac(document: KeyringDocument, key: Secret) -> str:
    """Authenticate the canonical JSON in which the MAC itself is 64 zeros (§2.5)."""
    plain = msgspec.json.encode(msgspec.structs.replace(document, mac=NO_MAC))
    return hmac.digest(key.reveal(), plain, "sha256").hex()


def _successor_mac(document: KeyringDocument, key: Secret) -> str:
    """Authenticate the canonical JSON in which all MACs are 64 zeros (§2.7)."""
    plain = msgspec.json.encode(without_macs(document))
    return hmac.digest(key.reveal(), plain, "sha256").hex()


def _aad(repository_id: RepositoryId, number: int) -> bytes:
    return additional_data(repository_id, f"{_FORMER_MASTER}/{number}")
