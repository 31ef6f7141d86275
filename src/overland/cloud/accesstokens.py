"""Access tokens: what the token endpoint hands out, and how each request's is checked.

A token is a JWT (RFC 9068 in spirit), signed RS256 by the cloud's signing key.  It names its
subject and nothing that the subject may do: that is looked up at each request, so that a removed
certificate, application or role ends what a token opens at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import jwt
import msgspec
from jwt.types import Options
from sqlalchemy import Connection

from overland.cloud import signingkeys
from overland.cloud.identity import Random
from overland.cloud.refusals import TokenInvalid
from overland.crypto.secrets import Secret

__all__ = [
    "AUDIENCE",
    "LONGEST",
    "MAX_TOKEN_CHARS",
    "AccessClaims",
    "OAuthRefused",
    "TokenAnswer",
    "issue",
    "issuer_of",
    "verify",
]

AUDIENCE: Final = "api://overland"
LONGEST: Final = timedelta(hours=12)
MAX_TOKEN_CHARS: Final = 8192

_ALGORITHM: Final = "RS256"
_SKEW: Final = timedelta(minutes=5)  # between the cloud's processes, should there be several
_UNCHECKED: Final[Options] = {
    "verify_exp": False,  # by the cloud's own clock, below
    "verify_nbf": False,
    "verify_iat": False,
    "verify_iss": False,  # it depends on the tenant, below
    "verify_sub": False,  # by the form of the claims, below
    "verify_jti": False,
}

assert LONGEST + _SKEW < signingkeys.PUBLISHED_AFTER, "a key outlives what it signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """What a token says.

    Attributes:
        token_id: The token's own id, for logs.
        subject_id: The user's or the application's UUID.
        subject_kind: Which of both.
        tenant_id: Whose subject it is.
        client_id: The application, or the public client `overland-cli`.
        scopes: Limits, such as `seed/<uuid>`; none: everything that the subject may do.
        expires_at: From then on the token opens nothing.
    """

    token_id: str
    subject_id: str
    subject_kind: Literal["user", "application"]
    tenant_id: str
    client_id: str
    scopes: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """What the token endpoint answers; holds tokens in clear, once."""

    access_token: str
    expires_in: int
    refresh_token: str | None
    scope: str


class OAuthRefused(Exception):
    """The token endpoint refuses, in the words of RFC 6749 §5.2 or RFC 8628 §3.5."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The payload; more claims than these are read over."""

    iss: str
    aud: str
    sub: str
    oid: str
    tid: str
    azp: str
    jti: str
    idtyp: Literal["user", "app"]
    scp: str
    iat: int
    nbf: int
    exp: int


def issuer_of(url: str, tenant_id: str) -> str:
    """Return a tenant's issuer at the cloud whose address is `url`."""
    return f"{url}/{tenant_id}/v2.0"


def issue(
    connection: Connection,
    claims: AccessClaims,
    *,
    at: datetime,
    issuer_url: str,
    random: Random,
    table_key: Secret,
) -> str:
    """Return a token that says `claims`, good from `at` on.

    Args:
        connection: A transaction that may write: a key may have to be made.
        claims: What it says.
        at: Now.
        issuer_url: The cloud's address, without the tenant.
        random: For a new key.
        table_key: Seals the signing key in the tables.
    """
    assert at < claims.expires_at <= at + LONGEST, "keys outlive the tokens that they signed"
    assert not any(" " in scope for scope in claims.scopes), "blanks part scopes"
    key = signingkeys.signing_key(connection, at=at, random=random, table_key=table_key)
    body = _Claims(
        iss=issuer_of(issuer_url, claims.tenant_id),
        aud=AUDIENCE,
        sub=claims.subject_id,
        oid=claims.subject_id,
        tid=claims.tenant_id,
        azp=claims.client_id,
        jti=claims.token_id,
        idtyp="user" if claims.subject_kind == "user" else "app",
        scp=" ".join(claims.scopes),
        iat=int(at.timestamp()),
        nbf=int(at.timestamp()),
        exp=int(claims.expires_at.timestamp()),
    )
    return jwt.encode(
        msgspec.to_builtins(body),
        key.private_pem.reveal().decode(),
        algorithm=_ALGORITHM,
        headers={"kid": key.key_id},
    )


def verify(connection: Connection, text: str, *, at: datetime) -> AccessClaims:
    """Return what a token says, if we signed it and it is good now.

    Raises:
        TokenInvalid: It is malformed, not ours, not for us, or not good at this time.
    """
    claims = _signed_claims(connection, text, at=at)
    expires_at = datetime.fromtimestamp(claims.exp, tz=UTC)
    if at >= expires_at:
        raise TokenInvalid(f"the access token expired at {expires_at.isoformat()}")
    if at + _SKEW < datetime.fromtimestamp(claims.nbf, tz=UTC):
        raise TokenInvalid("the access token is not good yet; look at the cloud's clock")
    if not claims.iss.endswith(f"/{claims.tid}/v2.0") or claims.sub != claims.oid:
        raise TokenInvalid("the access token's claims do not fit one another")
    return AccessClaims(
        token_id=claims.jti,
        subject_id=claims.sub,
        subject_kind="user" if claims.idtyp == "user" else "application",
        tenant_id=claims.tid,
        client_id=claims.azp,
        scopes=tuple(claims.scp.split()),
        expires_at=expires_at,
    )


def _signed_claims(connection: Connection, text: str, *, at: datetime) -> _Claims:
    if len(text) > MAX_TOKEN_CHARS or not text.isascii():
        raise TokenInvalid(_ALIEN)
    try:
        header: Mapping[str, object] = jwt.get_unverified_header(text)
        key = signingkeys.find(connection, str(header.get("kid", "")), at=at)
        if key is None:
            raise TokenInvalid(_ALIEN)
        payload = jwt.decode(
            text, key.public_pem, algorithms=[_ALGORITHM], audience=AUDIENCE, options=_UNCHECKED
        )
        return msgspec.convert(payload, type=_Claims)
    except (jwt.PyJWTError, msgspec.ValidationError):
        raise TokenInvalid(_ALIEN) from None


_ALIEN: Final = "the token is none that this cloud has issued"
