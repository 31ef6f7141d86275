"""JSON that a program of ours stored, read back: damaged files say so and crash nobody.

A disk may return anything, and some of these files lie where others can write.
"""

from typing import TypeVar

import msgspec

from overland.errors import IntegrityError

__all__ = ["UNREADABLE", "RecordDamaged", "decode_stored"]

_Record = TypeVar("_Record")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding of foreign JSON may raise: wrong form or type, no UTF-8, too deeply nested."""

_LONGEST_PROBLEM = 300


class RecordDamaged(IntegrityError):
    """A file that this program keeps for itself is not what it wrote."""

    code = "record-damaged"

    def __init__(self, name: str, *, check: str) -> None:
        super().__init__(
            f"the record {name} is damaged: {check}; keep a copy of it, put it back from a backup "
            "of the home folder, or remove it and set this part up again"
        )
        self.name, self.check = name, check


def decode_stored(data: bytes, form: type[_Record], *, name: str) -> _Record:
    """Return a stored record.

    Args:
        data: The file.
        form: Its `msgspec.Struct`.
        name: Used in errors only.

    Raises:
        RecordDamaged: It is no JSON of this form.
    """
    try:
        return msgspec.json.decode(data, type=form)
    except UNREADABLE as error:
        raise RecordDamaged(name, check=str(error)[:_LONGEST_PROBLEM]) from None
