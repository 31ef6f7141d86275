"""From a passphrase or a recovery kit to the master key and its subkeys (`keys-v1.md`)."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from overland.crypto.aead import derive
from overland.crypto.keyring import (
    KIND_PASSPHRASE,
    KIND_RECOVERY_KIT,
    MAX_FORMER,
    Argon2Parameters,
    FormerSigner,
    KeyringCorrupt,
    KeyringDocument,
    Slot,
    former_signers_of,
    generation_of,
    master_number,
)
from overland.crypto.keyringproof import is_genuine, is_own, opened, proven, wrapped
from overland.crypto.masterkey import MasterKey, Purpose
from overland.crypto.recovery_kit import KIT_KEY_BYTES, format_kit, parse_kit
from overland.crypto.secrets import Secret
from overland.crypto.sign import generate_signing_key
from overland.crypto.signingkey import sealed_keyring, signing_key
from overland.crypto.slots import (
    Random,
    check_length,
    kit_slot,
    passphrase_slot,
    stretch,
    unwrap,
)
from overland.errors import RefusedError
from overland.values import RepositoryId

__all__ = [
    "MasterKey",
    "PassphraseKept",
    "PassphraseWrong",
    "Purpose",
    "RecoveryKitWrong",
    "SecretReplaced",
    "TooManyMasterKeys",
    "new_keyring",
    "open_newest",
    "open_with_passphrase",
    "open_with_recovery_kit",
    "signing_key",
    "with_both",
    "with_master",
    "with_passphrase",
    "with_recovery_kit",
    "with_signing_key",
]

_KEY_BYTES: Final = 32


class PassphraseWrong(RefusedError):
    """No slot of the keyring opens with this passphrase."""

    code = "passphrase-wrong"

    def __init__(self, repository_id: RepositoryId) -> None:
        super().__init__(
            f"this is not the passphrase of repository {repository_id}; "
            "type it again, or open it with the recovery kit"
        )
        self.repository_id = repository_id


class RecoveryKitWrong(RefusedError):
    """The kit is well typed, and belongs to another repository or to a withdrawn slot."""

    code = "recovery-kit-wrong"

    def __init__(self, repository_id: RepositoryId, *, kit_of: RepositoryId) -> None:
        super().__init__(
            f"the recovery kit is for repository {kit_of} and does not open {repository_id}; "
            "take the kit that names this repository"
        )
        self.repository_id, self.kit_of = repository_id, kit_of


class SecretReplaced(RefusedError):
    """The passphrase or the recovery kit opens an older keyring, and not the newest."""

    code = "secret-replaced"

    def __init__(self, repository_id: RepositoryId, *, opens: int, newest: int) -> None:
        super().__init__(
            f"this passphrase or recovery kit was replaced: it opens keyring {opens} of repository "
            f"{repository_id}, and keyring {newest} counts; use the newer one"
        )
        self.repository_id, self.opens, self.newest = repository_id, opens, newest


class PassphraseKept(RefusedError):
    """A rotation of the master key was to keep the passphrase."""

    code = "passphrase-kept"

    def __init__(self) -> None:
        super().__init__(
            "the new passphrase is the one that opens the repository now; a new master key needs "
            "another, or whoever has the old key could make keyrings that your passphrase opens"
        )


class TooManyMasterKeys(RefusedError):
    """A keyring holds as many former master keys as it may."""

    code = "too-many-master-keys"

    def __init__(self) -> None:
        super().__init__(
            f"the keyring holds {MAX_FORMER} former master keys, and takes no more; nothing was "
            "changed; to go on, begin a new repository in a new home folder"
        )


def new_keyring(
    passphrase: str,
    *,
    repository_id: RepositoryId,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> tuple[KeyringDocument, MasterKey, str]:
    """Make a master key, a signing key, and slots for the passphrase and a recovery kit.

    Returns the keyring, the master key, and the recovery kit, which is shown once, to be
    printed, and kept nowhere.

    Args:
        passphrase: At least 16 characters; compared after Unicode normalisation NFKC.
        repository_id: The repository that the keys belong to.
        random: Returns so many cryptographically random bytes.
        cost: Argon2id's cost; None for 64 MiB, 3 passes, 4 lanes.

    Raises:
        PassphraseTooShort: Nothing was made.
    """
    check_length(passphrase)
    master = MasterKey(Secret(random(_KEY_BYTES)))
    kit_key = Secret(random(KIT_KEY_BYTES))
    private = generate_signing_key(random)
    slots = _both_slots(passphrase, kit_key, repository_id, master, random, cost)
    document = sealed_keyring(slots, private, master, repository_id, random)
    return proven(document, master), master, format_kit(repository_id, kit_key)


def with_passphrase(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    *,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> KeyringDocument:
    """Return the next generation of a keyring, that opens with `passphrase` instead of the old.

    The recovery kit keeps working.  The master key stays: whoever kept the old keyring and knows
    the old passphrase still has it.

    Raises:
        PassphraseTooShort: Nothing was made.
    """
    check_length(passphrase)
    repository_id = document.repository_id
    slot = passphrase_slot(passphrase, master, repository_id, random, cost or Argon2Parameters())
    kept = [slot for slot in document.slots if slot.kind != KIND_PASSPHRASE]
    return _next(document, [slot, *kept], master)


def with_recovery_kit(
    document: KeyringDocument, master: MasterKey, *, random: Random
) -> tuple[KeyringDocument, str]:
    """Return the next generation of a keyring, whose only recovery kit is new, and that kit.

    The passphrase keeps working.  The master key stays, as in `with_passphrase`: whoever has an
    old keyring and its kit still has it.
    """
    repository_id, kit_key = document.repository_id, Secret(random(KIT_KEY_BYTES))
    slot = kit_slot(kit_key, master, repository_id, random)
    kept = [slot for slot in document.slots if slot.kind != KIND_RECOVERY_KIT]
    return _next(document, [*kept, slot], master), format_kit(repository_id, kit_key)


def with_both(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    *,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> tuple[KeyringDocument, str]:
    """Return the next generation of a keyring, that nothing old opens, and its recovery kit.

    Raises:
        PassphraseTooShort: Nothing was made.
    """
    check_length(passphrase)
    repository_id, kit_key = document.repository_id, Secret(random(KIT_KEY_BYTES))
    slots = _both_slots(passphrase, kit_key, repository_id, master, random, cost)
    return _next(document, slots, master), format_kit(repository_id, kit_key)


def with_master(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    *,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> tuple[KeyringDocument, MasterKey, str]:
    """Return the next generation of a keyring with a new master key, that key, and a recovery kit.

    Passphrase and kit are new as well: what wraps the old master key must not wrap the new one, or
    whoever has the old could pass an old slot off as one of a newer keyring (§2.7).  The signing
    key stays.

    Raises:
        PassphraseTooShort: Nothing was made.
        PassphraseKept: The passphrase is the one before; nothing was made.
        TooManyMasterKeys: Nothing was made.
    """
    _check_newer(document, master, passphrase)
    private = signing_key(document, master)
    return _with_newer(document, master, passphrase, private, random, cost)


def with_signing_key(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    *,
    private: Secret,
    change_sha256: str,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> tuple[KeyringDocument, MasterKey, str]:
    """Return what `with_master` does, with a new signing key as well (§2.9).

    Args:
        document: Of the present keys.
        master: Its master key.
        passphrase: The new one.
        private: The new signing key.
        change_sha256: Of the key change that ends the present one.
        random: Returns so many cryptographically random bytes.
        cost: Argon2id's cost; None for the default.

    Raises:
        PassphraseTooShort, PassphraseKept, TooManyMasterKeys: Nothing was made.
    """
    _check_newer(document, master, passphrase)
    made, newer, kit = _with_newer(document, master, passphrase, private, random, cost)
    ended = FormerSigner(public_key=document.signing_public_key, change_sha256=change_sha256)
    signers = [*former_signers_of(document), ended]
    return proven(msgspec.structs.replace(made, former_signers=signers), newer), newer, kit


def open_newest(
    documents: Sequence[KeyringDocument], unlock: Callable[[KeyringDocument], MasterKey]
) -> tuple[KeyringDocument, MasterKey]:
    """Return the newest genuine keyring among `documents`, and its master key.

    Genuine is what the holder of the master key made; nobody else can put a MAC on it.  So whoever
    can only write where the keyrings lie cannot hide the genuine one behind one of his own.  A
    keyring of a later master key counts whatever its number: who has the old key can make others.

    Args:
        documents: One repository's keyrings, newest first; not empty.
        unlock: Opens one, with `open_with_passphrase` or `open_with_recovery_kit`.

    Raises:
        SecretReplaced: It opens a keyring, and a newer one is genuine.
        PassphraseWrong, RecoveryKitWrong: It opens none.
        KeyringCorrupt: It opens none, and the newest was changed.
        RecoveryKitMistyped: The kit's own checksum does not hold.
    """
    assert documents, "a repository has a keyring"
    failure: Exception | None = None
    for position, document in enumerate(documents):
        try:
            master = unlock(document)
        except (PassphraseWrong, RecoveryKitWrong, KeyringCorrupt) as error:
            failure = failure or error
            continue
        newer = [each for each in documents if _is_of_later_master(each, master)]
        newer += [each for each in documents[:position] if is_own(each, master)]
        if not newer:
            return document, master
        failure = SecretReplaced(
            document.repository_id,
            opens=generation_of(document),
            newest=generation_of(newer[0]),
        )
    assert failure is not None, "there was one to open"
    raise failure


def _is_of_later_master(document: KeyringDocument, master: MasterKey) -> bool:
    return master_number(document) > master.number and is_genuine(document, master)


def open_with_passphrase(document: KeyringDocument, passphrase: str) -> MasterKey:
    """Return the master key.

    Raises:
        PassphraseWrong: No slot opens with it.
        KeyringCorrupt: A slot opened, and the keyring's check does not hold: it was changed.
    """
    secret = _passphrase_secret(document, passphrase)
    if secret is None:
        raise PassphraseWrong(document.repository_id)
    return opened(document, secret)


def open_with_recovery_kit(document: KeyringDocument, kit: str) -> MasterKey:
    """Return the master key.

    Raises:
        RecoveryKitMistyped: The kit's own checksum does not hold.
        RecoveryKitWrong: The kit is another repository's, or its slot is gone.
        KeyringCorrupt: A slot opened, and the keyring's check does not hold: it was changed.
    """
    kit_of, key = parse_kit(kit)
    for slot in document.slots:
        if slot.kind == KIND_RECOVERY_KIT and kit_of == document.repository_id:
            wrapping = derive(key, KIND_RECOVERY_KIT, salt=bytes.fromhex(slot.salt))
            secret = unwrap(wrapping, slot, document)
            if secret is not None:
                return opened(document, secret)
    raise RecoveryKitWrong(document.repository_id, kit_of=kit_of)


def _passphrase_secret(document: KeyringDocument, passphrase: str) -> Secret | None:
    for slot in document.slots:
        if slot.argon2id is not None:
            wrapping = stretch(passphrase, bytes.fromhex(slot.salt), slot.argon2id)
            secret = unwrap(wrapping, slot, document)
            if secret is not None:
                return secret
    return None


def _both_slots(
    passphrase: str,
    kit_key: Secret,
    repository_id: RepositoryId,
    master: MasterKey,
    random: Random,
    cost: Argon2Parameters | None,
) -> list[Slot]:
    return [
        passphrase_slot(passphrase, master, repository_id, random, cost or Argon2Parameters()),
        kit_slot(kit_key, master, repository_id, random),
    ]


def _check_newer(document: KeyringDocument, master: MasterKey, passphrase: str) -> None:
    if master.number == MAX_FORMER:
        raise TooManyMasterKeys
    check_length(passphrase)
    if _passphrase_secret(document, passphrase) is not None:
        raise PassphraseKept


def _with_newer(
    document: KeyringDocument,
    master: MasterKey,
    passphrase: str,
    private: Secret,
    random: Random,
    cost: Argon2Parameters | None,
) -> tuple[KeyringDocument, MasterKey, str]:
    newer = MasterKey(Secret(random(_KEY_BYTES)), (*master.former, master.secret))
    repository_id, kit_key = document.repository_id, Secret(random(KIT_KEY_BYTES))
    slots = _both_slots(passphrase, kit_key, repository_id, newer, random, cost)
    made = msgspec.structs.replace(
        sealed_keyring(slots, private, newer, repository_id, random),
        generation=generation_of(document) + 1,
        former=wrapped(newer, repository_id, random),
        former_signers=document.former_signers,
    )
    return proven(made, newer), newer, format_kit(repository_id, kit_key)


def _next(document: KeyringDocument, slots: list[Slot], master: MasterKey) -> KeyringDocument:
    generation = generation_of(document) + 1
    return proven(msgspec.structs.replace(document, generation=generation, slots=slots), master)
