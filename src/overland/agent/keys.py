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

What others put into the vault under a keyring's name, and what is damaged there, takes a number and
nothing else: changes pass over it, and `reissue` puts the newest keyring under another number where
its own is taken.
"""

import hashlib
from collections.abc import Callable

import msgspec

from overland.agent.home import AgentHome
from overland.agent.refusals import SigningChangeUnderWay
from overland.agent.setup import load_keys, master_key_name, newest_keyring
from overland.agent.vaultkeyrings import Maker, VaultKeyrings, look
from overland.crypto.keyring import (
    Argon2Parameters,
    KeyringDocument,
    encode_keyring,
    generation_of,
    master_number,
)
from overland.crypto.keyringproof import renumbered
from overland.crypto.keys import (
    MasterKey,
    with_both,
    with_master,
    with_passphrase,
    with_recovery_kit,
)
from overland.errors import ObjectExists, RefusedError, TransientError
from overland.events import Log
from overland.ports.objects import Objects
from overland.values import keyring_name

__all__ = [
    "Generations",
    "Keep",
    "KeyringBehind",
    "KeyringTaken",
    "KeyringUnpublished",
    "Random",
    "change_passphrase",
    "generations",
    "new_recovery_kit",
    "publish",
    "ready_to_seal",
    "reissue",
    "rotate",
    "rotate_master",
]

log = Log()

Random = Callable[[int], bytes]
Keep = Callable[[str], None]
"""Keeps a recovery kit where it survives, before the keyring that it opens comes into being."""
_FIRST = "if somebody has this computer's token, register the computer again first; then "
_Made = tuple[KeyringDocument, MasterKey]


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


class KeyringTaken(RefusedError):
    """Under the number of this computer's newest keyring the vault has something else."""

    code = "keyring-taken"

    def __init__(self, number: int, *, maker: Maker) -> None:
        what = "a damaged keyring" if maker is Maker.DAMAGED else "a keyring that is not yours"
        super().__init__(
            f"the vault has {what} as {keyring_name(number)}, the name of this computer's newest; "
            f"nothing was changed: {'' if maker is Maker.DAMAGED else _FIRST}run "
            "`overland keys reissue`, which puts this computer's under another number"
        )
        self.number, self.maker = number, maker


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


class Generations(msgspec.Struct, frozen=True, kw_only=True):
    """Which keyring is the newest, here and in the vault; 0 where the vault has none.

    `differ` tells that the vault has something else under the number of the newest here: two
    computers made it from one older keyring, or it is one of `unusable`.  These are the names, from
    that number on, of what is damaged in the vault or was made by somebody else, and
    `is_reissue_due` whether `reissue` gets past them; `vault` counts those of the owner alone.
    """

    here: int
    vault: int | None
    differ: bool = False
    unusable: tuple[str, ...] = ()
    is_reissue_due: bool = False

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
    if vault is None:
        _, document = newest_keyring(home)
        return Generations(here=generation_of(document), vault=None)
    found = look(home, vault)
    unusable = [each for each in found.others if each.maker is not Maker.OWNER]
    return Generations(
        here=found.here,
        vault=_newest_of_owner(found),
        differ=found.under_our_number is not None,
        unusable=tuple(keyring_name(each.number) for each in reversed(unusable)),
        is_reissue_due=bool(unusable) and not found.of_owner and found.can_go_above,
    )


def publish(home: AgentHome, vault: Objects | None, *, disown: bool = False) -> int:
    """Put the newest keyring into the vault and remove older ones here; return its generation.

    Doing it again changes nothing.  Without a vault it stays here, until there is one.  Older
    generations stay in the vault, which never loses an object, and on drives.  `disown` is as in
    `reissue`.

    Raises:
        KeyringBehind: The vault has a newer one of the owner's, or another one; nothing was
            changed.
        KeyringTaken: Its name has a damaged or a stranger's one there; nothing was changed.
        TransientError: The vault does not answer; try again.
    """
    home.identity()
    name, document = newest_keyring(home)
    here = generation_of(document)
    if vault is not None:
        found = look(home, vault)
        _refuse_others(found, disown=disown)
        if found.under_our_number is not None:
            raise KeyringTaken(here, maker=found.under_our_number)
        if not found.has_ours:
            _put(home, vault, here)
    kept = {name, master_key_name(master_number(document))}
    if home.is_signing_key_changing():
        kept.add(master_key_name(master_number(document) + 1))
    for info in [*home.files.names("keys/"), *home.files.names("master")]:
        if info.name not in kept:
            home.files.delete(info.name)
    return here


def reissue(home: AgentHome, vault: Objects | None, *, disown: bool = False) -> int:
    """Put this computer's newest keyring above all in the vault that is not its owner's.

    Return the generation that counts then.  The keyring is authenticated by the master key here,
    and opens with what opened it before; its number alone is new.  Where nothing in the vault is
    damaged or somebody else's, this is `publish`.

    Args:
        home: Of this computer.
        vault: Of this computer, if it has one.
        disown: Go on although somebody with a former master key made what is there: the operator
            says that no other copy of the home folder did.

    Raises:
        KeyringBehind: The vault has one that counts before this computer's; nothing was changed.
        KeyringUnpublished: It is made here, and `publish` has to be called again.
        TransientError: The vault does not answer; try again.
    """
    home.identity()
    if vault is None:
        return publish(home, vault)
    found = look(home, vault)
    _refuse_others(found, disown=disown)
    if not found.can_go_above:
        return publish(home, vault)
    keys, number = load_keys(home), found.next_number()
    made = renumbered(keys.document, keys.master, generation=number)
    home.files.write(keyring_name(number), encode_keyring(made))
    log.info("keyring.reissued", was=found.here, number=number)
    return _published(home, vault, number)


def ready_to_seal(home: AgentHome, vault: Objects) -> None:
    """Return when everything that this computer seals from now on can be opened from the vault.

    A new master key whose keyring the vault does not have yet is published first; one whose keyring
    is damaged there is put again under another number, with a warning.  Whoever withholds keyrings
    in the vault, or puts others there, cannot lead the computer to an older master key: what is
    sealed is sealed under the newest of its own.

    Raises:
        KeyringBehind: The vault has a keyring of a later master key that the owner made, on
            another copy of this home folder; or the name of the newest here has one that somebody
            with a former master key made.
        KeyringTaken: A stranger's keyring has the name of the newest here.
        TransientError: The vault does not answer; try again.
    """
    found = look(home, vault)
    later = [each for each in found.of_owner if each.master_number > found.master_number]
    if later:
        raise KeyringBehind(here=found.here, vault=later[0].number)
    if found.has_ours or found.of_owner:
        return  # one that opens the newest master key is there
    if found.under_our_number is Maker.DAMAGED:
        number = reissue(home, vault)
        log.warning("keyring.mended", damaged=keyring_name(found.here), new=keyring_name(number))
    else:
        publish(home, vault)


def _newest_of_owner(found: VaultKeyrings) -> int:
    if found.of_owner:
        return found.of_owner[0].number
    below = [number for number in found.taken if number < found.here]
    return found.here if found.has_ours else max(below, default=0)


def _refuse_others(found: VaultKeyrings, *, disown: bool = False) -> None:
    rivals = () if disown else found.rivals
    for each in (*found.of_owner, *rivals):
        raise KeyringBehind(here=found.here, vault=each.number)


def _put(home: AgentHome, vault: Objects, number: int) -> None:
    data = home.files.read(keyring_name(number))
    digest = hashlib.sha256(data).hexdigest()
    try:
        vault.put(keyring_name(number), [data], size_bytes=len(data), sha256=digest)
    except ObjectExists:  # somebody was faster
        raise KeyringBehind(here=number, vault=number) from None


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

    def make(document: KeyringDocument, master: MasterKey) -> _Made:
        return with_passphrase(document, master, passphrase, random=random, cost=cost), master

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

    def make(document: KeyringDocument, master: MasterKey) -> _Made:
        made, kit = with_recovery_kit(document, master, random=random)
        keep(kit)
        return made, master

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

    def make(document: KeyringDocument, master: MasterKey) -> _Made:
        made, kit = with_both(document, master, passphrase, random=random, cost=cost)
        keep(kit)
        return made, master

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

    def make(document: KeyringDocument, master: MasterKey) -> _Made:
        made, newer, kit = with_master(document, master, passphrase, random=random, cost=cost)
        keep(kit)
        home.files.write(master_key_name(newer.number), newer.secret.reveal())
        return made, newer

    return _change(home, vault, make)


def _change(
    home: AgentHome,
    vault: Objects | None,
    make: Callable[[KeyringDocument, MasterKey], _Made],
) -> int:
    if home.is_signing_key_changing():
        raise SigningChangeUnderWay
    before = publish(home, vault)  # the vault answers, and no change is under way
    # The number is chosen first: of two changes at once one finds its number taken.
    number = before + 1 if vault is None else look(home, vault).next_number()
    keys = load_keys(home)
    made, master = make(keys.document, keys.master)
    document = renumbered(made, master, generation=number)
    home.files.write(keyring_name(number), encode_keyring(document))
    return _published(home, vault, number)


def _published(home: AgentHome, vault: Objects | None, number: int) -> int:
    try:
        return publish(home, vault)
    except (KeyringBehind, KeyringTaken):
        # Nobody ever sees this one: the vault took another meanwhile.  What opened before does.
        home.files.delete(keyring_name(number))
        raise
    except (TransientError, RefusedError) as error:
        raise KeyringUnpublished(number, why=str(error)) from error
