"""A drive, as a port: something with a serial and a capacity that files can be written to."""

from dataclasses import dataclass
from typing import Literal, Protocol

from overland.ports.files import Files

__all__ = ["FOLDER", "Attachment", "Content", "Volume", "Volumes"]

Content = Literal["blank", "overland", "foreign"]
"""What a drive holds: nothing, a drive of ours, or somebody's data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a drive hangs on this computer.

    A `folder` is for practice; a `drive` is a file system of its own on a local device, reached by
    `bus` (`sata`, `nvme`, `usb`, …; empty when the system does not say); `network` is on another
    computer.
    """

    kind: Literal["folder", "drive", "network"]
    bus: str = ""


FOLDER = Attachment(kind="folder")


class Volume(Protocol):
    """One drive, opened at the path that the operator named."""

    @property
    def serial(self) -> str:
        """The drive's serial number, without blanks; the drive's id in the import job."""
        ...

    @property
    def capacity_bytes(self) -> int:
        """How much the drive can hold in all."""
        ...

    @property
    def path(self) -> str:
        """Where the operator sees it."""
        ...

    def content(self) -> Content:
        """Say what the drive holds, without changing it."""
        ...

    def holds(self, path: str) -> bool:
        """Return whether `path` lies on this drive (the staging location must not)."""
        ...

    def attachment(self) -> Attachment:
        """Say how the drive hangs on this computer."""
        ...

    def is_system(self) -> bool:
        """Return whether the running system lives on this drive."""
        ...

    def erase(self) -> None:
        """Make the drive blank.  Callers have confirmed it; there is no way back."""
        ...

    def files(self) -> Files:
        """Return the drive's root folder; writing past the capacity raises `OutOfSpace`."""
        ...


class Volumes(Protocol):
    """The drives that this computer can see."""

    def open(self, path: str) -> Volume:
        """Return the drive at `path`.

        Raises:
            RefusedError: There is no drive, or none that can be used; the text says which.
        """
        ...
