r"""What may be typed as a staging location, and the folder of this computer that it means.

A share can be written as every system that takes part writes it: `\\SERVER\SHARE\FOLDER`,
`//SERVER/SHARE/FOLDER`, `smb://…`, `nfs://SERVER/EXPORT`, `SERVER:/EXPORT`.  It has to be
well-formed (R52), and mounted: runs write through the mount, and the copy computer reaches the same
folder under whatever path it has there, because the folder itself says which seed it holds (R27).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overland.agent.mounts import Mounts
from overland.agent.seedrefusals import StagingNotMounted, StagingPathMalformed

__all__ = ["RemotePath", "parse_staging", "staging_folder"]

_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]+\]")
_SMB_PART: Final = re.compile(r"[^\x00-\x1f\"*:<>?|/\\]{1,255}")
_NFS: Final = re.compile(r"([^/\\:\s]+|\[[0-9A-Fa-f:]+\]):(/.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePath:
    """A folder in a share: `share` is how the mount table names it."""

    protocol: str
    share: str
    folder: str

    @property
    def mount_command(self) -> str:
        """A command that would mount it."""
        kind = "cifs" if self.protocol == "smb" else "nfs"
        return f"mount -t {kind} {self.share} /mnt/staging"


def parse_staging(text: str) -> str | RemotePath:
    r"""Return a full path, or the share that was written.

    Raises:
        StagingPathMalformed: It is neither; the message says what is wrong with it.
    """
    if not text.strip() or not text.isprintable():
        raise StagingPathMalformed(text, why="it is empty or holds control characters")
    for start, read in _FORMS.items():
        if text.lower().startswith(start):
            return read(text, text[len(start) :])
    found = _NFS.fullmatch(text)
    if found is not None:
        return _nfs(text, found[1], found[2])
    if not text.startswith("/"):
        raise StagingPathMalformed(text, why="it is neither a full path nor a share")
    return text


def staging_folder(text: str, mounts: Mounts) -> str:
    """Return the folder of this computer that a staging location means.

    Raises:
        StagingPathMalformed: It is not written as a path or a share.
        StagingNotMounted: It is a share that is mounted nowhere.
    """
    place = parse_staging(text)
    if isinstance(place, str):
        return str(Path(os.path.normpath(place)))
    for mount in mounts.from_source(place.share):
        return str(Path(mount.point, place.folder)) if place.folder else mount.point
    raise StagingNotMounted(place.share, command=place.mount_command)


def _unc(text: str, rest: str) -> RemotePath:
    if "/" in rest and "\\" in rest:
        raise StagingPathMalformed(text, why="it mixes / and \\")
    return _smb(text, rest.replace("\\", "/"))


def _smb(text: str, rest: str) -> RemotePath:
    host, _, path = rest.partition("/")
    if not _HOST.fullmatch(host):
        raise StagingPathMalformed(text, why=f"{host!r} is no server name")
    parts = path.removesuffix("/").split("/")
    if not parts[0]:
        raise StagingPathMalformed(text, why="it names a server and no share")
    for part in parts:
        if not _SMB_PART.fullmatch(part) or part in {".", ".."}:
            raise StagingPathMalformed(text, why=f"{part!r} is no name in a share")
    return RemotePath(protocol="smb", share=f"//{host}/{parts[0]}", folder="/".join(parts[1:]))


def _nfs_url(text: str, rest: str) -> RemotePath:
    host, stroke, path = rest.partition("/")
    return _nfs(text, host, stroke + path)


def _nfs(text: str, host: str, path: str) -> RemotePath:
    if not _HOST.fullmatch(host):
        raise StagingPathMalformed(text, why=f"{host!r} is no server name")
    if not path.startswith("/") or {".", "..", ""} & set(path[1:].removesuffix("/").split("/")):
        raise StagingPathMalformed(text, why=f"{path!r} is no export")
    return RemotePath(protocol="nfs", share=f"{host}:{path.rstrip('/')}", folder="")


_FORMS: Final = {"\\\\": _unc, "//": _unc, "smb://": _smb, "nfs://": _nfs_url}
