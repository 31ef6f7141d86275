"""A keyring is one's own only with every master key in it that there has been."""

from msgspec.structs import replace
from tests.support.backed_up import PASSPHRASE, sample_keyring

from overland.crypto.keyring import Argon2Parameters
from overland.crypto.keyringproof import is_genuine, is_own, proven
from overland.crypto.keys import MasterKey, with_master


def test_a_keyring_that_lacks_the_former_master_keys_is_not_ones_own() -> None:
    """Whoever opened it could not open what those had sealed."""
    first, master, _ = sample_keyring()
    second, newest, _ = with_master(
        first,
        master,
        PASSPHRASE + " again",
        random=lambda size: bytes(range(size)),
        cost=Argon2Parameters(memory_kib=32, iterations=1, lanes=1),
    )
    assert is_own(second, newest)
    without = proven(first, MasterKey(newest.secret))
    assert not is_own(without, newest)
    assert is_own(without, MasterKey(newest.secret)), "its MAC is of this very key"


def test_every_digit_of_the_mac_counts() -> None:
    document, master, _ = sample_keyring()
    assert is_genuine(document, master)
    for at, digit in enumerate(document.mac):
        other = "0" if digit != "0" else "1"
        changed = replace(document, mac=document.mac[:at] + other + document.mac[at + 1 :])
        assert not is_genuine(changed, master), at
        assert not is_own(changed, master), at
