"""Client assertions: a program shows that it holds its certificate's private key (RFC 7523).

An assertion is a JWT of a few minutes, signed RS256 or PS256, whose header names the certificate
by thumbprint (`x5t#S256`, `x5t`) or brings it (`x5c`).  What a header brings is only a name: the
signature has to hold under a certificate that was entered for the application.

Each assertion is taken once for each scope.  Once and no more would be simpler, but the common
client library makes one assertion for several requests, and asks for each scope once.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import jwt
from jwt.types import Options
from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import IntegrityError

from overland.cloud import applications
from overland.cloud import tables_applications as tables
from overland.cloud.accesstokens import OAuthRefused
from overland.cloud.applications import Enrolled
from overland.cloud.certificatefiles import MAX_CERTIFICATE_BYTES, public_key_of

__all__ = ["MAX_ASSERTION_CHARS", "Proven", "note_use", "verify_assertion"]

MAX_ASSERTION_CHARS: Final = 16 << 10

_ALGORITHMS: Final = ("RS256", "PS256")
_LONGEST: Final = timedelta(hours=1)  # clients use ten minutes
_SKEW: Final = timedelta(minutes=5)  # of clients' clocks
_MAX_ID_CHARS: Final = 512
_THUMBPRINTS: Final = {"x5t#S256": ("sha256", 32), "x5t": ("sha1", 20)}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}={0,2}")
_UNCHECKED: Final[Options] = {
    "verify_signature": True,
    "verify_exp": False,  # by the cloud's own clock, below, as are the next two
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,  # by text, below, as are the rest
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """An assertion that holds: who signed, and what has to be remembered of it."""

    enrolled: Enrolled
    assertion_id: str
    expires_at: datetime


def verify_assertion(
    connection: Connection,
    text: str,
    *,
    tenant_id: str,
    audiences: frozenset[str],
    at: datetime,
) -> Proven:
    """Return who signed an assertion, if it holds here and now; nothing is changed.

    Args:
        connection: Where applications are.
        text: The assertion.
        tenant_id: At whose endpoint it was shown.
        audiences: For whom it may be made out: the endpoint, the issuer.
        at: Now.

    Raises:
        OAuthRefused: `invalid_client`, and why.  Who is asking learns of no application or
            certificate more than they have shown already.
    """
    header, claims = _unverified(text)
    application = applications.load(connection, _client_id(claims), tenant_id=tenant_id)
    known = [] if application is None else _named(connection, application.application_id, header)
    if not known:
        raise _refused("no application of this tenant has this id and this certificate")
    (enrolled,) = known
    _check_signature(text, enrolled, algorithm=str(header["alg"]))
    if not enrolled.certificate.not_before - _SKEW <= at < enrolled.certificate.not_after:
        ends = enrolled.certificate.not_after.isoformat()
        raise _refused(f"the certificate is not good now; it ends at {ends}; enter a new one")
    _check_audience(claims, audiences)
    expires_at = _check_instants(claims, at=at)
    return Proven(
        enrolled=enrolled, assertion_id=_assertion_id(claims), expires_at=expires_at + _SKEW
    )


def note_use(connection: Connection, proven: Proven, *, scope: str, at: datetime) -> None:
    """Remember that an assertion was used for a scope, as long as it would be taken.

    Raises:
        OAuthRefused: It was used for this scope before; the transaction has to be undone.
    """
    used = tables.used_assertions
    connection.execute(delete(used).where(used.c.forgotten_at <= at))
    values = {
        "application_id": proven.enrolled.application_id,
        "assertion_id": hashlib.sha256(f"{proven.assertion_id}\0{scope}".encode()).hexdigest(),
    }
    try:  # the table decides, so that of two at the same time one is refused
        connection.execute(insert(used).values(**values, forgotten_at=proven.expires_at))
    except IntegrityError:
        reason = "this assertion was used already; sign a new one, with a jti of its own"
        raise _refused(reason) from None


def _unverified(text: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return header and claims of an assertion that nobody has vouched for yet."""
    if len(text) > MAX_ASSERTION_CHARS or not text.isascii():
        raise _refused(f"an assertion has at most {MAX_ASSERTION_CHARS} characters")
    try:
        found = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError):
        raise _refused("the assertion is not a signed JWT") from None
    header, claims = found["header"], found["payload"]
    if header.get("alg") not in _ALGORITHMS:
        raise _refused(f"sign with {' or '.join(_ALGORITHMS)}")
    if "crit" in header:
        raise _refused("the assertion's header has critical parts that this cloud does not know")
    return header, claims


def _client_id(claims: Mapping[str, object]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or subject != claims.get("iss"):
        raise _refused("issuer and subject of the assertion have to be the application's id")
    try:
        return str(UUID(subject))
    except ValueError:
        raise _refused("the application's id is a UUID") from None


def _named(
    connection: Connection, application_id: str, header: Mapping[str, object]
) -> list[Enrolled]:
    """Return the one certificate of the application that the header names, or none."""
    kind, thumbprint = _thumbprint(header)
    return [
        each
        for each in applications.find_certificates(connection, application_id)
        if getattr(each.certificate, kind) == thumbprint
    ][:1]


def _thumbprint(header: Mapping[str, object]) -> tuple[str, str]:
    """Return by which digest the header names a certificate, and the digest as digits."""
    for name, (kind, length) in _THUMBPRINTS.items():
        value = header.get(name)
        if isinstance(value, str) and _BASE64URL.fullmatch(value):
            digest = base64.urlsafe_b64decode(
                value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4)
            )
            if len(digest) == length:
                return kind, digest.hex()
    chain = header.get("x5c")
    first = chain[0] if isinstance(chain, list) and chain else None
    if isinstance(first, str) and len(first) <= 2 * MAX_CERTIFICATE_BYTES:
        try:
            return "sha256", hashlib.sha256(base64.b64decode(first, validate=True)).hexdigest()
        except (binascii.Error, ValueError):
            pass
    raise _refused("the assertion's header names no certificate by x5t#S256, x5t or x5c")


def _check_signature(text: str, enrolled: Enrolled, *, algorithm: str) -> None:
    key = public_key_of(enrolled.certificate)
    try:
        jwt.decode(text, key, algorithms=[algorithm], options=_UNCHECKED)
    except jwt.PyJWTError:
        raise _refused("the assertion's signature does not hold under its certificate") from None


def _check_audience(claims: Mapping[str, object], audiences: frozenset[str]) -> None:
    given = claims.get("aud")
    named = given if isinstance(given, list) else [given]
    if not any(isinstance(each, str) and each in audiences for each in named):
        wanted = min(audiences, key=len)
        raise _refused(f"the assertion is made out for somebody else; its aud has to be {wanted}")


def _check_instants(claims: Mapping[str, object], *, at: datetime) -> datetime:
    """Return when the assertion ends; it has begun, and lasts no longer than it may."""
    ends = _instant(claims, "exp")
    if ends is None:
        raise _refused("the assertion has no exp")
    if at >= ends + _SKEW:
        raise _refused(f"the assertion expired at {ends.isoformat()}; look at the clocks")
    if ends > at + _LONGEST + _SKEW:
        raise _refused(f"an assertion lasts {_LONGEST} at most")
    for name in ("nbf", "iat"):
        begins = _instant(claims, name)
        if begins is not None and begins > at + _SKEW:
            raise _refused(f"the assertion's {name} lies in the future; look at the clocks")
    return ends


def _instant(claims: Mapping[str, object], name: str) -> datetime | None:
    """Return an instant, whole or not: clients write both."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"the assertion's {name} is no instant")
    try:
        return datetime.fromtimestamp(value, tz=UTC)
    except (ValueError, OverflowError, OSError):  # NaN, infinity, or beyond the calendar
        raise _refused(f"the assertion's {name} is no instant") from None


def _assertion_id(claims: Mapping[str, object]) -> str:
    value = claims.get("jti")
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_ID_CHARS:
        raise _refused(f"the assertion needs a jti of 1 to {_MAX_ID_CHARS} characters")
    return value


def _refused(description: str) -> OAuthRefused:
    return OAuthRefused("invalid_client", description, status=401)
