"""The copy computer, composed: its records, its drives, and the way to the import service.

`OVERLAND_HOME` names the home folder; without it the records live where the system keeps programs'
data.  The folder is readable by its owner only, because it holds the key that signs drives.
"""

import getpass
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from overland.adapters.clock import SystemClock
from overland.adapters.http import UrllibHttp
from overland.adapters.posix import PosixFiles
from overland.adapters.progress import RichProgress
from overland.adapters.volumes import FolderVolumes
from overland.cli.outcome import note
from overland.cli.sourcehere import SourceHere, virtual_machine
from overland.diskprep.import_service import ImportService
from overland.diskprep.prepare import Workbench
from overland.diskprep.publish_settings import (
    MAX_BYTES,
    PublishSettings,
    PublishSettingsInvalid,
    parse_publish_settings,
)
from overland.diskprep.questions import Questions
from overland.diskprep.record import Preparations
from overland.diskprep.safety import DEFAULT_DRIVE_LIMIT_BYTES, Host
from overland.errors import RefusedError, TransientError
from overland.locks import lock
from overland.seeding.staging import StagingLocation

__all__ = [
    "CopyComputer",
    "CopyComputerBusy",
    "PublishSettingsMissing",
    "StagingLocationAbsent",
    "open_copy_computer",
]

_LOCK: Final = ".lock"
_PRIVATE_KEY_NOTE: Final = (
    "note: {path} holds a management certificate with its private key, which rules whole "
    "subscriptions; it is neither used nor stored here; delete the file when the job is done"
)


class CopyComputerBusy(TransientError):
    """Another disk command is at work on the same records."""

    code = "disk-busy"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"another overland disk command is at work in {folder}; wait for it to end"
        )


class StagingLocationAbsent(RefusedError):
    """There is no folder where the staging location should be."""

    code = "staging-location-absent"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no folder {path}; mount the staging location, or correct it")
        self.path = path


class PublishSettingsMissing(RefusedError):
    """Nothing says where the import service is (R75)."""

    code = "publish-settings-missing"

    def __init__(self) -> None:
        super().__init__(
            "the import service is unknown here; download the publish settings of the subscription "
            "and give them with --publish-settings FILE"
        )


class CopyComputer:
    """What the disk commands work with; `folder` holds the local records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.preparations = Preparations(PosixFiles(folder))
        self.source = SourceHere(folder.parent)

    def bench(
        self, questions: Questions, *, drive_limit_bytes: int = DEFAULT_DRIVE_LIMIT_BYTES
    ) -> Workbench:
        """Return what disk preparation works with."""
        return Workbench(
            volumes=FolderVolumes(),
            preparations=self.preparations,
            questions=questions,
            clock=self.clock,
            progress=RichProgress(),
            random=secrets.token_bytes,
            operator=f"{getpass.getuser()}@{socket.gethostname()}",
            drive_limit_bytes=drive_limit_bytes,
        )

    def host(
        self, repository_id: str, *, allow_virtual_source: bool = False, usb_adapter: bool = False
    ) -> Host:
        """Return what this computer is for a seed of that repository."""
        is_source = self.source.repository_id() == repository_id
        return Host(
            is_administrator=os.geteuid() == 0,
            is_source=is_source,
            virtual=virtual_machine() if is_source else "",
            sources=self.source.sources(),
            allows_virtual_source=allow_virtual_source,
            allows_usb_adapter=usb_adapter,
        )

    def staging(self, path: str) -> StagingLocation:
        """Return the staging location at `path`.

        Raises:
            StagingLocationAbsent: There is no such folder.
        """
        folder = Path(path).absolute()
        if not folder.is_dir():
            raise StagingLocationAbsent(path)
        return StagingLocation(str(folder), files_of=lambda place: PosixFiles(Path(place)))

    def service(self, settings_path: str, *, subscription_id: str) -> ImportService:
        """Return the import service that a publish settings file leads to.

        Raises:
            PublishSettingsMissing: No file is named.
            PublishSettingsInvalid: It cannot be used.
            SubscriptionNotInFile: It is another subscription's.
        """
        if not settings_path:
            raise PublishSettingsMissing
        settings = _read(settings_path)
        if settings.holds_private_key:
            note(_PRIVATE_KEY_NOTE.format(path=settings_path))
        access = settings.access(subscription_id, now=self.clock.now())
        try:
            http = UrllibHttp(access.url, token=access.token, ca_pem=access.ca_pem or None)
        except ValueError as error:
            raise PublishSettingsInvalid(str(error)) from None
        return ImportService(http)


def _read(path: str) -> PublishSettings:
    try:
        with Path(path).open("rb") as file:
            return parse_publish_settings(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise PublishSettingsInvalid(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def open_copy_computer() -> Iterator[CopyComputer]:
    """Give the copy computer's parts, to one command at a time.

    Raises:
        CopyComputerBusy: Another command is at work.
    """
    named = os.environ.get("OVERLAND_HOME")
    home = Path(named) if named else Path(platformdirs.user_data_dir("overland"))
    folder = home / "disk-preparation"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not lock(held):
            raise CopyComputerBusy(folder)
        yield CopyComputer(folder)
    finally:
        os.close(held)
