"""The cloud's home folder: its settings, its root token, and the keys of grants and tables.

The folder holds secrets of all tenants, so the composition makes it readable by its owner only.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from sqlalchemy import Connection, select, update

from overland.cloud import tables
from overland.cloud.identity import Random, Role, Scope, issue_token
from overland.cloud.locations import UNSET_DOCK, Dock
from overland.cloud.tableseal import KEY_BYTES
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.errors import ObjectAbsent, RefusedError
from overland.ports.files import Files

__all__ = ["CloudHome", "CloudInitialised", "CloudNotInitialised", "Endpoints", "Settings"]

CA_FILE: Final = "ca.pem"
ROOT_TOKEN_FILE: Final = "root-token"  # noqa: S105 - a file's name
_SETTINGS: Final = "settings.json"
_ENDPOINTS: Final = "endpoints.json"
_GRANT_KEY: Final = "grant.key"
_TABLE_KEY: Final = "tables.key"
_ROOT_LIFETIME: Final = timedelta(days=3650)


class CloudNotInitialised(RefusedError):
    """There is no cloud in this folder yet."""

    code = "cloud-not-initialised"

    def __init__(self) -> None:
        super().__init__("there is no cloud here yet; run `overland cloud init` first")


class CloudInitialised(RefusedError):
    """There is a cloud in this folder already."""

    code = "cloud-initialised"

    def __init__(self) -> None:
        super().__init__(
            "there is a cloud here already; give --dock to change its address, or "
            "--new-root-token to end the root token and make another"
        )


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator decided; holds no secret."""

    format: Literal[1] = 1
    dock: Dock = UNSET_DOCK
    soft_delete_days: Annotated[int, msgspec.Meta(ge=14, le=3650)] = 14
    job_retention_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 90


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running cloud listens; there while it does, for programs on this computer."""

    url: str
    object_url: str
    ca: str
    object_socket: str = ""


class CloudHome:
    """The stored settings and secrets of one cloud."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def is_initialised(self) -> bool:
        """Return whether `overland cloud init` was completed: the root token is its last file."""
        return self._read(ROOT_TOKEN_FILE) is not None

    def settings(self) -> Settings:
        """Return the operator's settings.

        Raises:
            CloudNotInitialised: `overland cloud init` was not run yet.
        """
        content = self._read(_SETTINGS)
        if content is None or not self.is_initialised():
            raise CloudNotInitialised
        return msgspec.json.decode(content, type=Settings)

    def save_settings(self, settings: Settings) -> None:
        """Store the settings durably; a running cloud sees them when it starts again."""
        self._files.write(_SETTINGS, msgspec.json.format(msgspec.json.encode(settings)) + b"\n")

    def grant_key(self, random: Random) -> Secret:
        """Return the key that signs grants, made at the first call."""
        content = self._read(_GRANT_KEY)
        if content is not None:
            return Secret(bytes.fromhex(content.decode().strip()))
        key = sign.generate_signing_key(random)
        self._files.write(_GRANT_KEY, key.reveal().hex().encode() + b"\n")
        return key

    def table_key(self, random: Random) -> Secret:
        """Return the key that seals secrets in the tables, made at the first call.

        Without it, what it sealed is lost: a new signing key is made, and second factors have to
        be reset.
        """
        content = self._read(_TABLE_KEY)
        if content is not None:
            return Secret(bytes.fromhex(content.decode().strip()))
        key = Secret(random(KEY_BYTES))
        self._files.write(_TABLE_KEY, key.reveal().hex().encode() + b"\n")
        return key

    def new_root_token(self, connection: Connection, *, at: datetime, random: Random) -> None:
        """End the root tokens, make another, and keep it in a file; it is shown nowhere.

        The file is written within the transaction: after a power cut between both, the file
        holds a token that was never known, and another run makes a good one.
        """
        columns = tables.tokens.c
        old = select(columns.token_id).where(
            columns.role == Role.ROOT, columns.revoked_at.is_(None)
        )
        ended = update(tables.tokens).where(columns.token_id.in_(old))
        connection.execute(ended.values(revoked_at=at))
        token = issue_token(
            connection, Role.ROOT, Scope(), at=at, lifetime=_ROOT_LIFETIME, random=random
        )
        self._files.write(ROOT_TOKEN_FILE, token.encode() + b"\n")

    def root_token(self) -> Secret:
        """Return the root token.

        Raises:
            CloudNotInitialised: There is none here.
        """
        content = self._read(ROOT_TOKEN_FILE)
        if content is None:
            raise CloudNotInitialised
        return Secret(content.strip())

    def endpoints(self) -> Endpoints | None:
        """Return where the cloud of this folder listens, or None when it does not run."""
        content = self._read(_ENDPOINTS)
        return None if content is None else msgspec.json.decode(content, type=Endpoints)

    def save_endpoints(self, endpoints: Endpoints | None) -> None:
        """Say where the cloud listens now, or that it does not."""
        if endpoints is None:
            self._files.delete(_ENDPOINTS)
        else:
            self._files.write(_ENDPOINTS, msgspec.json.encode(endpoints) + b"\n")

    def _read(self, name: str) -> bytes | None:
        try:
            return self._files.read(name)
        except ObjectAbsent:
            return None
