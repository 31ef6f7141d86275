"""Writes `docs/format/damage.md` from the table: `.venv/bin/python -m tests.damage.page`."""

from pathlib import Path
from typing import Final

from tests.damage.table import OBJECTS, TABLE, Row

__all__ = ["PAGE", "page"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "format" / "damage.md"

_HEAD: Final = Path(__file__).with_name("page_head.md").read_text("utf-8")


def page() -> str:
    """Return the page's text."""
    objects = {name: TABLE[name] for name in OBJECTS}
    others = {name: row for name, row in TABLE.items() if name not in OBJECTS}
    parts = [
        _HEAD,
        "## 3. Objects\n",
        *(_section(name, row) for name, row in objects.items()),
        "## 4. Files beside the objects\n",
        "`drive-rejected` carries the documented status of the drive.\n",
        *(_section(name, row) for name, row in others.items()),
    ]
    return "\n".join(parts)


def _section(name: str, row: Row) -> str:
    is_file = "." in name or name.isupper()
    title = f"`{name}`" if is_file else name.capitalize()
    lines = [
        f"### {title}\n",
        "| field | one bit changed | cut off before it |",
        "|---|---|---|",
        *(
            f"| {field} | {_code(changed)} | {_code(cut)} |"
            for field, (changed, cut) in row["fields"].items()
        ),
        f"| *another's* | {_code(row['another'])} | |",
    ]
    if row["older"] is not None:
        lines.append(f"| *an older one* | {_code(row['older'])} | |")
    return "\n".join(lines) + "\n"


def _code(code: str) -> str:
    name, _, status = code.partition(" ")
    return "nothing" if name == "nothing" else f"`{name}` {status}".strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
