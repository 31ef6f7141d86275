"""Settings of the source computer, under the names that they have in the original's runbooks.

| name | stands for | here |
|---|---|---|
| `MachineId` | the computer in its vault | what registration gave; told |
| `ResourceId` | the vault | its id without hyphens; told |
| `ScratchLocation` | where the agent keeps its state | `agent` in the home folder; told |
| `CurrentUserId` | who answers for the application | set by `overland cert enroll` |
| `AzureADAppCertThumbprint_<user id>` | the certificate that signs in | set after the upload |
| `UseApplicationIdentity` | whether offline policies need an identity file | `yes` or `no` |

Upper and lower case of a name do not count.  The file `settings.json` holds no secret.
"""

import re
from typing import Final, Literal
from uuid import UUID

import msgspec

from overland.agent.certificaterefusals import SettingFixed, SettingInvalid, SettingUnknown
from overland.agent.home import AgentHome
from overland.errors import ObjectAbsent
from overland.format.stored import decode_stored

__all__ = ["CURRENT_USER", "RESOURCE", "USE_APPLICATION", "AgentSettings", "thumbprint_setting"]

RESOURCE: Final = "ResourceId"
CURRENT_USER: Final = "CurrentUserId"
USE_APPLICATION: Final = "UseApplicationIdentity"

_THUMBPRINT: Final = "AzureADAppCertThumbprint_"
_FILE: Final = "settings.json"
_FIXED: Final = {
    "MachineId": "it comes with `overland agent register`",
    "ResourceId": "it comes with `overland agent register`",
    "ScratchLocation": "OVERLAND_HOME says where the agent lives",
}
_SHA1: Final = re.compile(r"[0-9A-F]{40}")


class _Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1] = 1
    values: dict[str, str] = {}


class AgentSettings:
    """The settings of one source computer.

    What reads their file raises `RecordDamaged` where it is not what `set` wrote.
    """

    def __init__(self, home: AgentHome, *, scratch: str) -> None:
        """Read and write the settings beside `home`'s records; `scratch` is that folder's path."""
        self._home, self._scratch = home, scratch

    def get(self, name: str) -> str | None:
        """Return a setting's value; None when it is not set.

        Raises:
            SettingUnknown: There is none of this name.
            RecordDamaged: The file is not what `set` wrote.
        """
        known = _canonical(name)
        return self._fact(known) if known in _FIXED else self._values().get(known)

    def all(self) -> dict[str, str]:
        """Return every setting that has a value, by name."""
        told = {name: self._fact(name) for name in _FIXED}
        facts = {name: value for name, value in told.items() if value is not None}
        return dict(sorted({**facts, **self._values()}.items()))

    def set(self, name: str, value: str) -> str:
        """Store a setting durably; return the value as it is kept.

        Setting a fact to what it is changes nothing and is no error, so that scripts may do it.

        Raises:
            SettingUnknown: There is none of this name.
            SettingInvalid: The value breaks the rule.
            SettingFixed: It is a fact, and another one.
        """
        known = _canonical(name)
        if known in _FIXED:
            if value != self._fact(known):
                raise SettingFixed(known, instead=_FIXED[known])
            return value
        kept = _checked(known, value)
        self._store({**self._values(), known: kept})
        return kept

    def unset(self, name: str) -> bool:
        """Forget a setting; return whether there was one.

        Raises:
            SettingUnknown: There is none of this name.
            SettingFixed: It is a fact.
        """
        known = _canonical(name)
        if known in _FIXED:
            raise SettingFixed(known, instead=_FIXED[known])
        values = self._values()
        if known not in values:
            return False
        self._store({each: value for each, value in values.items() if each != known})
        return True

    def demands_application(self) -> bool:
        """Return whether offline policies need an identity file even if there is none yet."""
        return self._values().get(USE_APPLICATION) == "yes"

    def _fact(self, name: str) -> str | None:
        if name == "ScratchLocation":
            return self._scratch
        if not self._home.is_registered():
            return None
        registered = self._home.registration()
        if name == "MachineId":
            return registered.source_computer_id
        # Without hyphens: a certificate's name has 64 characters, and 32 belong to its prefix.
        return registered.vault_id.replace("-", "")

    def _values(self) -> dict[str, str]:
        try:
            content = self._home.files.read(_FILE)
        except ObjectAbsent:
            return {}
        return decode_stored(content, _Stored, name=_FILE).values

    def _store(self, values: dict[str, str]) -> None:
        stored = _Stored(values=dict(sorted(values.items())))
        self._home.files.write(_FILE, msgspec.json.format(msgspec.json.encode(stored)) + b"\n")


def thumbprint_setting(user_id: str) -> str:
    """Return the name of the setting that says which certificate signs in for a user."""
    return f"{_THUMBPRINT}{user_id}"


def _canonical(name: str) -> str:
    """Return a setting's name in its one spelling."""
    for known in (*_FIXED, CURRENT_USER, USE_APPLICATION):
        if name.casefold() == known.casefold():
            return known
    if name.casefold().startswith(_THUMBPRINT.casefold()):
        user_id = _uuid(name[len(_THUMBPRINT) :])
        if user_id is not None:
            return thumbprint_setting(user_id)
    raise SettingUnknown(name)


def _checked(name: str, value: str) -> str:
    if name == CURRENT_USER:
        user_id = _uuid(value)
        if user_id is None:
            raise SettingInvalid(name, "a user's id, as `overland who-am-i --json` shows it")
        return user_id
    if name == USE_APPLICATION:
        if value.lower() not in {"yes", "no"}:
            raise SettingInvalid(name, "yes or no")
        return value.lower()
    thumbprint = re.sub(r"[:\s]", "", value).upper()
    if _SHA1.fullmatch(thumbprint) is None:
        raise SettingInvalid(name, "the 40 digits of a certificate's SHA-1 thumbprint")
    return thumbprint


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
