"""The recovery kit: a master key's second way in, to print and lock away (`keys-v1.md` §2.4).

What it is spelt with is loaded when one is made or typed: a backup does neither.
"""

import hashlib
import re
from typing import Final

from overland.crypto.secrets import Secret
from overland.errors import RefusedError
from overland.values import RepositoryId

__all__ = ["KIT_KEY_BYTES", "RecoveryKitMistyped", "format_kit", "parse_kit"]

KIT_KEY_BYTES: Final = 32
_CHECK_BYTES: Final = 3  # makes 35 bytes: 56 base32 letters, no padding
_GROUP: Final = 4
_TITLE: Final = "overland-recovery-kit-v1"
_KIT: Final = (
    rf"(?i){_TITLE}\s+"
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\s+"
    r"([a-z0-9\s-]{56,256})"
)
_MISREAD: Final = str.maketrans("018", "OIB")  # base32 has none of these digits


class RecoveryKitMistyped(RefusedError):
    """The typed recovery kit does not check: a letter is wrong, missing or swapped."""

    code = "recovery-kit-mistyped"

    def __init__(self) -> None:
        super().__init__(
            "this is not a valid recovery kit; compare every group, and the repository id, "
            "with the printed page and type it again"
        )


def format_kit(repository_id: RepositoryId, key: Secret) -> str:
    """Return the kit as three lines to print: title, repository id, fourteen groups of four."""
    import base64  # noqa: PLC0415 - as said above

    secret = key.reveal()
    assert len(secret) == KIT_KEY_BYTES, "a kit holds 32 bytes"
    text = base64.b32encode(secret + _check(repository_id, secret)).decode("ascii")
    groups = (text[i : i + _GROUP] for i in range(0, len(text), _GROUP))
    return f"{_TITLE}\n{repository_id}\n{'-'.join(groups)}\n"


def parse_kit(kit: str) -> tuple[RepositoryId, Secret]:
    """Return the repository id and the key of a kit as typed.

    Case, blanks, line ends and the hyphens between the groups do not matter, and there the digits
    0, 1 and 8 are read as the letters they resemble.

    Raises:
        RecoveryKitMistyped: It has not the form of a kit, or the checksum over repository id and
            key does not hold.
    """
    import base64  # noqa: PLC0415 - as said above

    found = re.fullmatch(_KIT, kit.strip())
    if found is None:
        raise RecoveryKitMistyped
    repository_id = RepositoryId(found[1].lower())
    letters = re.sub(r"[\s-]", "", found[2]).upper().translate(_MISREAD)
    try:
        payload = base64.b32decode(letters)
    except ValueError:
        raise RecoveryKitMistyped from None
    secret, check = payload[:KIT_KEY_BYTES], payload[KIT_KEY_BYTES:]
    if check != _check(repository_id, secret):
        raise RecoveryKitMistyped
    return repository_id, Secret(secret)


def _check(repository_id: RepositoryId, secret: bytes) -> bytes:
    digest = hashlib.sha256(f"{_TITLE}\0{repository_id}\0".encode() + secret).digest()
    return digest[:_CHECK_BYTES]
