"""Every command ends with a documented code, and an error is one line."""

import errno
import json
import os

import click
import pytest
from click.testing import CliRunner

from overland.cli.outcome import (
    SIZE,
    Commands,
    Exit,
    ask,
    confirm,
    count_text,
    json_option,
    rate_text,
    show,
    size_text,
)
from overland.errors import ObjectAbsent, ObjectCorrupt, OutOfSpace, Unreachable


@click.group(cls=Commands)
def top() -> None:
    """The program."""


@top.group(cls=Commands)
def inner() -> None:
    """A machine."""


FAILURES: dict[str, Exception] = {
    "refused": OutOfSpace("the drive", needed_bytes=2, free_bytes=1),
    "damaged": ObjectCorrupt("packs/x", check="size"),
    "later": Unreachable("no answer"),
    "absent": ObjectAbsent("packs/x"),
    "system": PermissionError(13, "Permission denied"),
    "usage": click.UsageError("no"),
    "abort": click.Abort(),
}


@inner.command()
@click.argument("how")
@json_option
def fail(*, how: str, as_json: bool) -> None:
    """Fail in one of the known ways."""
    assert isinstance(as_json, bool)
    raise FAILURES[how]


@inner.command()
@json_option
def succeed(*, as_json: bool) -> None:
    show({"drives": 2}, "2 drives", as_json=as_json)


@inner.command()
def later() -> int:
    return Exit.TRY_AGAIN


@inner.command()
def question() -> None:
    """Ask for a path when none was given on the line, and end when nobody can answer."""
    ask("Path", option="--path")


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("refused", 3, "out-of-space"),
        ("damaged", 4, "object-corrupt"),
        ("later", 5, "unreachable"),
        ("absent", 1, "object-absent"),
        ("system", 1, "operating-system"),
        ("usage", 2, "usage"),
        ("abort", 1, "stopped"),
    ],
)
def test_each_family_has_its_exit_code_and_one_line(how: str, status: int, code: str) -> None:
    result = CliRunner().invoke(top, ["inner", "fail", how])

    assert result.exit_code == status
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"[{code}]")


def test_with_json_a_failure_is_a_document_too() -> None:
    result = CliRunner().invoke(top, ["inner", "fail", "later", "--json"])

    assert result.exit_code == 5
    assert json.loads(result.stdout) == {"error": {"code": "unreachable", "message": "no answer"}}


def test_a_result_is_text_or_one_document() -> None:
    assert CliRunner().invoke(top, ["inner", "succeed"]).stdout == "2 drives\n"
    result = CliRunner().invoke(top, ["inner", "succeed", "--json"])
    assert json.loads(result.stdout) == {"drives": 2}


def test_a_command_may_choose_its_exit_code() -> None:
    assert CliRunner().invoke(top, ["inner", "later"]).exit_code == 5


@pytest.mark.parametrize("words", [[], ["inner"], ["nonsense"], ["inner", "fail"]])
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    assert CliRunner().invoke(top, words).exit_code == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["inner", "fail"], "Missing argument 'HOW'; see `top inner fail --help`"),
        (
            ["inner", "fail", "later", "--much"],
            "No such option '--much'; see `top inner fail --help`",
        ),
        (
            ["inner", "questions"],
            "No such command 'questions'. Did you mean 'question'? See `top inner --help`",
        ),
    ],
    ids=["argument", "option", "command"],
)
def test_wrong_usage_says_where_the_words_are_explained(words: list[str], line: str) -> None:
    assert CliRunner().invoke(top, words).stderr == f"error: {line} [usage]\n"


def test_what_the_system_refused_is_told_with_the_files_name_as_people_write_it() -> None:
    name = os.fsencode("/srv/tide\n") + b"\xff"
    FAILURES["named"] = FileNotFoundError(errno.ENOENT, "No such file or directory", name)

    result = CliRunner().invoke(top, ["inner", "fail", "named"])

    told = "error: /srv/tide\\n\\xff: No such file or directory [operating-system]\n"
    assert result.stderr == told


def test_a_list_of_commands_has_their_whole_first_sentences() -> None:
    result = CliRunner().invoke(top, ["inner", "--help"], terminal_width=40)

    words = " ".join(result.stdout.split())
    assert (
        "Ask for a path when none was given on the line, and end when nobody can answer." in words
    )


def test_help_is_no_error() -> None:
    assert CliRunner().invoke(top, ["--help"]).exit_code == 0


def test_a_defect_keeps_its_traceback() -> None:
    FAILURES["defect"] = ZeroDivisionError()

    result = CliRunner().invoke(top, ["inner", "fail", "defect"])

    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code == 1


def test_a_question_without_a_terminal_names_the_option() -> None:
    result = CliRunner().invoke(top, ["inner", "question"])

    assert result.exit_code == 2
    assert "--path" in result.stderr
    with pytest.raises(click.UsageError):
        confirm("Sure?")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512", 512),
        ("40MiB", 40 << 20),
        ("10TB", 10 * 1000**4),
        ("1.5 GiB", 3 << 29),
        ("2k", 2000),
        ("3 kib", 3072),
        ("7 bytes", 7),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size_bytes: int) -> None:
    assert SIZE.convert(text, None, None) == size_bytes


@pytest.mark.parametrize("text", ["", "many", "-1", "1XiB", "1 2"])
def test_other_sizes_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError):
        SIZE.convert(text, None, None)


def test_sizes_rates_and_counts_are_written_for_people() -> None:
    assert [size_text(size) for size in (0, 1023, 1536, 10 << 30)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "10.0 GiB",
    ]
    assert rate_text(100 << 20, seconds=2) == "50.0 MiB/s"
    assert [count_text(count, "drive") for count in (0, 1, 1200)] == [
        "0 drives",
        "1 drive",
        "1,200 drives",
    ]
