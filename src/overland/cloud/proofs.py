"""Whether somebody is the person they say: name, password, and the second factor.

Whatever is wrong, the answer is one and takes the same time: nobody learns which names exist,
which accounts wait, or which of the parts was wrong.  An attempt is counted before it is checked,
so that many at once are no way around the count, and a good one sets the count back.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, delete, insert, update

from overland.cloud import audit, factors, passwords, people
from overland.cloud.people import User
from overland.cloud.services import Services
from overland.cloud.tables_users import audit as events
from overland.cloud.tables_users import users
from overland.errors import NotAuthorised

__all__ = ["Claimed", "SignInRefused", "change_password", "prove", "wait_after"]

_FREE: Final = 5
_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(minutes=15)
"""Longer would let anybody keep anybody out; 96 guesses a day find no good password."""


class SignInRefused(NotAuthorised):
    """Name, password or second factor are wrong, or the account waits after failures."""

    code: ClassVar[str] = "sign-in-refused"

    def __init__(self) -> None:
        super().__init__(
            "code, name, password or one-time code is wrong, or there were too many attempts; "
            "look at each, wait for the next one-time code, and try again in a few minutes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Who somebody says they are, how they prove it, and where from.

    `tenant_id` is None when it could not be found out; then nothing is right, in the same time.
    """

    tenant_id: str | None
    name: str
    password: str
    one_time_code: str
    address: str


def wait_after(failures: int) -> timedelta:
    """Return how long an account waits after so many failures in a row."""
    doublings = failures - _FREE
    if doublings < 0:
        return timedelta()
    return min(_FIRST_WAIT * (1 << min(doublings, 16)), _LONGEST_WAIT)


def prove(services: Services, claimed: Claimed) -> User:
    """Return the person whose name, password and second factor these are.

    What is returned is as it is stored when this returns.

    Raises:
        SignInRefused: They are nobody's, or may not sign in now.
    """
    user = _begin(services, claimed)
    cost = services.password_cost
    stored = None if user is None else user.password
    is_right = passwords.matches(claimed.password, stored, cost=cost)
    rehashed = None
    if user is not None and is_right and stored and passwords.is_outdated(stored, cost=cost):
        rehashed = passwords.hashed(claimed.password, cost=cost, random=services.random)
    with services.database.begin() as connection:
        at = services.clock.now()
        proven = None if user is None else people.find(connection, user.user_id)
        if proven is None or proven.is_disabled or proven.password != stored:
            is_right = False
        if is_right and proven is not None and proven.totp_is_on:
            is_right = factors.spend(services, connection, proven, claimed.one_time_code, at=at)
        if proven is None:
            _write_nothing(connection, at)
        else:
            _end(connection, proven, claimed, at=at, is_right=is_right, rehashed=rehashed)
            proven = people.find(connection, proven.user_id)
    if not is_right or proven is None:
        raise SignInRefused
    return proven


def change_password(services: Services, claimed: Claimed, new_password: str) -> None:
    """Give a person a new password, by the old one or by an invitation; other sessions end.

    Raises:
        SignInRefused: The old password or the invitation is wrong, or the account waits.
        Invalid: The new password breaks a rule; an invitation stays good.
    """
    passwords.check_new(new_password, name=claimed.name)
    user = _invited(services, claimed) or prove(services, claimed)
    stored = passwords.hashed(new_password, cost=services.password_cost, random=services.random)
    with services.database.begin() as connection:
        at = services.clock.now()
        again = people.find(connection, user.user_id)
        proofs = (user.password, user.invitation_sha256)
        if again is None or again.is_disabled:
            raise SignInRefused
        if (again.password, again.invitation_sha256) != proofs:
            raise SignInRefused  # the invitation was used meanwhile, or the person was reset
        _change(
            connection,
            user.user_id,
            password=stored,
            invitation_sha256=None,
            invitation_until=None,
            failures=0,
            closed_until=None,
        )
        people.end_sign_ins(connection, user.user_id, at=at)
        _note(connection, user, claimed, at=at, event="password.changed")


def _begin(services: Services, claimed: Claimed) -> User | None:
    """Count an attempt; return whose it is, or None when it can only fail."""
    with services.database.begin() as connection:
        at = services.clock.now()
        user = _named(connection, claimed)
        if not _may_try(user, at):
            _write_nothing(connection, at)
            return None
        assert user is not None, "nobody may not try"
        failures = user.failures + 1
        wait = wait_after(failures)
        until = at + wait if wait else None
        _change(connection, user.user_id, failures=failures, closed_until=until)
        return user


def _may_try(user: User | None, at: datetime) -> bool:
    if user is None or user.is_disabled or user.kind != "person" or user.password is None:
        return False
    return user.closed_until is None or at >= user.closed_until


def _write_nothing(connection: Connection, at: datetime) -> None:
    """Write a row and take it back: a transaction that writes takes longer than one that reads."""
    nobody = {"tenant_id": "", "at": at, "actor": "", "address": "", "event": "", "target": ""}
    made = connection.execute(insert(events).values(**nobody).returning(events.c.number))
    connection.execute(delete(events).where(events.c.number == made.scalar_one()))


def _end(
    connection: Connection,
    user: User,
    claimed: Claimed,
    *,
    at: datetime,
    is_right: bool,
    rehashed: str | None,
) -> None:
    if not is_right:
        _note(connection, user, claimed, at=at, event="sign-in.failed")
        return
    changed: dict[str, object] = {"failures": 0, "closed_until": None}
    if rehashed is not None:
        changed["password"] = rehashed
    _change(connection, user.user_id, **changed)
    _note(connection, user, claimed, at=at, event="sign-in.succeeded")


def _invited(services: Services, claimed: Claimed) -> User | None:
    """Return the person whose good invitation this is; it is too long to be guessed."""
    digest = hashlib.sha256(claimed.password.strip().lower().encode()).hexdigest()
    with services.database.begin() as connection:
        user = _named(connection, claimed)
        if user is None or user.invitation_sha256 is None or user.is_disabled:
            return None
        assert user.invitation_until is not None, "an invitation ends"
        is_good = services.clock.now() < user.invitation_until
        matches = hmac.compare_digest(digest, user.invitation_sha256)
        return user if is_good and matches else None


def _named(connection: Connection, claimed: Claimed) -> User | None:
    if claimed.tenant_id is None:
        return None
    return people.find_named(connection, tenant_id=claimed.tenant_id, name=claimed.name)


def _note(
    connection: Connection, user: User, claimed: Claimed, *, at: datetime, event: str
) -> None:
    audit.add(
        connection,
        tenant_id=user.tenant_id,
        at=at,
        actor=f"user:{user.user_id}",
        address=claimed.address,
        event=event,
        target=user.name,
    )


def _change(connection: Connection, user_id: str, **values: Any) -> None:  # Any: of the columns
    connection.execute(update(users).where(users.c.user_id == user_id).values(**values))
