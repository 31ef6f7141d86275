"""The second factor: codes of an authenticator app (RFC 6238), and recovery codes.

A code is good once, from half a minute before its time to half a minute after it.  The secret is
shown when it is made and never again, and stored sealed; of recovery codes only the SHA-256 is.
"""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import Connection, delete, insert, update

from overland.cloud.people import Random, User
from overland.cloud.services import Services
from overland.cloud.tables_users import recovery_codes, users
from overland.cloud.tableseal import SealBroken, opened, sealed

__all__ = [
    "address",
    "begin",
    "code_at",
    "new_recovery_codes",
    "new_secret",
    "spend",
    "turn_off",
]

_STEP_S: Final = 30
_DIGITS: Final = 6
_SECRET_BYTES: Final = 20  # as long as the digest (RFC 4226 §4)
_RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 10  # 16 letters: 80 bits, which nobody guesses
_ISSUER: Final = "Overland"


def new_secret(random: Random) -> str:
    """Return a new secret, as authenticator apps take it."""
    return base64.b32encode(random(_SECRET_BYTES)).decode()


def address(secret: str, *, name: str) -> str:
    """Return the `otpauth://` address of a secret, which apps read as a QR code."""
    return _totp(secret).get_provisioning_uri(name, _ISSUER)


def code_at(secret: str, at: datetime) -> str:
    """Return the code of an instant."""
    return _totp(secret).generate(at.timestamp()).decode()


def begin(services: Services, connection: Connection, user_id: str, secret: str) -> None:
    """Keep a secret, sealed, which counts when it is confirmed."""
    text = sealed(
        secret.encode(),
        key=services.table_key,
        purpose=_purpose(user_id),
        random=services.random,
    )
    _change(connection, user_id, totp_secret=text, totp_is_on=False, totp_step=None)


def spend(
    services: Services, connection: Connection, user: User, code: str, *, at: datetime
) -> bool:
    """Return whether a code is good for this user now; it never is again.

    `user` has to be read in this transaction, so that no other uses the same code meanwhile.
    """
    text = "".join(code.split()).replace("-", "").lower()
    if user.totp_secret is None:
        return False
    if len(text) == _DIGITS:
        return _spend_step(services, connection, user, text, at)
    digest = hashlib.sha256(text.encode()).hexdigest()
    columns = recovery_codes.c
    used = delete(recovery_codes).where(
        columns.user_id == user.user_id, columns.code_sha256 == digest
    )
    return connection.execute(used).rowcount == 1


def new_recovery_codes(connection: Connection, user: User, *, random: Random) -> list[str]:
    """Make recovery codes, which replace the old ones, and return them for the only time."""
    codes = [
        base64.b32encode(random(_RECOVERY_BYTES)).decode().lower() for _ in range(_RECOVERY_CODES)
    ]
    connection.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user.user_id))
    digests = [hashlib.sha256(code.encode()).hexdigest() for code in codes]
    rows = [{"user_id": user.user_id, "code_sha256": digest} for digest in digests]
    connection.execute(insert(recovery_codes), rows)
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def turn_off(connection: Connection, user_id: str) -> None:
    """Forget a user's second factor."""
    connection.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
    _change(connection, user_id, totp_secret=None, totp_is_on=False, totp_step=None)


def _spend_step(
    services: Services, connection: Connection, user: User, code: str, at: datetime
) -> bool:
    assert user.totp_secret is not None, "the caller looked"
    try:
        found = opened(user.totp_secret, key=services.table_key, purpose=_purpose(user.user_id))
    except SealBroken:  # the home folder's key is another one: recovery codes, or a reset
        return False
    secret = found.reveal().decode()
    now = int(at.timestamp()) // _STEP_S
    for step in (now - 1, now, now + 1):
        made = _totp(secret).generate(step * _STEP_S)
        is_new = user.totp_step is None or step > user.totp_step
        if hmac.compare_digest(made, code.encode()) and is_new:
            _change(connection, user.user_id, totp_step=step)
            return True
    return False


def _change(connection: Connection, user_id: str, **values: object) -> None:
    connection.execute(update(users).where(users.c.user_id == user_id).values(**values))


def _purpose(user_id: str) -> str:
    return f"totp/{user_id}"


def _totp(secret: str) -> TOTP:
    # SHA-1, because authenticator apps read over any other choice; its collisions do not matter.
    return TOTP(base64.b32decode(secret), _DIGITS, SHA1(), _STEP_S)  # noqa: S303 - as said above
