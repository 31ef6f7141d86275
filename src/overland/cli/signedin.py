"""Who is signed in on this computer: the tokens that `overland sign-in` keeps.

They lie in `sign-in.json` in the home folder, readable by its owner only.  A refresh token is
good once, so that commands that run side by side take turns.  A power cut between the cloud's
answer and the file costs the session: the next command says to sign in again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec
import platformdirs

from overland.adapters.clock import SystemClock
from overland.adapters.http import Wire, read_body
from overland.adapters.posix import PosixFiles
from overland.errors import NotAuthorised, ObjectAbsent, RefusedError, Unreachable

__all__ = [
    "CLIENT_ID",
    "Answer",
    "SignInAnswerOdd",
    "SignInEnded",
    "SignedIn",
    "access_token",
    "forget",
    "home_folder",
    "post_form",
    "read",
    "store",
    "token_path",
]

CLIENT_ID: Final = "overland-cli"

_FILE: Final = "sign-in.json"
_LOCK: Final = "sign-in.lock"
_EARLY: Final = timedelta(seconds=60)  # a request under way outlives a token that ends at once
_TIMEOUT_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_TOO_MANY: Final = 429


class SignInEnded(NotAuthorised):
    """The cloud takes the kept sign-in no longer."""

    code: ClassVar[str] = "sign-in-ended"

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; run `overland sign-in` again")


class SignInAnswerOdd(RefusedError):
    """The server's answer is not that of a cloud's sign-in."""

    code: ClassVar[str] = "answer-not-understood"


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a sign-in.  Holds secrets."""

    format: int = 1
    url: str
    ca_pem: str | None
    tenant_id: str
    access_token: str
    expires_at: datetime
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a sign-in endpoint answered."""

    status: int
    body: dict[str, Any]  # JSON

    def text(self, name: str) -> str:
        """Return a field that has to be there.

        Raises:
            SignInAnswerOdd: It is not.
        """
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise SignInAnswerOdd(f"the cloud's answer has no {name}; is this the right address?")
        return value


def home_folder(home: str | None) -> Path:
    """Return the folder in which a sign-in is kept, made if absent."""
    named = home or os.environ.get("OVERLAND_HOME")
    folder = Path(named) if named else Path(platformdirs.user_data_dir("overland"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


def read(folder: Path) -> SignedIn | None:
    """Return who is signed in, or None.

    Raises:
        SignInEnded: The file is none of ours.
    """
    try:
        content = PosixFiles(folder).read(_FILE)
    except ObjectAbsent:
        return None
    try:
        return msgspec.json.decode(content, type=SignedIn)
    except msgspec.DecodeError:
        raise SignInEnded(f"{folder / _FILE} cannot be read") from None


def store(folder: Path, signed_in: SignedIn) -> None:
    """Keep a sign-in durably, for its owner only."""
    PosixFiles(folder).write(_FILE, msgspec.json.encode(signed_in) + b"\n")


def forget(folder: Path) -> None:
    """Keep none any more."""
    PosixFiles(folder).delete(_FILE)


def access_token(folder: Path) -> SignedIn:
    """Return the sign-in with an access token that is good now.

    Raises:
        SignInEnded: Nobody is signed in, or the cloud gave no token: the session has ended.
        Unreachable: The cloud does not answer, or asks to wait; the sign-in stays good.
        SignInAnswerOdd: Somebody answers who is no cloud.
    """
    with _locked(folder):
        kept = read(folder)
        if kept is None:
            raise SignInEnded("nobody is signed in")
        now = SystemClock().now()
        if now + _EARLY < kept.expires_at:
            return kept
        wire = Wire(kept.url, None, kept.ca_pem, timeout_s=_TIMEOUT_S)
        form = {
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "refresh_token": kept.refresh_token,
        }
        answer = post_form(wire, token_path(kept.tenant_id), form)
        if answer.status == _TOO_MANY:
            said = answer.body.get("error_description", "too many asked")
            raise Unreachable(f"{wire.host} asks to wait: {said}; try again later")
        if answer.status != 200:
            raise SignInEnded(str(answer.body.get("error_description", "the session has ended")))
        renewed = msgspec.structs.replace(
            kept,
            access_token=answer.text("access_token"),
            refresh_token=answer.text("refresh_token"),
            expires_at=now + timedelta(seconds=int(answer.body.get("expires_in", 0))),
        )
        store(folder, renewed)
        return renewed


def token_path(tenant_id: str) -> str:
    """Return the path of a tenant's token endpoint."""
    return f"/{tenant_id}/oauth2/v2.0/token"


def post_form(wire: Wire, path: str, form: Mapping[str, str]) -> Answer:
    """Send a form and return the answer, which is a JSON object; whatever its status below 500.

    Raises:
        Unreachable: The cloud does not answer, or failed, or its answer broke off.
        SignInAnswerOdd: The answer is none of a cloud.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    response = wire.send("POST", path, headers=headers, body=urlencode(form).encode())
    try:
        content = read_body(response, _MAX_ANSWER_BYTES, host=wire.host)
    finally:
        response.close()  # gives the connection back when the body was read to its end
    if response.status >= 500:
        raise Unreachable(f"{wire.host} failed ({response.status}); try again later")
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise SignInAnswerOdd(f"{wire.host} is no cloud of ours; check the address")
    return Answer(status=response.status, body=body)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
