"""Which of the objects that documents list were replaced (`docs/format/replacement-v1.md` §4)."""

from collections.abc import Container, Iterable

from overland.format.replacement import Replacement

__all__ = ["touched"]


def touched(names: Container[str], replacements: Iterable[Replacement]) -> set[str]:
    """Return those of the names that replacements put others in the place of.

    `needed_after` of these alone tells what becomes of all: the other names stay needed.
    """
    return {each for one in replacements for each in one.replaced if each in names}
