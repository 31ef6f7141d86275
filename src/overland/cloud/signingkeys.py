"""The keys with which the cloud signs access tokens: made, rotated, published.

RS256, because every client reads it.  One key signs at a time.  It is replaced after
`ROTATED_AFTER`, or when an operator says so; the old one then loses its private half at once and
stays published for `PUBLISHED_AFTER`, which is longer than any token that it signed is good for.
The private half lies in the cloud's tables, sealed (`overland.cloud.tableseal`).
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Connection, RowMapping, Select, delete, insert, or_, select, update

from overland.cloud import tables_applications as tables
from overland.cloud.identity import Random, new_uuid
from overland.cloud.tableseal import SealBroken, opened, sealed
from overland.crypto.secrets import Secret

__all__ = [
    "PUBLISHED_AFTER",
    "ROTATED_AFTER",
    "SigningKey",
    "VerifyingKey",
    "find",
    "forget_all",
    "jwks",
    "rotate",
    "signing_key",
]

ROTATED_AFTER: Final = timedelta(days=90)
PUBLISHED_AFTER: Final = timedelta(days=2)

_BITS: Final = 2048
_EXPONENT: Final = 65537


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """The key that signs now; `private_pem` is a secret."""

    key_id: str
    private_pem: Secret
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """A key by which tokens are checked."""

    key_id: str
    public_pem: str
    created_at: datetime
    retired_at: datetime | None


def signing_key(
    connection: Connection, *, at: datetime, random: Random, table_key: Secret
) -> SigningKey:
    """Return the key that signs; a first one is made, and one that is too old is replaced.

    So is one that `table_key` does not open.
    """
    row = connection.execute(_SIGNING).mappings().first()
    if row is None or at >= row["created_at"] + ROTATED_AFTER:
        return rotate(connection, at=at, random=random, table_key=table_key)
    try:
        pem = opened(row["private_pem"], key=table_key, purpose=_purpose(row["key_id"]))
    except SealBroken:  # the home folder's key is another one
        return rotate(connection, at=at, random=random, table_key=table_key)
    return SigningKey(key_id=row["key_id"], private_pem=pem, created_at=row["created_at"])


def rotate(
    connection: Connection, *, at: datetime, random: Random, table_key: Secret
) -> SigningKey:
    """Make a new signing key now; the one before it signs nothing more, ever.

    Tokens that it signed stay good.  Keys retired for longer than `PUBLISHED_AFTER` are forgotten.
    """
    keys = tables.signing_keys
    over = keys.c.retired_at <= at - PUBLISHED_AFTER
    connection.execute(delete(keys).where(over))
    ended = update(keys).where(keys.c.retired_at.is_(None))
    connection.execute(ended.values(retired_at=at, private_pem=None))
    private = rsa.generate_private_key(public_exponent=_EXPONENT, key_size=_BITS)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key_id = new_uuid(random)
    connection.execute(
        insert(keys).values(
            key_id=key_id,
            private_pem=sealed(pem, key=table_key, purpose=_purpose(key_id), random=random),
            public_pem=_public_pem(private.public_key()),
            created_at=at,
        )
    )
    return SigningKey(key_id=key_id, private_pem=Secret(pem), created_at=at)


def forget_all(connection: Connection) -> None:
    """Forget every key: nothing that was signed so far opens anything any more."""
    connection.execute(delete(tables.signing_keys))


def find(connection: Connection, key_id: str, *, at: datetime) -> VerifyingKey | None:
    """Return a published key, or None if there is none of this id."""
    wanted = _published(at).where(tables.signing_keys.c.key_id == key_id)
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else _verifying(row)


def jwks(connection: Connection, *, at: datetime) -> dict[str, object]:
    """Return the published keys as a JSON Web Key Set (RFC 7517), newest first."""
    rows = connection.execute(_published(at)).mappings()
    return {"keys": [_jwk(_verifying(row)) for row in rows]}


_SIGNING: Final = (
    select(tables.signing_keys)
    .where(tables.signing_keys.c.retired_at.is_(None))
    # Two processes may each have made a first key; both are published, and one of them is used.
    .order_by(tables.signing_keys.c.created_at.desc(), tables.signing_keys.c.key_id)
    .limit(1)
)


def _purpose(key_id: str) -> str:
    return f"signing-key/{key_id}"


def _published(at: datetime) -> Select[tuple[object, ...]]:
    keys = tables.signing_keys.c
    fresh = or_(keys.retired_at.is_(None), keys.retired_at > at - PUBLISHED_AFTER)
    return select(tables.signing_keys).where(fresh).order_by(keys.created_at.desc())


def _verifying(row: RowMapping) -> VerifyingKey:
    return VerifyingKey(**{name: row[name] for name in VerifyingKey.__dataclass_fields__})


def _jwk(key: VerifyingKey) -> dict[str, object]:
    public = serialization.load_pem_public_key(key.public_pem.encode())
    assert isinstance(public, rsa.RSAPublicKey), "we make no other keys"
    numbers = public.public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": key.key_id,
        "n": _base64url(numbers.n),
        "e": _base64url(numbers.e),
    }


def _base64url(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _public_pem(key: rsa.RSAPublicKey) -> str:
    encoded = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode()
