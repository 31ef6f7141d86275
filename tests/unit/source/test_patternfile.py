"""Files of patterns say what their lines say, and nothing by accident."""

import os
from pathlib import Path

import pytest

from overland.source.patternfile import PatternFileUnreadable, patterns_in, read_patterns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*.tmp\n/build/\n", ["*.tmp", "/build/"]),
        ("# a comment\n\n   \n*.o", ["*.o"]),
        ("\\#file\n!keep\n\\!odd\n", ["\\#file", "!keep", "\\!odd"]),
        ("blanks behind  \t\n", ["blanks behind"]),
        ("one kept\\ \n", ["one kept\\ "]),
        ("back slash\\\\ \n", ["back slash\\\\"]),
        ("windows\r\nlines\r\n", ["windows", "lines"]),
        ("\ufeffmarked", ["marked"]),
        (" in front", [" in front"]),
        ("", []),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_line_is_a_pattern_unless_it_says_nothing(text: str, expected: list[str]) -> None:
    assert patterns_in(text) == expected


def test_files_are_read_in_order(tmp_path: Path) -> None:
    for name, text in (("one", "*.a\n"), ("two", "!x.a\n")):
        (tmp_path / name).write_text(text)
    assert read_patterns([str(tmp_path / "one"), str(tmp_path / "two")]) == ("*.a", "!x.a")


def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"good\nbad \xe9\n")
    (tmp_path / "large").write_bytes(b"x\n" * (1 << 20))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    (tmp_path / "zeros").symlink_to("/dev/zero")
    expected = {
        "latin": "line 2",
        "large": "1 MiB",
        "missing": "No such file",
        "folder": "directory",
        "pipe": "not a file",
        "zeros": "not a file",
    }
    for name, problem in expected.items():
        with pytest.raises(PatternFileUnreadable, match=problem):
            read_patterns([str(tmp_path / name)])
