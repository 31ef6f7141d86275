"""How every command ends: its result, its one-line error, its exit code.

A result goes to standard output, as text for people or, with `--json`, as one JSON document.
Questions, progress and errors go to standard error.  An error is one line,
`error: <message> [code]`, and with `--json` also one document on standard output,
`{"error": {"code": …, "message": …}}`; `docs/reference/exit-codes.md` has the exit codes.

Nobody may be there to be told: a pipe's reader has gone, a log's disk is full, a terminal was
closed.  A result that cannot be written is an error, since somebody waits for it; where the reader
of a pipe has gone, as `head` does, the command ends without a word.  What goes to standard error is
written where it can be, and never stands in the way of the work that it speaks of.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final, TextIO, TypeVar

import click
import msgspec
from typing_extensions import override

from overland.errors import IntegrityError, OverlandError, RefusedError, TransientError
from overland.values import path_text

__all__ = [
    "SIZE",
    "Commands",
    "Exit",
    "InputMissing",
    "OutputLost",
    "SizeType",
    "ask",
    "confirm",
    "count_text",
    "exit_for",
    "instant_text",
    "is_interactive",
    "json_option",
    "note",
    "printable",
    "rate_text",
    "say",
    "show",
    "show_once",
    "size_text",
    "telling",
]

_WHOLE_SENTENCE: Final = 1000  # characters; longer than any command's first sentence
_Function = TypeVar("_Function", bound=Callable[..., Any])  # a command, of any signature


class Exit(IntEnum):
    """The exit codes of `overland`; scripts may rely on them."""

    OK = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    INTEGRITY = 4
    TRY_AGAIN = 5


class InputMissing(click.UsageError):
    """A question had to be asked, and nobody is there to answer it."""

    def __init__(self, question: str, *, option: str) -> None:
        super().__init__(f"{question}: give {option}, or run this at a terminal")


class OutputLost(OverlandError):
    """What somebody waits for could not be written; what the command did stays done."""

    code = "output-lost"

    def __init__(
        self, error: OSError, *, stream: str = "standard output", lost: str = "the result"
    ) -> None:
        self.problem = error.strerror or str(error)
        super().__init__(
            f"{stream} takes no more ({self.problem}), and {lost} is not all there; "
            "what the command did stays done"
        )


def exit_for(error: Exception) -> Exit:
    """Return the exit code of an error family."""
    match error:
        case RefusedError():
            return Exit.REFUSED
        case IntegrityError():
            return Exit.INTEGRITY
        case TransientError():
            return Exit.TRY_AGAIN
        case click.UsageError():
            return Exit.USAGE
        case _:
            return Exit.ERROR


class Commands(click.Group):
    """A group of commands that ends as this module promises, however deep the command is.

    Our own families, wrong usage, and what the operating system refused become a line and a
    code.  A defect keeps its traceback, and ends with 1 as well, as does a command of which the
    reader of a pipe wanted no more.
    """

    group_class = type  # groups in a group are such groups, too

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence however narrow the terminal is."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(limit=_WHOLE_SENTENCE))
            for name, command in found
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    @override
    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # settings of click's context
    ) -> Any:  # what the command returned
        """Run a command and exit with its code; return its value when not `standalone_mode`."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        words = sys.argv[1:] if args is None else list(args)
        try:
            sys.exit(self._ended(words, prog_name, complete_var, extra))
        finally:
            _drop_unwritten()

    def _ended(
        self,
        words: list[str],
        prog_name: str | None,
        complete_var: str | None,
        extra: dict[str, Any],  # as those of `main`
    ) -> int:
        """Run a command and return its exit code, after every error was told."""
        try:
            code = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
            with telling():
                _flush(sys.stdout)
        except click.exceptions.NoArgsIsHelpError as usage:
            note(usage.format_message())
            return Exit.USAGE
        except BrokenPipeError:
            return Exit.ERROR
        except (click.ClickException, OverlandError, OSError) as error:
            return _failed(error, as_json="--json" in words)
        except (click.Abort, KeyboardInterrupt):
            stopped = click.ClickException("stopped; run the same command again to go on")
            return _failed(stopped, as_json="--json" in words, code="stopped")
        return code if isinstance(code, int) else Exit.OK


def _failed(
    error: click.ClickException | OverlandError | OSError, *, as_json: bool, code: str = "command"
) -> int:
    """Tell of an error where that can be done; return the exit code."""
    message, status = str(error), int(exit_for(error))
    match error:
        case click.ClickException():
            message, status = error.format_message(), error.exit_code
            if isinstance(error, click.UsageError):
                message, code = _usage_text(error), "usage"
        case OverlandError():
            code = error.code
        case _:
            message, code = _system_text(error), "operating-system"
    line = printable(" ".join(message.split()))
    if as_json:
        with contextlib.suppress(OutputLost, BrokenPipeError):  # standard error has it too
            show({"error": {"code": code, "message": line}}, "", as_json=True)
    note(f"error: {line} [{code}]")
    return status


def _system_text(error: OSError) -> str:
    """Return what the system refused, and of which file, without numbers and quoting of code."""
    files = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if error.strerror is None or not files:
        return str(error)
    named = " and ".join(path_text(os.fsencode(name)) for name in files)
    return f"{named}: {error.strerror}"


def _usage_text(error: click.UsageError) -> str:
    """Return what is wrong with a command line, and where its words are explained."""
    message = error.format_message().rstrip(".")
    if error.ctx is None or isinstance(error, InputMissing):
        return message
    see = f"`{error.ctx.command_path} --help`"
    return f"{message} See {see}" if message.endswith("?") else f"{message}; see {see}"


def printable(text: str) -> str:
    """Return text that every terminal takes: bytes of names that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def json_option(function: _Function) -> _Function:
    """Add `--json` to a command; it arrives as `as_json` and goes to `show`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON document."
    )(function)


def show(value: object, text: str, *, as_json: bool) -> None:
    """Print a command's one result: `value` as JSON, or `text` for people.

    Raises:
        OutputLost, BrokenPipeError: As `say`.
    """
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(value)).decode())
    elif text:
        say(text)


def say(text: str) -> None:
    """Print lines to standard output.

    Raises:
        OutputLost: It takes no more.
        BrokenPipeError: Whoever read it has gone.
    """
    with telling():
        click.echo(text)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Have what fails to be written to standard output fail as `say` does."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(error) from None


def note(text: str) -> None:
    """Tell the operator something that is not the result, where there is an operator."""
    with contextlib.suppress(OSError):  # nobody is left who could be told that
        click.echo(text, err=True)


def show_once(text: str, *, what: str) -> None:
    """Show on standard error what is shown this once, such as a recovery kit.

    Raises:
        OutputLost: Nobody can have seen it; `what` says what is lost, and how to make another.
    """
    try:
        click.echo(text, err=True)
    except OSError as error:
        raise OutputLost(error, stream="standard error", lost=what) from None


def _flush(stream: TextIO | None) -> None:
    if stream is not None:  # as Python has it where the descriptor was closed at the start
        stream.flush()


def _drop_unwritten() -> None:
    """Forget what could not be written, or the interpreter would fail on it again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            _flush(stream)
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def is_interactive() -> bool:
    """Return whether somebody can answer a question."""
    return sys.stdin.isatty()


def ask(question: str, *, option: str, default: str | None = None) -> str:
    """Return the operator's answer, without surrounding blanks.

    Raises:
        InputMissing: Nobody is at the terminal; `option` names what to give instead.
    """
    if not is_interactive():
        raise InputMissing(question, option=option)
    return str(click.prompt(question, default=default, err=True)).strip()


def confirm(question: str, *, option: str = "--yes") -> bool:
    """Return whether the operator typed `yes`, in any case; nothing shorter counts.

    Raises:
        InputMissing: Nobody is at the terminal.
    """
    if not is_interactive():
        raise InputMissing(question, option=option)
    answer = click.prompt(f"{question} Type yes to go on", default="no", err=True)
    return str(answer).strip().lower() == "yes"


_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size_bytes: int) -> str:
    """Return a size for people, such as `1.5 GiB`."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size_bytes} bytes" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def rate_text(size_bytes: int, *, seconds: float) -> str:
    """Return a speed for people, such as `212.0 MiB/s`."""
    return f"{size_text(round(size_bytes / max(seconds, 0.001)))}/s"


def instant_text(instant: str) -> str:
    """Return an instant of the API for people, such as `2026-12-02 19:41 UTC`."""
    return f"{datetime.fromisoformat(instant).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def count_text(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 drive` or `3 drives`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)(b|bytes?)?", re.IGNORECASE)


class SizeType(click.ParamType[int]):
    """A size on the command line: `40MiB` is 40 x 1024², `10TB` is 10 x 1000⁴, `512` is bytes."""

    name = "size"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes, or fail as wrong usage."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 40MiB or 10TB", param, ctx)
        number, prefix, binary = match.group(1), match.group(2), match.group(3)
        power = "kmgtp".find(prefix.lower()) + 1 if prefix else 0
        return round(float(number) * int((1024 if binary else 1000) ** power))


SIZE: Final = SizeType()
