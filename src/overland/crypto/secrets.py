"""Bytes that must not be seen."""

from typing import NoReturn, final

from typing_extensions import override

__all__ = ["Secret"]


@final
class Secret:
    """Holds secret bytes and never shows them by accident.

    Prints as `Secret(…)`, cannot be pickled, and is equal to itself only, so that no comparison
    leaks by its time.  Who needs the bytes says so with `reveal`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the secret bytes; never log, print or store the result."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    @override
    def __repr__(self) -> str:
        return "Secret(…)"

    @override
    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")
