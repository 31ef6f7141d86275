"""Changing passphrase and kit: killed anywhere, what is known opens the vault, the new at last."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from tests.support.simdisk import PowerCut, SimDisk
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent.home import AgentHome
from overland.agent.keys import (
    KeyringBehind,
    KeyringUnpublished,
    change_passphrase,
    generations,
    new_recovery_kit,
    publish,
    rotate,
    rotate_master,
)
from overland.agent.points.reading import KeyringDamaged, open_keys
from overland.agent.setup import initialise, load_keys
from overland.agent.sources import LayeredObjects
from overland.crypto.keyring import Argon2Parameters, KeyringCorrupt, decode_keyring
from overland.crypto.keys import PassphraseWrong, RecoveryKitWrong, SecretReplaced
from overland.crypto.slots import PassphraseTooShort
from overland.errors import NotAuthorised, OutOfSpace, RefusedError, Unreachable
from overland.ports.http import RefusedByCloud
from overland.ports.objects import Objects
from overland.values import ObjectInfo, keyring_name

OLD, NEW = "correct horse battery", "staple correct horse"
CHEAP = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)


class Computer:
    """A source computer with its vault, on two disks; the kits that it kept."""

    def __init__(self, *, is_published: bool = True) -> None:
        self.disk, self.store = SimDisk(), SimDisk()
        self.kits: list[str] = []
        _, kit = initialise(
            AgentHome(self.disk),
            computer_name="files",
            passphrase=OLD,
            random=secrets.token_bytes,
            cost=CHEAP,
        )
        self.kits.append(kit)
        self.master = load_keys(self.home).master.secret.reveal()
        if is_published:
            publish(self.home, self.vault)

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.disk)

    @property
    def vault(self) -> Objects:
        return FolderObjects(self.store)

    def change_passphrase(self) -> None:
        change_passphrase(
            self.home, self.vault, passphrase=NEW, random=secrets.token_bytes, cost=CHEAP
        )

    def change_kit(self) -> None:
        new_recovery_kit(self.home, self.vault, random=secrets.token_bytes, keep=self.kits.append)

    def rotate(self) -> None:
        rotate(
            self.home,
            self.vault,
            passphrase=NEW,
            random=secrets.token_bytes,
            keep=self.kits.append,
            cost=CHEAP,
        )

    def rotate_master(self) -> None:
        # Each time another passphrase: the one before is refused.
        passphrase = OLD if self.opens(passphrase=NEW) else NEW
        rotate_master(
            self.home,
            self.vault,
            passphrase=passphrase,
            random=secrets.token_bytes,
            keep=self.kits.append,
            cost=CHEAP,
        )

    def knows_the_first_master(self) -> bool:
        master = load_keys(self.home).master
        return (*master.former, master.secret)[0].reveal() == self.master

    def opens(self, *, passphrase: str | None = None, kit: str | None = None) -> bool:
        """Whether somebody who restores elsewhere, from the vault alone, gets in."""
        objects = LayeredObjects([("vault", self.vault)])
        try:
            open_keys(objects, passphrase=passphrase, recovery_kit=kit)
        except (PassphraseWrong, RecoveryKitWrong, SecretReplaced, KeyringDamaged):
            return False
        return True


def test_a_new_passphrase_opens_and_the_old_one_does_not() -> None:
    computer = Computer()
    computer.change_passphrase()
    assert computer.opens(passphrase=NEW)
    assert not computer.opens(passphrase=OLD)
    assert computer.opens(kit=computer.kits[0]), "the kit keeps working"
    assert load_keys(computer.home).master.secret.reveal() == computer.master
    assert [info.name for info in computer.disk.names("keys/")] == [keyring_name(2)]
    assert generations(computer.home, computer.vault).is_published


def test_the_old_passphrase_is_told_that_it_was_replaced() -> None:
    computer = Computer()
    computer.change_passphrase()
    with pytest.raises(SecretReplaced) as refused:
        open_keys(LayeredObjects([("vault", computer.vault)]), passphrase=OLD)
    assert (refused.value.opens, refused.value.newest) == (1, 2)


def test_an_old_drive_still_opens_with_the_old_passphrase() -> None:
    """As the documentation says: what is on a drive does not change."""
    computer, drive = Computer(), SimDisk()
    drive.write(keyring_name(1), computer.disk.read(keyring_name(1)))
    computer.change_passphrase()
    open_keys(LayeredObjects([("drive", FolderObjects(drive))]), passphrase=OLD)
    both = [("drive", FolderObjects(drive)), ("vault", computer.vault)]
    with pytest.raises(SecretReplaced):
        open_keys(LayeredObjects(both), passphrase=OLD)


def test_a_new_kit_opens_and_the_old_one_does_not() -> None:
    computer = Computer()
    computer.change_kit()
    assert computer.opens(kit=computer.kits[1])
    assert not computer.opens(kit=computer.kits[0])
    assert computer.opens(passphrase=OLD), "the passphrase keeps working"


def test_rotation_replaces_both_in_one_generation() -> None:
    computer = Computer()
    computer.rotate()
    assert computer.opens(passphrase=NEW)
    assert computer.opens(kit=computer.kits[1])
    assert not computer.opens(passphrase=OLD)
    assert not computer.opens(kit=computer.kits[0])
    assert generations(computer.home, computer.vault).vault == 2


def test_changes_follow_each_other() -> None:
    computer = Computer()
    for expected in (2, 3, 4):
        computer.rotate()
        assert generations(computer.home, computer.vault).here == expected
    assert computer.opens(kit=computer.kits[-1])
    assert not any(computer.opens(kit=kit) for kit in computer.kits[:-1])


@pytest.mark.crash
@pytest.mark.parametrize("disk", ["disk", "store"])
@pytest.mark.parametrize(
    "change",
    [Computer.change_passphrase, Computer.change_kit, Computer.rotate, Computer.rotate_master],
)
def test_power_cut_at_every_step(change: Callable[[Computer], None], disk: str) -> None:
    step = 0
    while True:
        computer = Computer()
        setattr(computer, disk, getattr(computer, disk).restart(cut_at=step, seed=step))
        try:
            change(computer)
            is_cut = False
        except PowerCut:
            is_cut = True
        for each in ("disk", "store"):
            setattr(computer, each, getattr(computer, each).restart())
        known = [computer.opens(passphrase=text) for text in (OLD, NEW)]
        assert any(known), f"no passphrase opens the vault after a cut at step {step}"
        assert any(computer.opens(kit=kit) for kit in computer.kits), f"no kit, step {step}"
        assert computer.knows_the_first_master()
        publish(computer.home, computer.vault)
        assert generations(computer.home, computer.vault).is_published
        assert len(list(computer.disk.names("keys/"))) == 1, "the change is finished"
        assert len(list(computer.disk.names("master"))) == 1, "and so are the keys"
        change(computer)
        assert computer.opens(kit=computer.kits[-1])
        if not is_cut:
            break
        step += 1
    assert step > 2, "there was something to cut"


def test_a_kit_is_kept_before_the_keyring_that_it_opens_exists() -> None:
    computer = Computer()

    def fail(_: str) -> None:
        raise OSError("the printer is on fire")

    with pytest.raises(OSError, match="fire"):
        new_recovery_kit(computer.home, computer.vault, random=secrets.token_bytes, keep=fail)
    assert computer.opens(kit=computer.kits[0]), "nothing was changed"
    assert generations(computer.home, computer.vault).here == 1


def test_a_short_passphrase_changes_nothing() -> None:
    computer = Computer()
    with pytest.raises(PassphraseTooShort):
        change_passphrase(
            computer.home, computer.vault, passphrase="x" * 15, random=secrets.token_bytes
        )
    assert generations(computer.home, computer.vault).here == 1


def test_a_vault_that_does_not_answer_leaves_everything_as_it_was() -> None:
    class Silent(FolderObjects):
        @override
        def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
            raise Unreachable("the vault does not answer")

    computer = Computer()
    with pytest.raises(Unreachable):
        change_passphrase(
            computer.home,
            Silent(computer.store),
            passphrase=NEW,
            random=secrets.token_bytes,
            cost=CHEAP,
        )
    assert generations(computer.home, computer.vault).here == 1


def test_a_vault_that_falls_silent_halfway_leaves_a_change_that_publish_finishes() -> None:
    class FallingSilent(FolderObjects):
        @override
        def put(self, name: str, *_: object, **__: object) -> None:
            if name == keyring_name(2):
                raise Unreachable("the vault does not answer")

    computer = Computer()
    with pytest.raises(KeyringUnpublished, match=r"keyring 2.*`overland keys publish`") as stopped:
        rotate(
            computer.home,
            FallingSilent(computer.store),
            passphrase=NEW,
            random=secrets.token_bytes,
            keep=computer.kits.append,
            cost=CHEAP,
        )
    assert stopped.value.generation == 2
    assert computer.opens(passphrase=OLD), "as it says, the old one until then"
    assert not generations(computer.home, computer.vault).is_published
    assert publish(computer.home, computer.vault) == 2
    assert computer.opens(passphrase=NEW)
    assert computer.opens(kit=computer.kits[1])
    assert not computer.opens(passphrase=OLD)
    assert not computer.opens(kit=computer.kits[0])


@pytest.mark.parametrize(
    "refusal",
    [
        OutOfSpace("the vault", needed_bytes=9, free_bytes=0),
        RefusedByCloud("quota-exceeded", "keyrings: there are too many"),
        NotAuthorised("the token was replaced"),
    ],
)
def test_a_vault_that_refuses_a_new_keyring_leaves_a_change_that_publish_finishes(
    refusal: RefusedError,
) -> None:
    class Refusing(FolderObjects):
        @override
        def put(self, *_: object, **__: object) -> None:
            raise refusal

    computer = Computer()
    with pytest.raises(KeyringUnpublished, match=r"keyring 2.*`overland keys publish`") as stopped:
        change_passphrase(
            computer.home,
            Refusing(computer.store),
            passphrase=NEW,
            random=secrets.token_bytes,
            cost=CHEAP,
        )
    assert stopped.value.__cause__ is refusal
    assert computer.opens(passphrase=OLD), "as it says, the old one until then"
    assert publish(computer.home, computer.vault) == 2
    assert computer.opens(passphrase=NEW)


def test_a_computer_without_a_vault_changes_its_own_keyring_and_publishes_later() -> None:
    computer = Computer(is_published=False)
    change_passphrase(computer.home, None, passphrase=NEW, random=secrets.token_bytes, cost=CHEAP)
    publish(computer.home, computer.vault)
    assert [info.name for info in computer.store.names("keys/")] == [keyring_name(2)]
    assert computer.opens(passphrase=NEW)
    assert not computer.opens(passphrase=OLD)


def test_a_home_folder_from_an_older_backup_changes_nothing() -> None:
    computer = Computer()
    old = computer.disk.read(keyring_name(1))
    computer.change_passphrase()
    computer.disk.delete(keyring_name(2))
    computer.disk.write(keyring_name(1), old)
    with pytest.raises(KeyringBehind) as refused:
        computer.change_kit()
    assert (refused.value.here, refused.value.vault) == (1, 2)


def twin(computer: Computer) -> Computer:
    """Return a second computer that was made from a copy of the first one's home folder."""
    made = Computer(is_published=False)
    for info in list(made.disk.names()):
        made.disk.delete(info.name)
    for info in computer.disk.names():
        made.disk.write(info.name, computer.disk.read(info.name))
    made.store, made.kits = computer.store, list(computer.kits)
    return made


def test_of_two_changes_at_once_one_counts_and_the_other_did_not_happen() -> None:
    computer = Computer()
    other = twin(computer)

    def keep(kit: str) -> None:
        other.change_passphrase()  # in the middle of the kit's change
        computer.kits.append(kit)

    with pytest.raises(KeyringBehind, match="keyring 2"):
        new_recovery_kit(computer.home, computer.vault, random=secrets.token_bytes, keep=keep)
    assert [info.name for info in computer.disk.names("keys/")] == [keyring_name(1)]
    assert computer.opens(passphrase=NEW)
    assert not computer.opens(passphrase=OLD)
    assert computer.opens(kit=computer.kits[0])
    assert not computer.opens(kit=computer.kits[1]), "as `keep` is told, it opens nothing"
    assert not generations(computer.home, computer.vault).is_published
    assert generations(other.home, other.vault).is_published


def test_another_keyring_of_the_same_number_in_the_vault_is_not_taken_for_ours() -> None:
    computer = Computer()
    other = twin(computer)
    change_passphrase(
        computer.home, None, passphrase="y" * 16, random=secrets.token_bytes, cost=CHEAP
    )  # and killed before the vault got it
    other.change_passphrase()
    found = generations(computer.home, computer.vault)
    assert (found.here, found.vault, found.is_published) == (2, 2, False)
    for attempt in (lambda: publish(computer.home, computer.vault), computer.change_kit):
        with pytest.raises(KeyringBehind, match="another keyring 2"):
            attempt()
    assert computer.opens(passphrase=NEW)


def test_an_older_keyring_under_a_newer_name_is_refused() -> None:
    computer = Computer()
    old = computer.disk.read(keyring_name(1))
    computer.change_passphrase()
    newest = computer.disk.read(keyring_name(2))
    for data, generation in ((old, 2), (old, 3), (newest, 1), (newest, 3)):
        with pytest.raises(KeyringCorrupt, match="another generation"):
            decode_keyring(data, name=keyring_name(generation))
    computer.store.write(keyring_name(3), old)
    assert not computer.opens(passphrase=OLD), "the replay is left aside"
    assert computer.opens(passphrase=NEW)


def test_a_changed_generation_breaks_the_mac() -> None:
    computer = Computer()
    computer.change_passphrase()
    newest = computer.disk.read(keyring_name(2))
    computer.store.write(keyring_name(3), newest.replace(b'"generation":2', b'"generation":3'))
    assert computer.opens(passphrase=NEW), "it is not genuine, and keyring 2 is"
