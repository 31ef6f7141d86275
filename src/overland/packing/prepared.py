"""Hints that are written and have no name yet, so that they get their names together.

Writing and syncing them takes no moment of its own when it happens beside something else that a
run waits for; and they get their names only when all that they claim is true.
"""

from typing import Final, final

from overland.ports.files import Files, NewFile

__all__ = ["Prepared"]


@final
class Prepared:
    """New files, in the order in which they get their names."""

    def __init__(self, files: Files) -> None:
        """Begin without a file; all are to be files of `files`."""
        self._files: Final = files
        self._new: list[tuple[NewFile, str]] = []
        self._kept: dict[str, frozenset[str]] = {}

    def create(self, name: str) -> NewFile:
        """Begin a file that will be called `name`."""
        new = self._files.create()
        self.add(new, name)
        return new

    def add(self, new: NewFile, name: str) -> None:
        """Have a file that is complete called `name`; from now on it is this object's."""
        self._new.append((new, name))

    def keep_only(self, prefix: str, kept: frozenset[str]) -> None:
        """Have the files whose names begin with `prefix` removed afterwards, but for `kept`."""
        self._kept[prefix] = kept

    def settle(self) -> None:
        """Make the content of all of them durable; may run beside anything else.

        Raises:
            OutOfSpace: The medium is full; no file has its name.
            OSError: The device failed; no file has its name.
        """
        for new, _ in self._new:
            new.settle()

    def show(self) -> None:
        """Give all files their names, and wait for nothing; see `NewFile.show`.

        Raises:
            OutOfSpace, OSError: Those before have their names, and the rest is for `abandon`.
        """
        while self._new:
            new, name = self._new[0]
            new.show(name)
            del self._new[0]
        self._remove_others()

    def publish(self) -> None:
        """Give all files their names, durably, one after the other.

        After a power cut during the call the first ones may have theirs, and the others not.

        Raises:
            OutOfSpace, OSError: As `show`.
        """
        while self._new:
            new, name = self._new[0]
            new.publish(name)
            del self._new[0]
        self._remove_others()

    def abandon(self) -> None:
        """Forget the files that have no name."""
        for new, _ in self._new:
            new.abandon()
        self._new.clear()

    def _remove_others(self) -> None:
        # One that comes back after a power cut is removed with the next ones.
        for prefix, kept in self._kept.items():
            for info in list(self._files.names(prefix)):
                if info.name not in kept:
                    self._files.forget(info.name)
