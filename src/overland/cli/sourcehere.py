"""Whether this computer is the source, and what its policies say; read without any key.

Disk preparation runs on the source computer or elsewhere, and the original's rules differ: at the
source the publish settings are known, and its own volumes are never erased.  What is read here are
the agent's open documents in the same home folder (`docs/reference/configuration.md`).
"""

from pathlib import Path
from typing import Final

import msgspec

from overland.adapters.programs import SystemPrograms
from overland.ports.programs import ProgramAbsent, Programs

__all__ = ["OfflinePolicy", "SourceHere", "virtual_machine"]

_DETECT_S: Final = 10.0


class _Identity(msgspec.Struct, frozen=True):
    """Of `agent.json`, what matters here."""

    repository_id: str


class _Offline(msgspec.Struct, frozen=True):
    staging_location: str
    publish_settings: str
    job_name: str


class OfflinePolicy(msgspec.Struct, frozen=True):
    """Of a stored policy, what matters here."""

    name: str
    sources: tuple[str, ...]
    offline: _Offline | None = None


class SourceHere:
    """The agent in this home folder, if there is one."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "agent"

    def repository_id(self) -> str | None:
        """Return the repository that this computer writes, or None if it is no source computer."""
        try:
            document = (self._folder / "agent.json").read_bytes()
            return msgspec.json.decode(document, type=_Identity).repository_id
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def policies(self) -> list[OfflinePolicy]:
        """Return the policies of this computer, sorted by name; an unreadable one is left out.

        The agent itself tells of a damaged one.
        """
        found = []
        for path in sorted(self._folder.glob("policies/*.policy.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=OfflinePolicy))
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return found

    def sources(self) -> tuple[str, ...]:
        """Return every path that is backed up from here."""
        return tuple(sorted({path for policy in self.policies() for path in policy.sources}))

    def publish_settings(self, job_name: str) -> str:
        """Return where the publish settings of an import job are; empty when unknown here."""
        for policy in self.policies():
            if policy.offline is not None and policy.offline.job_name == job_name:
                return policy.offline.publish_settings
        return ""

    def staging_locations(self) -> list[str]:
        """Return the staging locations that the policies name, each once."""
        named = [policy.offline.staging_location for policy in self.policies() if policy.offline]
        return list(dict.fromkeys(named))


def virtual_machine(programs: Programs | None = None) -> str:
    """Return what kind of virtual machine this is, or nothing on a physical computer.

    `systemd-detect-virt --vm` tells; where it is absent nobody knows, and nothing is refused.
    """
    try:
        done = (programs or SystemPrograms()).run(
            ["systemd-detect-virt", "--vm"], timeout_s=_DETECT_S
        )
    except ProgramAbsent:
        return ""
    kind = done.output.decode("utf-8", "replace").strip()
    return "" if kind == "none" else kind
