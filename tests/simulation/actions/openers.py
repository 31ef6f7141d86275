"""Which passphrase and which recovery kit have to open the vault, worked out without opening it.

A keyring says in its slots what opens it (`docs/format/keys-v1.md` §2.2).  A slot that nobody saw
before was made for the secret that the operator gave or got last; a slot that is in no keyring any
more opens nothing.  So after a kill it is the newest keyring *in the vault* that says whose secret
counts, and after a command that came to its end it has to be the secret of that command.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["Openers"]

_PREFIX: Final = "keys/"


class Openers:
    """What the operator knows by heart and has in the safe, and what of it counts."""

    def __init__(self) -> None:
        self.tried: dict[str, str] = {}
        """The newest secret of each kind of slot; it need not have come to count."""
        self._secrets: dict[str, tuple[str, str]] = {}
        self._owners: dict[str, bytes] = {}
        self._foreign: set[bytes] = set()

    def passphrase(self, text: str) -> str:
        self.tried["passphrase"] = text
        return text

    def kit(self, text: str) -> None:
        self.tried["recovery-kit"] = text

    def note(self, files: Sequence[bytes]) -> None:
        """Look at keyrings, or what holds one, that an action left: its secrets opened them.

        What was given and got for one that never came to be is thrown away; the last one stays.
        """
        for data in files:
            for slot in _document(data)["slots"]:
                known = (slot["kind"], self.tried[slot["kind"]])
                self._secrets.setdefault(slot["wrapped_master_key"], known)
        self.tried = self.of(files[-1])

    def note_foreign(self, data: bytes) -> None:
        """Take note of a keyring that somebody else made."""
        self._foreign.add(data)

    def is_foreign(self, data: bytes) -> bool:
        """Whether this is a keyring that somebody else made."""
        return data in self._foreign

    def note_vault(self, truth: Mapping[str, bytes]) -> None:
        """Look at all keyrings that were ever in the vault."""
        for name, data in truth.items():
            if name.startswith(_PREFIX) and data not in self._foreign:
                self._owners[name] = data

    def newest(self, held: Mapping[str, bytes]) -> dict[str, str] | None:
        """Return what opens the vault, by kind; None while its newest keyring is harmed."""
        name = max(self._owners)
        return self.of(held[name]) if held.get(name) == self._owners[name] else None

    def of(self, data: bytes) -> dict[str, str]:
        """Return what opens a keyring."""
        slots = [self._secrets[slot["wrapped_master_key"]] for slot in _document(data)["slots"]]
        assert len(slots) == len({kind for kind, _ in slots}), "one slot of each kind"
        return dict(slots)

    def replaced(self, newest: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return what opened a keyring once and must not any more, by kind."""
        every = dict.fromkeys(self._secrets.values())
        return [each for each in every if newest[each[0]] != each[1]]


def _document(data: bytes) -> Any:  # JSON
    document = json.loads(data)
    return document.get("keyring", document)
