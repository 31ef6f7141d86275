"""Changing what opens a repository: a new passphrase, a new recovery kit, a new master key.

Each change makes the keyring's next generation.  It is written in this order, and may be killed
anywhere:

1. a new master key is written to the agent's home folder, where nothing names it yet;
2. the home folder gets the keyring, durably: from here on it counts for this computer;
3. the vault gets it: from here on it counts for everybody who restores;
4. the home folder loses the older ones, and the older master key.

So two generations at home mean that a change was interrupted; `publish` finishes it, and every
change begins with it.  So does every run that writes to the vault (`ready_to_seal`): nothing there
is sealed under a master key that no keyring there holds.  Nothing is sealed again and nothing is
uploaded but the keyring: it holds the former master keys (`docs/format/keys-v1.md` §2.7).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from overland.agent.home import AgentHome
from overland.agent.setup import load_keys, master_key_name, newest_keyring
from overland.crypto.keyring import (
    Argon2Parameters,
    KeyringCorrupt,
    KeyringDocument,
    decode_keyring,
    encode_keyring,
    generation_of,
    master_number,
)
from overland.crypto.keyringproof import is_genuine
from overland.crypto.keys import (
    MasterKey,
    with_both,
    with_master,
    with_passphrase,
    with_recovery_kit,
)
from overland.errors import NotAuthorised, ObjectExists, RefusedError, TransientError
from overland.ports.objects import Objects
from overland.values import is_object_name, keyring_name

__all__ = [
    "Generations",
    "KeyringBehind",
    "KeyringUnpublished",
    "change_passphrase",
    "generations",
    "new_recovery_kit",
    "publish",
    "ready_to_seal",
    "rotate",
    "rotate_master",
]

_MAX_KEYRINGS: Final = 16  # looked at in the vault: a stranger may have put more there

Random = Callable[[int], bytes]
Keep = Callable[[str], None]
"""Keeps a recovery kit where it survives, before the keyring that it opens comes into being."""


class KeyringBehind(RefusedError):
    """The vault holds a newer keyring than this computer, or another one of the same number."""

    code = "keyring-behind"

    def __init__(self, *, here: int, vault: int) -> None:
        super().__init__(
            f"this computer has keyring {here} and its vault "
            f"{'another ' if here == vault else ''}keyring {vault}: the home folder is from an "
            "older backup, or somebody else wrote to the vault; nothing was changed; see "
            "docs/how-to/change-the-passphrase.md"
        )
        self.here, self.vault = here, vault


class KeyringUnpublished(TransientError):
    """A change is made on this computer, and the vault does not have it yet."""

    code = "keyring-unpublished"

    def __init__(self, generation: int, *, why: str) -> None:
        super().__init__(
            f"the change is made on this computer, as keyring {generation}, and not in the vault "
            f"yet: {why}; run `overland keys publish`, and keep what opened the vault before until "
            "then"
        )
        self.generation = generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations:
    """Which keyring is the newest, here and in the vault; 0 where the vault has none.

    `differ` tells of two keyrings with one number: two computers made them from one older keyring.
    """

    here: int
    vault: int | None
    differ: bool = False

    @property
    def is_published(self) -> bool:
        """Whether the vault, if there is one, has the newest."""
        return self.vault in {None, self.here} and not self.differ


def generations(home: AgentHome, vault: Objects | None) -> Generations:
    """Return which keyrings are the newest.

    Raises:
        AgentNotInitialised: The computer has no keys yet.
    """
    home.identity()
    _, document = newest_keyring(home)
    here = generation_of(document)
    if vault is None:
        return Generations(here=here, vault=None)
    there, name = _newest_in(vault), keyring_name(here)
    ours = home.files.read(name)
    differ = there == here and ours != vault.read_range(name, offset=0, length=len(ours) + 1)
    return Generations(here=here, vault=there, differ=differ)


def publish(home: AgentHome, vault: Objects | None) -> int:
    """Put the newest keyring into the vault and remove older ones here; return its generation.

    Doing it again changes nothing.  Without a vault it stays here, until there is one.  Older
    generations stay in the vault, which never loses an object, and on drives.

    Raises:
        KeyringBehind: The vault has a newer one, or another one; nothing was changed.
        TransientError: The vault does not answer; try again.
    """
    found = generations(home, vault)
    if found.vault is not None and (found.vault > found.here or found.differ):
        raise KeyringBehind(here=found.here, vault=found.vault)
    name, (_, document) = keyring_name(found.here), newest_keyring(home)
    if vault is not None and not found.is_published:
        data = home.files.read(name)
        digest = hashlib.sha256(data).hexdigest()
        try:
            vault.put(name, [data], size_bytes=len(data), sha256=digest)
        except ObjectExists:  # somebody was faster
            raise KeyringBehind(here=found.here, vault=found.here) from None
    kept = {name, master_key_name(master_number(document))}
    for info in [*home.files.names("keys/"), *home.files.names("master")]:
        if info.name not in kept:
            home.files.delete(info.name)
    return found.here


def ready_to_seal(home: AgentHome, vault: Objects) -> None:
    """Return when everything that this computer seals from now on can be opened from the vault.

    A new master key whose keyring the vault does not have yet is published first.  Whoever
    withholds keyrings in the vault, or puts others there, cannot lead the computer to an older
    master key: what is sealed is sealed under the newest of its own.

    Raises:
        KeyringBehind: The vault has a keyring of a later master key that the owner made, on
            another copy of this home folder; or another keyring has the name of the newest here.
        TransientError: The vault does not answer; try again.
    """
    name, document = newest_keyring(home)
    here, ours = generation_of(document), home.files.read(name)
    names = [info.name for info in vault.names("keys/") if is_object_name(info.name)]
    if name not in names:
        publish(home, vault)
    elif vault.read(name) != ours and _is_other_master(vault, name, home):
        raise KeyringBehind(here=here, vault=here)
    for newer in [each for each in names if each > name][-_MAX_KEYRINGS:]:
        if _is_later_master(vault, newer, home):
            raise KeyringBehind(here=here, vault=_generation_in(newer))


def _is_other_master(vault: Objects, name: str, home: AgentHome) -> bool:
    """Whether a keyring is whole, and not of the owner of this computer's master key."""
    try:
        found = decode_keyring(vault.read(name), name=name)
    except KeyringCorrupt:
        return False
    return not is_genuine(found, load_keys(home).master)


def _is_later_master(vault: Objects, name: str, home: AgentHome) -> bool:
    """Whether a keyring is the owner's, and of a later master key than this computer's."""
    try:
        found = decode_keyring(vault.read(name), name=name)
    except KeyringCorrupt:
        return False
    master = load_keys(home).master
    return master_number(found) > master.number and is_genuine(found, master)


def change_passphrase(
    home: AgentHome,
    vault: Objects | None,
    *,
    passphrase: str,
    random: Random,
    cost: Argon2Parameters | None = None,
) -> int:
    """Replace the passphrase; return the keyring's generation.  The recovery kit keeps working.

    Raises:
        PassphraseTooShort: Nothing was changed.
        KeyringBehind, TransientError: As `publish`; nothing was changed.
        KeyringUnpublished: It is changed here, and `publish` has to be called again.
    """

    def make(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
        return with_passphrase(document, master, passphrase, random=random, cost=cost)

    return _change(home, vault, make)


def new_recovery_kit(home: AgentHome, vault: Objects | None, *, random: Random, keep: Keep) -> int:
    """Replace the recovery kit; return the keyring's generation.  The passphrase keeps working.

    Args:
        home: Of this computer.
        vault: Of this computer, if it has one.
        random: Returns so many cryptographically random bytes.
        keep: Is given the kit before anything is changed.  If the power fails right after it, the
            kit that was kept opens nothing, and the old one still does.

    Raises:
        KeyringBehind, TransientError: As `publish`; nothing was changed.
        KeyringUnpublished: It is changed here, and `publish` has to be called again.
    """

    def make(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
        made, kit = with_recovery_kit(document, master, random=random)
        keep(kit)
        return made

    return _change(home, vault, make)


def rotate(
    home: AgentHome,
    vault: Objects | None,
    *,
    passphrase: str,
    random: Random,
    keep: Keep,
    cost: Argon2Parameters | None = None,
) -> int:
    """Replace passphrase and recovery kit in one step; return the keyring's generation.

    Raises:
        PassphraseTooShort: Nothing was changed.
        KeyringBehind, TransientError: As `publish`; nothing was changed.
        KeyringUnpublished: It is changed here, and `publish` has to be called again.
    """

    def make(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
        made, kit = with_both(document, master, passphrase, random=random, cost=cost)
        keep(kit)
        return made

    return _change(home, vault, make)


def rotate_master(
    home: AgentHome,
    vault: Objects | None,
    *,
    passphrase: str,
    random: Random,
    keep: Keep,
    cost: Argon2Parameters | None = None,
) -> int:
    """Replace the master key, passphrase and recovery kit; return the keyring's generation.

    What is sealed from now on opens with the new master key only, and everything older with the
    new keyring, without being sent again.

    Raises:
        PassphraseTooShort, PassphraseKept, TooManyMasterKeys: Nothing was changed.
        KeyringBehind, TransientError: As `publish`; nothing was changed.
        KeyringUnpublished: It is changed here, and `publish` has to be called again.
    """

    def make(document: KeyringDocument, master: MasterKey) -> KeyringDocument:
        made, newer, kit = with_master(document, master, passphrase, random=random, cost=cost)
        keep(kit)
        home.files.write(master_key_name(newer.number), newer.secret.reveal())
        return made

    return _change(home, vault, make)


def _change(
    home: AgentHome,
    vault: Objects | None,
    make: Callable[[KeyringDocument, MasterKey], KeyringDocument],
) -> int:
    before = publish(home, vault)  # the vault answers, and no change is under way
    keys = load_keys(home)
    made = make(keys.document, keys.master)
    generation = generation_of(made)
    assert generation == before + 1, "one change, one generation"
    home.files.write(keyring_name(generation), encode_keyring(made))
    try:
        return publish(home, vault)
    except KeyringBehind:
        # Nobody ever sees this one: the vault took another meanwhile.  What opened before does.
        home.files.delete(keyring_name(generation))
        raise
    except (TransientError, NotAuthorised) as error:
        raise KeyringUnpublished(generation, why=str(error)) from error


def _newest_in(vault: Objects) -> int:
    names = [info.name for info in vault.names("keys/") if is_object_name(info.name)]
    return _generation_in(max(names)) if names else 0


def _generation_in(name: str) -> int:
    return int(name[len("keys/") : -len(".keyring")])
