"""Printing, as a port: a page with a title, lines and a QR code."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Printer", "Sheet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One document: what is large, what is under it, and what a scanner reads.

    A line that begins with two blanks is an entry under the one above it.
    """

    title: str
    lines: tuple[str, ...]
    code: str
    is_label: bool = False  # large print, to be read at arm's length


class Printer(Protocol):
    """Makes documents of sheets."""

    def pdf(self, sheet: Sheet) -> bytes | None:
        """Return the sheet as PDF, or None when this computer has no means to make one.

        Raises:
            OSError: It has some, and they failed: a font cannot be read, for example.
        """
        ...
