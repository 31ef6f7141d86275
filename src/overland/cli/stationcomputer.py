"""The station, composed: its home folder, its tables, its drives, and the way to its cloud.

`--home` or `OVERLAND_HOME` names the home folder; without them the station lives where the system
keeps programs' data.  The folder is readable by its owner only, because it holds the token that
opens the keys of received drives.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs

from overland.adapters.clock import SystemClock
from overland.adapters.database import open_database
from overland.adapters.engine import DbosEngine
from overland.adapters.http import CloudAddressInvalid, UrllibHttp
from overland.adapters.httpobjects import HttpObjects
from overland.adapters.posix import PosixFiles
from overland.adapters.progress import RichProgress
from overland.adapters.volumes import FolderVolumes
from overland.ports.http import accept
from overland.ports.objects import Objects
from overland.station.connection import Connection, Grant
from overland.station.containers import Containers
from overland.station.driveimport import DriveImport
from overland.station.exporting import Export
from overland.station.home import StationConfig, StationHome
from overland.station.ingest import DRIVES_AT_ONCE, Ingest
from overland.station.intake import Intake
from overland.station.overview import Overview
from overland.station.placing import Placing
from overland.station.records import Records
from overland.station.returning import Returning
from overland.station.transfer import Transfer

__all__ = [
    "CloudAddressInvalid",
    "StationComputer",
    "home_option",
    "open_station",
    "save_config",
    "station_folder",
]


_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature


def home_option(function: _Function) -> _Function:
    """Add `--home` to a command."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False),
        help="Home folder; otherwise OVERLAND_HOME, or where the system keeps programs' data.",
    )(function)


class StationComputer:
    """What the station's commands work with."""

    def __init__(self, folder: Path, *, config: StationConfig, records: Records) -> None:
        self.config, self.records = config, records
        self.connection = Connection(_http(config))
        self._folder, self._files = folder, PosixFiles(folder)
        self._volumes, self._clock = FolderVolumes(), SystemClock()

    def intake(self) -> Intake:
        """Return what books parcels in."""
        return Intake(
            connection=self.connection,
            volumes=self._volumes,
            records=self.records,
            clock=self._clock,
        )

    def returning(self) -> Returning:
        """Return what sends drives back."""
        return Returning(connection=self.connection, records=self.records, clock=self._clock)

    def overview(self) -> Overview:
        """Return what tells the state of jobs and drives."""
        return Overview(connection=self.connection, records=self.records)

    def ingest(self) -> Ingest:
        """Return what imports drives; one command at a time may run it."""
        self._files.sweep()
        progress = RichProgress()
        containers = Containers(connection=self.connection, open_grant=self._open_grant)
        placing = Placing(records=self.records, containers=containers, progress=progress)
        work = DriveImport(
            connection=self.connection,
            volumes=self._volumes,
            records=self.records,
            transfer=Transfer(progress),
            placing=placing,
            containers=containers,
            drafts=self._files,
            clock=self._clock,
        )
        return Ingest(
            engine=DbosEngine(self._folder / "engine.db", "station", workers=DRIVES_AT_ONCE),
            work=work,
            connection=self.connection,
            volumes=self._volumes,
            records=self.records,
            progress=progress,
        )

    def export(self) -> Export:
        """Return what fills drives for export jobs; one command at a time may run it."""
        self._files.sweep()
        return Export(
            connection=self.connection,
            volumes=self._volumes,
            records=self.records,
            containers=Containers(connection=self.connection, open_grant=self._open_grant),
            drafts=self._files,
            clock=self._clock,
            progress=RichProgress(),
        )

    def _open_grant(self, grant: Grant, *, prefix: str, renew: Callable[[], str]) -> Objects:
        return HttpObjects(
            grant.endpoint,
            grant.space,
            prefix,
            grant.token,
            self.config.ca_pem or None,
            renew,
            local=_local(self.config),
        )


def station_folder(home: str | None) -> Path:
    """Return the station's folder, made if absent, that only its owner can enter."""
    named = home or os.environ.get("OVERLAND_HOME")
    base = Path(named) if named else Path(platformdirs.user_data_dir("overland"))
    folder = base / "station"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def save_config(folder: Path, config: StationConfig) -> None:
    """Store the settings, after trying their form and the token itself.

    Raises:
        CloudAddressInvalid: The address or the certificate cannot be used.
        NotAuthorised: The cloud does not know the token as a station's.
        Unreachable: The cloud does not answer.
        SocketUnsafe: Others could answer on the socket, or it is not open to this user.
    """
    Connection(_http(config)).jobs()
    local = _local(config)
    if local is not None:
        accept(UrllibHttp("", None, None, local=local).request("GET", "/healthz"), what="a socket")
    before = os.umask(0o077)  # the file holds the token
    try:
        StationHome(PosixFiles(folder)).save(config)
    finally:
        os.umask(before)


@contextmanager
def open_station(home: str | None) -> Iterator[StationComputer]:
    """Give the station's parts.

    Raises:
        StationNotInitialised: `overland station init` was not run yet.
    """
    folder = station_folder(home)
    config = StationHome(PosixFiles(folder)).config()
    database = open_database(folder / "station.db", "station")
    try:
        yield StationComputer(folder, config=config, records=Records(database))
    finally:
        database.dispose()


def _local(config: StationConfig) -> Path | None:
    return Path(config.object_socket) if config.object_socket else None


def _http(config: StationConfig) -> UrllibHttp:
    try:
        return UrllibHttp(config.url, token=config.token, ca_pem=config.ca_pem or None)
    except (ValueError, OSError) as error:
        raise CloudAddressInvalid(
            f"the cloud at {config.url} cannot be used: {error}; correct --cloud-url and --ca-file"
        ) from None
