"""The custody ledger: who held which drive, from when.

Each line holds the digest of the one before: a line that another follows can neither be changed nor
taken out without the chain showing it.  The file is JSON lines, so that it can be read, and checked
with `sha256sum`, without this program.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from overland.errors import IntegrityError, ObjectAbsent
from overland.format.stored import UNREADABLE
from overland.ports.clock import Clock
from overland.ports.files import Files

__all__ = ["CustodyEvent", "CustodyEventName", "Ledger", "LedgerBroken", "checked_lines"]

CustodyEventName = Literal["prepared", "sealed", "given up", "handed over"]
"""Formatting allowed, copied and verified, found lost or damaged, and given to the carrier."""

_FIRST: Final = "0" * 64


class LedgerBroken(IntegrityError):
    """A line of a custody ledger was changed, is missing, or is not readable."""

    code = "ledger-broken"

    def __init__(self, name: str, *, line: int) -> None:
        super().__init__(f"custody ledger {name}, line {line}: the chain is broken; keep the file")
        self.name, self.line = name, line


class CustodyEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happened to one drive."""

    sequence: int
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    event: CustodyEventName
    drive: str
    by: str
    details: dict[str, str]
    previous: str  # SHA-256 of the line before, without its line end


class Ledger:
    """The events of one seed's drives on this computer, in `name` of `files`."""

    def __init__(self, files: Files, name: str, *, clock: Clock) -> None:
        self._files, self._name, self._clock = files, name, clock

    def append(
        self, event: CustodyEventName, *, drive: str, by: str, details: dict[str, str]
    ) -> None:
        """Add an event, durably; earlier lines are kept byte for byte.

        Does nothing if it is already the drive's last event: a step that was killed after
        telling the ledger may tell it again.

        Raises:
            LedgerBroken: The chain did not hold before; nothing was added.
        """
        lines = self._lines()
        mine = [entry for entry in map(_decoded, lines) if entry.drive == drive]
        if mine and (mine[-1].event, mine[-1].details) == (event, details):
            return
        entry = CustodyEvent(
            sequence=len(lines) + 1,
            at=self._clock.now(),
            event=event,
            drive=drive,
            by=by,
            details=details,
            previous=_digest(lines[-1]) if lines else _FIRST,
        )
        lines.append(msgspec.json.encode(entry, order="deterministic"))
        self._files.write(self._name, b"".join(line + b"\n" for line in lines))

    def adopt(self, lines: Sequence[bytes]) -> None:
        """Begin with the lines that another computer wrote, durably, if there are none here yet.

        Raises:
            LedgerBroken: Their chain does not hold; nothing was written.
        """
        checked_lines(lines, self._name)
        if lines and not self._lines():
            self._files.write(self._name, b"".join(line + b"\n" for line in lines))

    def lines(self) -> list[bytes]:
        """Return the lines as they are stored, without line ends, after checking their chain.

        Raises:
            LedgerBroken: The chain does not hold.
        """
        return self._lines()

    def events(self) -> list[CustodyEvent]:
        """Return all events, oldest first.

        Raises:
            LedgerBroken: The chain does not hold.
        """
        return [_decoded(line) for line in self._lines()]

    def _lines(self) -> list[bytes]:
        """Return the lines after checking their chain."""
        try:
            content = self._files.read(self._name)
        except ObjectAbsent:
            return []
        lines = content.split(b"\n")
        if lines.pop() != b"":
            raise LedgerBroken(self._name, line=len(lines) + 1)
        checked_lines(lines, self._name)
        return lines


def checked_lines(lines: Sequence[bytes], name: str) -> list[CustodyEvent]:
    """Return the events of ledger lines whose chain holds.

    Of the last line, which no other follows, the chain tells nothing.

    Raises:
        LedgerBroken: A line before it was changed, taken out, put in, or one cannot be read.
    """
    previous, events = _FIRST, []
    for number, line in enumerate(lines, start=1):
        try:
            entry = _decoded(line)
        except UNREADABLE:
            raise LedgerBroken(name, line=number) from None
        if entry.sequence != number or entry.previous != previous:
            raise LedgerBroken(name, line=number)
        previous = _digest(line)
        events.append(entry)
    return events


def _decoded(line: bytes) -> CustodyEvent:
    return msgspec.json.decode(line, type=CustodyEvent)


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
