"""What notices which damage: the table that the tests prove and `docs/format/damage.md` shows."""

import json
from pathlib import Path
from typing import Final, TypedDict

__all__ = ["OBJECTS", "TABLE", "Row"]


class Row(TypedDict):
    """The error codes of one kind of file; `nothing` is read as if it were whole.

    `fields` has the code for one changed bit, and the code for a file that ends where the field
    begins; `another` is for the file of another owner or drive, `older` for an older one under
    this name, where there is such a thing.
    """

    fields: dict[str, list[str]]
    another: str
    older: str | None


TABLE: Final[dict[str, Row]] = json.loads(Path(__file__).with_name("table.json").read_text("utf-8"))
OBJECTS: Final = ("pack", "index file", "recovery point", "keyring", "replacement", "key change")
