"""Replacing the signing key, and with it the master key, the passphrase and the recovery kit.

Each step is durable before the next, and may be killed anywhere:

1. the home folder gets the new master key and `signing-change`: the keyring that will count, in
   which the new signing key lies sealed, and the key change that leads to it;
2. the vault gets the key change;
3. the cloud enters it, asked with vault credentials: from here on the new key counts there;
4. the home folder gets the key change under its own name, and the keyring; then the vault gets the
   keyring;
5. `agent.json` gets the new public key, and `signing-change` is removed.

Nothing is signed with the new key before its keyring is in the vault.  Every start goes on from
`signing-change` (`go_on`): when the cloud has entered the change, from step 4; when it has not, the
old key counts still, and the operator goes on with the command (`docs/format/key-change-v1.md`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from overland.agent import signingchange
from overland.agent.home import AgentHome, Registration, VaultCredentials
from overland.agent.keys import Keep, KeyringBehind, KeyringTaken, Random, publish
from overland.agent.setup import load_keys, master_key_name, newest_keyring, register
from overland.agent.signingchange import SigningChange
from overland.agent.signingcloud import SignerReport, SigningCloud, enter_change
from overland.agent.vaultkeyrings import look
from overland.agent.vouching import Inventory
from overland.crypto.keyring import (
    Argon2Parameters,
    encode_keyring,
    former_signers_of,
    generation_of,
    master_number,
)
from overland.crypto.keyringproof import renumbered
from overland.crypto.keys import with_signing_key
from overland.crypto.sign import generate_signing_key, sign, verify
from overland.errors import RefusedError
from overland.events import Log
from overland.format.key_change import (
    KEY_CHANGE_NEW_PURPOSE,
    KEY_CHANGE_PURPOSE,
    KeyChange,
    Vouched,
    encode_key_change,
    verify_key_change,
)
from overland.ports.http import Http, RefusedByCloud
from overland.ports.objects import Objects
from overland.values import RepositoryId, key_change_name, keyring_name

__all__ = [
    "Asked",
    "NewKeys",
    "SigningKeyBehind",
    "go_on",
    "newest_generation",
    "register_again",
    "rotate_signing",
]

log = Log()

_TRIES = 5  # so often a list is made anew because something was recorded meanwhile
_CHAIN_CHANGED = "chain-changed"
_BEHIND = "key-change-behind"
_RETIRED = "signing-key-retired"
_OTHER_KEY = "conflict"  # the computer is registered with another signing key
_UNKNOWN = "0" * 64  # stands for the digest of a key change that is not made yet


class SigningKeyBehind(RefusedError):
    """The cloud has another signing key of this computer than the home folder knows."""

    code = _BEHIND

    def __init__(self) -> None:
        super().__init__(
            "the cloud has a signing key of this computer that this home folder does not know: "
            "another copy of it replaced the key, or this one is from an older backup; a change "
            "that was begun here is given up; go on with the other copy, and see "
            "docs/how-to/when-a-computer-is-stolen.md"
        )


def register_again(home: AgentHome, credentials: VaultCredentials, *, http: Http) -> Registration:
    """Get this computer a new token, which ends those that it had; return its registration.

    Whoever has an older copy of the home folder has one of those.

    Raises:
        SigningKeyBehind: The key that counts here was replaced by another copy of the home folder.
        RefusedError: The computer belongs to another vault, or the vault refuses it.
        IntegrityError, ObjectAbsent: Something in the home folder is damaged, or lost.
    """
    try:
        return register(home, credentials, http=http)
    except RefusedByCloud as refused:
        if refused.reason != _RETIRED:
            raise
    under_way = signingchange.find(home)
    if under_way is None:
        raise SigningKeyBehind
    try:  # the cloud may have entered the change, and its answer was lost
        return register(home, credentials, http=http, signing=under_way.private_key(home))
    except RefusedByCloud as refused:
        if refused.reason not in {_OTHER_KEY, _RETIRED}:
            raise
        _give_up(home, under_way)
        raise SigningKeyBehind from None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKeys:
    """What the new keys are made of.

    Attributes:
        passphrase: Asks for the new one; called when everything else has been looked at.
        random: Returns so many cryptographically random bytes.
        keep: Is given the recovery kit before anything is changed.
        disown: Go on although the vault has a keyring that counts before this computer's: the
            operator says that no other copy of the home folder made it.
        cost: Argon2id's cost; None for the default.
    """

    passphrase: Callable[[], str]
    random: Random
    keep: Keep
    disown: bool = False
    cost: Argon2Parameters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks the cloud for the change: this computer, with the vault's owner's credentials."""

    registration: Registration
    credentials: VaultCredentials
    http: Http


def rotate_signing(
    home: AgentHome,
    vault: Objects,
    cloud: SigningCloud,
    *,
    asked: Asked,
    new: NewKeys,
    take: Callable[[], Inventory],
    choose: Callable[[Inventory], list[Vouched]],
) -> None:
    """Replace signing key, master key, passphrase and recovery kit, or finish doing so.

    Args:
        home: Of this computer.
        vault: Of this computer.
        cloud: Asked with this computer's token.
        asked: From `register_again`.
        new: What the new keys are made of; not looked at when a change is under way already.
        take: Looks what there is to vouch for.
        choose: Returns what of it is vouched for.

    Raises:
        PassphraseTooShort, PassphraseKept, TooManyMasterKeys: Nothing was changed.
        KeyringBehind, KeyringTaken: As `keys.publish`; nothing was changed, or doing it again goes
            on.
        SigningKeyBehind: Another copy of the home folder was faster; nothing is left of it here.
        RefusedByCloud, TransientError: Doing it again goes on.
        IntegrityError, ObjectAbsent: As `go_on`.
    """
    is_under_way = home.is_signing_key_changing()
    if is_under_way and go_on(home, vault, cloud):
        return
    inventory = take()
    vouched = choose(inventory)  # what is refused here is refused before anything is begun
    if not is_under_way:
        _begin(home, vault, new)
    for left in reversed(range(_TRIES)):
        _enter(home, vault, asked, inventory, vouched)
        if go_on(home, vault, cloud):
            return
        if left:
            inventory = take()
            vouched = choose(inventory)
    raise RefusedByCloud(_CHAIN_CHANGED, "recovery points are being recorded; try again")


def _begin(home: AgentHome, vault: Objects, new: NewKeys) -> None:
    """Make the new keys; nothing counts yet."""
    if not new.disown:
        publish(home, vault)  # the vault answers, and no other change is under way
    keys = load_keys(home)
    made, newer, kit = with_signing_key(
        keys.document,
        keys.master,
        new.passphrase(),
        private=generate_signing_key(new.random),
        change_sha256=_UNKNOWN,
        random=new.random,
        cost=new.cost,
    )
    new.keep(kit)
    home.files.write(master_key_name(newer.number), newer.secret.reveal())
    signingchange.save(home, SigningChange(keyring=made))


def newest_generation(home: AgentHome) -> int:
    """Return which keyring is the newest here.

    Raises:
        KeyringCorrupt, ObjectAbsent: It is damaged, or the home folder has none.
    """
    return generation_of(newest_keyring(home)[1])


def go_on(home: AgentHome, vault: Objects, cloud: SigningCloud, *, disown: bool = False) -> bool:
    """Go on with a change that was interrupted; return False if the old key counts still.

    Raises:
        SigningKeyBehind: The cloud has entered another; nothing is left of this one here.
        KeyringBehind, KeyringTaken: As `keys.publish`; it goes on the next time.
        TransientError: Vault or cloud do not answer; it goes on the next time.
        IntegrityError, ObjectAbsent: Something that it needs in the home folder, or the change that
            the cloud entered, is damaged or lost.
    """
    under_way = signingchange.find(home)
    if under_way is None:
        return True
    report = cloud.signers()
    if report.signing_public_key == under_way.new_public_key:
        _finish(home, vault, _as_entered(home, vault, under_way, report), disown=disown)
        return True
    counts_still = report.signing_public_key == under_way.old_public_key
    if counts_still and len(report.former_signers) == under_way.number - 1:
        return False
    _give_up(home, under_way)
    raise SigningKeyBehind


def _give_up(home: AgentHome, under_way: SigningChange) -> None:
    signingchange.discard(home)
    home.files.delete(master_key_name(master_number(under_way.keyring)))


def _enter(
    home: AgentHome, vault: Objects, asked: Asked, inventory: Inventory, vouched: list[Vouched]
) -> None:
    """Make the list and have the cloud enter it; whether it did, `go_on` finds out."""
    under_way = signingchange.find(home)
    assert under_way is not None, "it is under way"
    old, new = load_keys(home).signing, under_way.private_key(home)
    token = asked.credentials.registration_token
    data = encode_key_change(
        KeyChange(
            repository_id=RepositoryId(home.identity().repository_id),
            vault_id=asked.registration.vault_id,
            number=under_way.number,
            old_public_key=under_way.old_public_key,
            new_public_key=under_way.new_public_key,
            chain_version=inventory.chain_version,
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
            vouched=vouched,
        ),
        sign_old=lambda text: sign(old, KEY_CHANGE_PURPOSE, text),
        sign_new=lambda text: sign(new, KEY_CHANGE_NEW_PURPOSE, text),
    )
    under_way = under_way.with_change(data, home)
    signingchange.save(home, under_way)
    vault.put(under_way.name, [data], size_bytes=len(data), sha256=under_way.sha256)
    try:
        enter_change(
            asked.http,
            source_computer_id=asked.registration.source_computer_id,
            number=under_way.number,
            sha256=under_way.sha256,
        )
    except RefusedByCloud as refused:
        if refused.reason not in {_CHAIN_CHANGED, _BEHIND}:
            raise
        log.info("key_change.refused", reason=refused.reason, number=under_way.number)
    else:
        log.info("key_change.entered", number=under_way.number, listed=len(vouched))


def _as_entered(
    home: AgentHome, vault: Objects, under_way: SigningChange, report: SignerReport
) -> SigningChange:
    """Return the change as the cloud entered it: perhaps an earlier form that arrived late."""
    entered = report.former_signers[under_way.number - 1].change_sha256
    if entered == under_way.sha256:
        return under_way
    name = key_change_name(under_way.number, entered)
    data = vault.read(name)
    found = verify_key_change(data, name=name, verify=verify)
    keys = found.old_public_key, found.new_public_key
    assert keys == (under_way.old_public_key, under_way.new_public_key), "the new key is ours alone"
    made = under_way.with_change(data, home)
    signingchange.save(home, made)
    return made


def _finish(home: AgentHome, vault: Objects, under_way: SigningChange, *, disown: bool) -> None:
    """Have the keyring count here and in the vault; again does what is left of it."""
    vault.put(  # it was there before the cloud entered it; a provider may have lost it since
        under_way.name,
        [under_way.change],
        size_bytes=len(under_way.change),
        sha256=under_way.sha256,
    )
    home.files.write(under_way.name, under_way.change)
    for left in reversed(range(_TRIES)):
        number = _newest_here(home, vault, under_way)
        try:
            publish(home, vault, disown=disown)
            break
        except (KeyringBehind, KeyringTaken):
            # The vault took another under this number meanwhile: this one goes under the next.
            home.files.delete(keyring_name(number))
            if not left:
                raise
    key = under_way.new_public_key
    home.save_identity(msgspec.structs.replace(home.identity(), signing_public_key=key))
    signingchange.discard(home)
    log.info("signing_key.changed", number=under_way.number)


def _newest_here(home: AgentHome, vault: Objects, under_way: SigningChange) -> int:
    """Return the number of the new keyring in the home folder, which gets it if it has it not."""
    _, document = newest_keyring(home)
    if former_signers_of(document) != former_signers_of(under_way.keyring):
        number = look(home, vault).next_number()
        master = under_way.master(home)
        made = renumbered(under_way.keyring, master, generation=number)
        home.files.write(keyring_name(number), encode_keyring(made))
        return number
    return generation_of(document)
