"""How an operator names a drive: by its path, or by the name under which the system shows it.

The original asks for a letter, without colon.  Here a name without a slash is looked up where
systems mount drives; `OVERLAND_DRIVES` names another folder to look in.
"""

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

from overland.adapters.volumes import FolderVolume, FolderVolumes
from overland.errors import RefusedError

__all__ = ["attached_drives", "drive_path"]


def drive_path(typed: str) -> str:
    """Return the path of a drive as it was typed: `/mnt/e`, `E`, or `E:`.

    What cannot be found is returned as it stands, for the error to name it.
    """
    name = typed.strip()
    if not Path(name).exists():
        name = name.removesuffix("\\").removesuffix(":")
    if "/" in name or not name:
        return name
    for folder in _folders():
        for entry in _entries(folder):
            if entry.name.casefold() == name.casefold():
                return str(entry)
    return name


def attached_drives() -> Iterator[FolderVolume]:
    """Yield the drives that a name alone would find, in the order of their names."""
    volumes = FolderVolumes()
    for folder in _folders():
        for entry in _entries(folder):
            try:
                yield volumes.open(str(entry))
            except RefusedError:
                continue  # a folder that was not set up as a drive


def _folders() -> list[Path]:
    named = os.environ.get("OVERLAND_DRIVES")
    if named:
        return [Path(named)]
    user = getpass.getuser()
    return [Path("/mnt"), Path("/media") / user, Path("/run/media") / user, Path("/media")]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []
