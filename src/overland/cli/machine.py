"""The source computer, composed: its home folder, clock, connection and data path.

`OVERLAND_HOME` names the home folder; without it the agent lives where the system keeps programs'
data.  The folder is readable by its owner only.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from overland.adapters.clock import SystemClock
from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.adapters.programs import SystemPrograms
from overland.adapters.progress import RichProgress
from overland.agent.connection import Connection, Grant
from overland.agent.home import AgentHome, Registration
from overland.agent.policy import Policies
from overland.agent.setup import Keys, load_keys
from overland.cli.refusals import NotAFolder
from overland.errors import TransientError
from overland.locks import lock
from overland.ports.http import Http
from overland.ports.objects import Objects
from overland.source.streams import StreamSource

if TYPE_CHECKING:
    from overland.agent.data import LocalDataPath
    from overland.agent.repack.run import Workshop
    from overland.agent.run import PolicyRun
    from overland.agent.settings import AgentSettings
    from overland.agent.signingcloud import SigningCloud

__all__ = ["AgentMachine", "Busy", "folder_objects", "http_to", "open_agent", "overland_home"]

_LOCK: Final = ".lock"


class Busy(TransientError):
    """Another command is at work in this home folder."""

    code = "agent-busy"

    def __init__(self, home: Path) -> None:
        super().__init__(f"another overland command is at work in {home}; wait for it to end")


def overland_home() -> Path:
    """Return the home folder of this machine's programs."""
    if named := os.environ.get("OVERLAND_HOME"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("overland"))


def private_folder(path: Path) -> Path:
    """Return `path`, made if absent, as a folder that only its owner can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def folder_objects(path: Path) -> Objects:
    """Return the objects in a folder that exists.

    Raises:
        NotAFolder: It does not, or is none.
    """
    if not path.is_dir():
        raise NotAFolder(path)
    return FolderObjects(PosixFiles(path))


def http_to(url: str, *, token: str, ca_pem: str) -> Http:
    """Return an authenticated conversation with the cloud at `url`."""
    from overland.adapters.http import UrllibHttp

    return UrllibHttp(url, token=token, ca_pem=ca_pem)


class AgentMachine:
    """What the commands of the source computer work with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = PosixFiles(folder)
        self.home = AgentHome(self.files)
        self.policies = Policies(self.files)
        self.clock = SystemClock()
        self.meter = RichProgress()

    def local_now(self) -> datetime:
        """Return the present instant in the zone that schedules are read in."""
        return self.clock.now().astimezone()

    def registration(self) -> Registration:
        """Return the vault that this computer belongs to."""
        return self.home.registration()

    def connection(self) -> Connection:
        """Return the requests that this computer may make.

        Once an application speaks for it, those about seeds on their way carry that one's token.
        """
        registered = self.registration()
        http = http_to(registered.url, token=registered.token, ca_pem=registered.ca_pem)
        if not any((self.folder / name).exists() for name in ("identity", "settings.json")):
            return Connection(http)
        from overland.cli.certificatehere import seed_connection

        return seed_connection(self, http)

    def settings(self) -> "AgentSettings":
        """Return the settings of this computer."""
        from overland.agent.settings import AgentSettings

        return AgentSettings(self.home, scratch=str(self.folder))

    def signing_cloud(self) -> "SigningCloud":
        """Return what a change of the signing key asks the cloud, with this computer's token."""
        from overland.agent.signingcloud import SigningCloud

        registered = self.registration()
        http = http_to(registered.url, token=registered.token, ca_pem=registered.ca_pem)
        return SigningCloud(http, source_computer_id=registered.source_computer_id)

    def go_on_with_keys(self, *, disown: bool = False) -> None:
        """Go on with a change of the signing key that was interrupted, as far as it can go.

        To be called before the keys are opened.

        Raises:
            SigningKeyBehind, KeyringBehind, KeyringTaken, TransientError: As `signing.go_on`.
        """
        if not self.home.is_signing_key_changing():
            return
        from overland.agent.signing import go_on

        go_on(self.home, self.vault(), self.signing_cloud(), disown=disown)

    def keys(self) -> Keys:
        """Return this computer's keys, opened."""
        return load_keys(self.home)

    def open_grant(self, grant: Grant, *, renew: Callable[[], Grant] | None = None) -> Objects:
        """Return the objects that a grant gives leave to."""
        from overland.adapters.httpobjects import HttpObjects

        return HttpObjects(
            endpoint=grant.endpoint,
            space=grant.space,
            prefix=grant.prefix,
            token=grant.token,
            ca_pem=self.registration().ca_pem,
            renew=(lambda: renew().token) if renew else None,
        )

    def vault(self) -> Objects:
        """Return this computer's objects in the vault; the grant is renewed when it expires."""
        connection = self.connection()
        return self.open_grant(connection.vault_grant(), renew=connection.vault_grant)

    def data_path(
        self, *, given: StreamSource | None = None, reads_all: bool = False
    ) -> "LocalDataPath":
        """Return the data path of this computer; see `LocalDataPath` for the options."""
        from overland.agent.data import LocalDataPath

        return LocalDataPath(
            home=self.home,
            keys=self.keys(),
            state_folder=private_folder(self.folder / "repository"),
            files_of=lambda path: PosixFiles(Path(path)),
            scratch_of=lambda path: PosixFiles(Path(path), is_scratch=True),
            clock=self.clock,
            meter=self.meter,
            programs=SystemPrograms(),
            given=given,
            reads_all=reads_all,
        )

    def workshop(self) -> "Workshop":
        """Return what repack and repair work with; both need the vault and the cloud."""
        from overland.agent.data import chunk_sizes
        from overland.agent.keys import ready_to_seal
        from overland.agent.points.reading import ReadKeys
        from overland.agent.repack.run import Workshop

        self.go_on_with_keys()
        keys, vault = self.keys(), self.vault()
        ready_to_seal(self.home, vault)
        state = private_folder(self.folder / "repository")
        return Workshop(
            repository=self.data_path().repository,
            keys=ReadKeys.of(keys.document, keys.master, at_hand=[self.home.files]),
            vault=vault,
            keeper=self.connection(),
            spool=PosixFiles(private_folder(state / "rewriting")),
            scratch=state,
            clock=self.clock,
            progress=self.meter,
            chunk_sizes=chunk_sizes(self.policies),
        )

    def runner(self, *, given: StreamSource | None = None, reads_all: bool = False) -> "PolicyRun":
        """Return what runs policies; see `LocalDataPath` for the options."""
        from overland.agent.run import PolicyRun

        self.go_on_with_keys()
        connection = self.connection()
        return PolicyRun(
            policies=self.policies,
            connection=connection,
            data=self.data_path(given=given, reads_all=reads_all),
            open_grant=lambda grant: self.open_grant(
                grant, renew=lambda: connection.vault_grant(policy_id=grant.policy_id)
            ),
            clock=self.clock,
            meter=self.meter,
        )


@contextmanager
def open_agent(*, exclusive: bool = False) -> Iterator[AgentMachine]:
    """Give the source computer's parts; with `exclusive` to one command at a time.

    Raises:
        Busy: Another exclusive command is at work.
    """
    folder = private_folder(overland_home() / "agent")
    if not exclusive:
        yield AgentMachine(folder)
        return
    held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not lock(held):
            raise Busy(folder)
        yield AgentMachine(folder)
    finally:
        os.close(held)
