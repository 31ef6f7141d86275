"""The cloud's door: what a source computer asks it about keys, answered by the cloud's own parts.

Power can be cut before and after everything that is said here.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from tests.support.landed import VAULT, MemorySpaces
from tests.support.reclaiming import Reclaiming
from tests.support.simdisk import PowerCut

from overland.agent.connection import Chains
from overland.agent.home import VaultCredentials
from overland.cloud import computers, keychanges, tables
from overland.cloud.identity import Random, Role, Scope, authenticate, issue_token
from overland.cloud.locations import UNSET_DOCK
from overland.cloud.permissions import Principal
from overland.cloud.refusals import ResourceAbsent
from overland.cloud.services import Endpoints, Services
from overland.crypto.secrets import Secret
from overland.errors import NotAuthorised, OverlandError, TransientError
from overland.ports.http import Reply
from overland.vault.adoption import Adoption

__all__ = ["Door"]

_VAULT_ID: Final = VAULT.removeprefix("vaults/")
_SCOPE: Final = Scope(tenant_id=str(UUID(int=5)), vault_id=_VAULT_ID)
_DAYS: Final = timedelta(days=10)
_HERE: Final = Endpoints(
    url="https://cloud.test", object_url="https://objects.test", ca_pem="PEM\n"
)


class Door:
    """Registrations and changes of keys, of one vault."""

    def __init__(self, cloud: Reclaiming, *, random: Random, chains: Callable[[], Chains]) -> None:
        self._cloud, self._random, self._chains = cloud, random, chains
        self.cut_at: int | None = None
        tables.metadata.create_all(cloud.database, checkfirst=False)

    def credentials(self) -> VaultCredentials:
        """Return fresh vault credentials, as the vault's owner downloads them."""
        at = self._cloud.clock.now()
        with self._cloud.database.begin() as connection:
            token = issue_token(
                connection, Role.REGISTRATION, _SCOPE, at=at, lifetime=_DAYS, random=self._random
            )
        return VaultCredentials(
            format=1,
            url=_HERE.url,
            object_url=_HERE.object_url,
            ca_pem=_HERE.ca_pem,
            vault_id=_VAULT_ID,
            vault_name="vault",
            registration_token=token,
            expires_at=(at + _DAYS).isoformat(),
        )

    def http(self, token: str) -> "_Wire":
        return _Wire(self, token)

    def require_computer(self, token: str) -> None:
        """Return if a token is that of a source computer, and counts.

        Raises:
            NotAuthorised: It is not.
        """
        with self._services().call(self._principal(token)) as call:
            computers.own_computer(call)

    def step(self) -> None:
        """Count one thing that is said, or is answered."""
        if self.cut_at == 0:
            self.cut_at = None
            raise PowerCut("between this computer and the cloud")
        if self.cut_at is not None:
            self.cut_at -= 1

    def answer(self, token: str, method: str, path: str, body: Mapping[str, Any]) -> Reply:
        """Answer as the server does."""
        try:
            said = self._answer(token, method, path.split("/")[2:], body)
        except OverlandError as error:
            kinds = {NotAuthorised: 403, ResourceAbsent: 404, TransientError: 503}
            status = next((kinds[kind] for kind in kinds if isinstance(error, kind)), 409)
            why = {"code": error.code, "message": str(error)}
            return Reply(status=status, body={"error": why}, raw=b"")
        return Reply(status=200, body=said, raw=b"")

    def _answer(
        self, token: str, method: str, path: list[str], body: Mapping[str, Any]
    ) -> object:  # Any: JSON of a request
        principal, services = self._principal(token), self._services()
        digest = hashlib.sha256(token.encode()).hexdigest()
        match method, path:
            case "POST", ["source-computers"]:
                with services.call(principal) as call:
                    done = computers.register(call, **body, token_sha256=digest)
                computer = done.computer.source_computer_id
                return {"source_computer_id": computer, "vault_id": _VAULT_ID, "token": done.token}
            case "GET", ["source-computers", computer]:
                with services.call(principal) as call:
                    found = computers.get_computer(call, computer)
                    former = computers.owner_of(call, found).former
                return {
                    "signing_public_key": found.signing_public_key,
                    "former_signers": msgspec.to_builtins(former),
                }
            case "POST", ["source-computers", computer, "key-changes"]:
                keychanges.change_key(services, principal, computer, **body, token_sha256=digest)
                return {}
            case "GET", ["chains"]:
                self.require_computer(token)
                return msgspec.to_builtins(self._chains())
            case "GET", ["seeds"]:
                self.require_computer(token)
                return []
        raise AssertionError(f"{method} {path} is not asked in stories")

    def _principal(self, token: str) -> Principal:
        with self._cloud.database.begin() as connection:
            return authenticate(connection, token, at=self._cloud.clock.now())

    def _services(self) -> Services:
        cloud, spaces = self._cloud, MemorySpaces(self._cloud.disk)
        return Services(
            database=cloud.database,
            clock=cloud.clock,
            random=self._random,
            spaces=spaces,
            adoption=Adoption(
                database=cloud.database,
                engine=cloud.engine,
                spaces=spaces,
                clock=cloud.clock,
                on_ended=lambda *_: None,
            ),
            reclaim=cloud.reclaim,
            endpoints=_HERE,
            dock=UNSET_DOCK,
            grant_key=Secret(bytes(32)),
            table_key=Secret(bytes(32)),
        )


class _Wire:
    """A conversation with the cloud, with one token."""

    def __init__(self, door: Door, token: str) -> None:
        self._door, self._token = door, token

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        assert raw is None, "nothing about keys is raw"
        self._door.step()
        reply = self._door.answer(self._token, method, path, json or {})  # type: ignore[arg-type]  # JSON objects alone
        self._door.step()
        return reply
