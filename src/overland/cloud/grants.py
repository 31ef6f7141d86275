"""Grants: short signed texts that open one corner of one space for a while.

The control plane signs a grant; the data plane checks it with the public key alone, so that bulk
bytes never wait for the control plane.  A grant can be narrowed by nobody and widened by nobody:
every byte of its text is covered by the signature, and there is one text for one grant.

The text is `og1.BODY.SIGNATURE`; both parts are base64url without padding.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal, get_args

import msgspec

from overland.crypto import sign as signing
from overland.crypto.secrets import Secret
from overland.errors import NotAuthorised, SignatureInvalid
from overland.format.blob_description import DESCRIPTIONS, is_reserved
from overland.ports.files import name_parts

__all__ = [
    "MAX_NAME_BYTES",
    "MAX_TOKEN_CHARS",
    "PERMISSIONS",
    "PURPOSE",
    "WHOLE",
    "Grant",
    "GrantExpired",
    "GrantInsufficient",
    "GrantInvalid",
    "Permission",
    "is_safe_name",
    "is_space",
    "issue",
    "require",
    "require_listing",
    "verify",
]

Permission = Literal["create", "read", "list", "delete"]
"""What a grant may allow; objects are never overwritten: who replaces one deletes it first."""

PERMISSIONS: Final[tuple[Permission, ...]] = get_args(Permission)

PURPOSE: Final = "overland-grant-v1"
"""Bound into the signature, so that no other signed document can pass for a grant."""

MAX_TOKEN_CHARS: Final = 4096
"""Longer texts are refused unread; a grant with four long prefixes needs about 3,000."""

MAX_NAME_BYTES: Final = 1024
"""The longest object name, as in Azure Blob."""

MAX_PREFIXES: Final = 4

WHOLE: Final = ""
"""The prefix of a grant for a whole container."""

_MAX_PART_BYTES: Final = 255  # what one name may have in the usual file systems
_MAX_SUBJECT_CHARS: Final = 200

_SPACE: Final = re.compile(
    r"accounts/[a-z0-9]{3,24}/(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$root)"
    r"|vaults/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class GrantInvalid(NotAuthorised):
    """The text is not a grant that this cloud signed."""

    code: ClassVar[str] = "grant-invalid"

    def __init__(self) -> None:
        super().__init__("the credential is not a grant of this cloud; ask the cloud for a grant")


class GrantExpired(NotAuthorised):
    """The grant was good, and its time is over."""

    code: ClassVar[str] = "grant-expired"

    def __init__(self, grant_id: str, *, expired_at: datetime) -> None:
        super().__init__(
            f"grant {grant_id} expired at {expired_at.isoformat()}; ask the cloud for a new one"
        )
        self.grant_id, self.expired_at = grant_id, expired_at


class GrantInsufficient(NotAuthorised):
    """The grant is good, and does not allow this."""

    code: ClassVar[str] = "grant-insufficient"

    def __init__(self, grant_id: str, *, permission: Permission, target: str) -> None:
        super().__init__(f"grant {grant_id} does not allow {permission} of {target}")
        self.grant_id, self.permission, self.target = grant_id, permission, target


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who may do what below which prefixes of one space, and until when.

    Each prefix ends with `/`, so that a grant for `seed-1/` never reaches `seed-12/`.  The single
    prefix "" opens a storage account's whole container, except that it creates, replaces and
    deletes nothing in a seed's folder.
    `expires_at` is aware, in whole seconds.
    """

    grant_id: str
    subject: str
    space: str
    prefixes: tuple[str, ...]
    permissions: frozenset[Permission]
    expires_at: datetime

    def __post_init__(self) -> None:
        assert self.expires_at.tzinfo is not None, "instants are aware, in UTC"
        assert self.expires_at.microsecond == 0, "a grant's text holds whole seconds"
        problem = _problem(self)
        assert problem is None, problem

    @property
    def prefix(self) -> str:
        """The first prefix: where the holder's own objects are."""
        return self.prefixes[0]


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The signed part of the text: a JSON array, so that there is no order of fields."""

    grant_id: str
    subject: str
    space: str
    prefixes: list[str]
    permissions: list[Permission]
    expires_at: int


def issue(grant: Grant, *, private_key: Secret) -> str:
    """Return the text of a grant, signed by the control plane's key."""
    body = _encode(grant)
    signature = signing.sign(private_key, PURPOSE, body)
    token = f"og1.{_to_text(body)}.{_to_text(signature)}"
    assert len(token) <= MAX_TOKEN_CHARS, "names have limits, so grants have"
    return token


def verify(token: str, *, public_key: bytes, at: datetime) -> Grant:
    """Return the grant that `token` holds.

    Takes the same time for every altered text of one length, and keeps nothing.

    Raises:
        GrantInvalid: The text is not one that the holder of the private key made.
        GrantExpired: `at` is not before the grant's end.
    """
    assert at.tzinfo is not None, "instants are aware, in UTC"
    grant = _decode(_signed_body(token, public_key))
    if at >= grant.expires_at:
        raise GrantExpired(grant.grant_id, expired_at=grant.expires_at)
    return grant


def require(grant: Grant, permission: Permission, *, space: str, name: str) -> None:
    """Return if the grant allows this for the object `name` of `space`.

    Raises:
        GrantInsufficient: Another space, a name outside the prefixes, or not permitted.
    """
    covered = is_safe_name(name) and _reaches(grant, permission, name)
    if permission not in grant.permissions or space != grant.space or not covered:
        raise GrantInsufficient(grant.grant_id, permission=permission, target=f"{space}/{name}")


def require_listing(grant: Grant, *, space: str, prefix: str) -> None:
    """Return if the grant allows to list what starts with `prefix` in `space`.

    The listed prefix may end inside a name (`packs/3`), but has to lie below one of the grant's.

    Raises:
        GrantInsufficient: Another space, a wider prefix, or not permitted.
    """
    # With a letter at its end, a prefix is a name: the same rules keep it from climbing.
    covered = is_safe_name(f"{prefix}x") and prefix.startswith(grant.prefixes)
    if "list" not in grant.permissions or space != grant.space or not covered:
        raise GrantInsufficient(grant.grant_id, permission="list", target=f"{space}/{prefix}")


def _reaches(grant: Grant, permission: Permission, name: str) -> bool:
    if grant.prefixes != (WHOLE,):
        return name.startswith(grant.prefixes)
    # Whoever may write to a whole container could else undo what a seed's own folder promises.
    is_described = name.startswith(f"{DESCRIPTIONS}/")
    return permission in {"read", "list"} or is_described or not is_reserved(name)


def is_space(space: str) -> bool:
    """Return whether this is a space's name: `accounts/ACCOUNT/CONTAINER` or `vaults/UUID`."""
    return _SPACE.fullmatch(space) is not None


def is_safe_name(name: str) -> bool:
    """Return whether `name` can name an object: relative, bounded, and unable to climb."""
    try:
        parts = [part.encode() for part in name_parts(name)]
    except ValueError:  # also a name that has no UTF-8
        return False
    return (
        _CONTROL.search(name) is None
        and len(name.encode()) <= MAX_NAME_BYTES
        and max(map(len, parts)) <= _MAX_PART_BYTES
    )


def _problem(grant: Grant) -> str | None:
    """Say what is wrong with a grant."""
    may_delete = "delete" in grant.permissions
    is_whole = grant.prefixes == (WHOLE,) and grant.space.startswith("accounts/")
    folders = all(each.endswith("/") and is_safe_name(each[:-1]) for each in grant.prefixes)
    rules = {
        "a grant has an id of 1 to 64 characters": 1 <= len(grant.grant_id) <= 64,
        "a grant's subject is short": len(grant.subject) <= _MAX_SUBJECT_CHARS,
        f"{grant.space} is not a space": is_space(grant.space),
        "a grant has one to four prefixes": 1 <= len(grant.prefixes) <= MAX_PREFIXES,
        "a prefix is a folder's name and ends with a slash": folders or is_whole,
        "a grant permits something": bool(grant.permissions),
        "a grant permits only what there is": grant.permissions <= set(PERMISSIONS),
        "a vault is immutable: no grant deletes there": not (
            may_delete and grant.space.startswith("vaults/")
        ),
    }
    return next((rule for rule, holds in rules.items() if not holds), None)


def _encode(grant: Grant) -> bytes:
    return msgspec.json.encode(
        _Body(
            grant.grant_id,
            grant.subject,
            grant.space,
            list(grant.prefixes),
            [each for each in PERMISSIONS if each in grant.permissions],
            int(grant.expires_at.timestamp()),
        )
    )


def _decode(body: bytes) -> Grant:
    """Return the grant of a body whose signature holds."""
    try:
        raw = msgspec.json.decode(body, type=_Body)
        grant = Grant(
            grant_id=raw.grant_id,
            subject=raw.subject,
            space=raw.space,
            prefixes=tuple(raw.prefixes),
            permissions=frozenset(raw.permissions),
            expires_at=datetime.fromtimestamp(raw.expires_at, tz=UTC),
        )
    except (msgspec.MsgspecError, OverflowError, OSError, ValueError):
        raise GrantInvalid from None
    assert _encode(grant) == body, "we sign one text per grant"
    return grant


def _signed_body(token: str, public_key: bytes) -> bytes:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise GrantInvalid
    mark, _, rest = token.partition(".")
    body_text, _, signature_text = rest.partition(".")
    try:
        body, signature = _from_text(body_text), _from_text(signature_text)
        signing.verify(public_key, PURPOSE, body, signature)
    except (ValueError, SignatureInvalid):
        raise GrantInvalid from None
    if mark != "og1":
        raise GrantInvalid
    return body


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    """Undo `_to_text`; refuse every other text that base64 would read as the same bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if _to_text(data) != text:
        raise ValueError("not the canonical text of these bytes")
    return data
