"""Passwords: hashed with Argon2id (RFC 9106), compared in constant time, hashed again when due.

A stored hash is a PHC string, which names its parameters.  When the cloud's parameters rise, each
hash follows at its owner's next sign-in, which is the only time that the password is known.
"""

import functools
import re
import threading
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from overland.cloud.people import Random
from overland.cloud.refusals import Invalid

__all__ = [
    "LONGEST",
    "SHORTEST",
    "STANDARD",
    "Cost",
    "check_new",
    "hashed",
    "is_outdated",
    "matches",
]

SHORTEST: Final = 12
"""Characters.  Longer is what helps (NIST SP 800-63B §3.1.1.2), so that there is no other rule."""

LONGEST: Final = 256

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_AT_ONCE: Final = threading.BoundedSemaphore(4)
"""So many hashes are made at a time: each fills memory, and anybody can ask for one."""

_PHC: Final = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$[^$]+\$[^$]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one hash costs who makes it, and who guesses."""

    memory_kib: int
    passes: int
    lanes: int


STANDARD: Final = Cost(memory_kib=64 << 10, passes=3, lanes=4)
"""The second recommended choice of RFC 9106 §4: for machines that do other things too."""


def check_new(password: str, *, name: str) -> str:
    """Return a password that somebody chose.

    Raises:
        Invalid: It is too short or too long, or it is the name.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid("new_password", f"use {SHORTEST} to {LONGEST} characters")
    if password.casefold() == name.casefold():
        raise Invalid("new_password", "the name is no password")
    return password


def hashed(password: str, *, cost: Cost, random: Random) -> str:
    """Return the hash of a password, with a new salt."""
    argon2 = Argon2id(
        salt=random(_SALT_BYTES),
        length=_HASH_BYTES,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    with _AT_ONCE:
        return argon2.derive_phc_encoded(password.encode())


def matches(password: str, stored: str | None, *, cost: Cost) -> bool:
    """Return whether a password is the one whose hash is stored.

    Without a stored hash the answer is no, and takes the same time.
    """
    expected = stored if stored is not None else _nobodys(cost)
    if len(password) > LONGEST:
        return False
    try:
        with _AT_ONCE:
            Argon2id.verify_phc_encoded(password.encode(), expected)
    except InvalidKey:
        return False
    return stored is not None


def is_outdated(stored: str, *, cost: Cost) -> bool:
    """Return whether a hash was made with other parameters than today's."""
    match = _PHC.fullmatch(stored)
    if match is None:
        return True
    return tuple(map(int, match.groups())) != (cost.memory_kib, cost.passes, cost.lanes)


@functools.cache
def _nobodys(cost: Cost) -> str:
    """Return a hash that costs what anybody's costs; its password is irrelevant."""
    return hashed("nobody's", cost=cost, random=bytes)
