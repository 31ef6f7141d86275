"""Passphrases, from a file or a hidden prompt; never from an argument.  Files for secrets."""

import os
from pathlib import Path

import click

from overland.cli.outcome import is_interactive
from overland.cli.refusals import FileUnusable

__all__ = ["read_passphrase", "write_new", "write_private"]

_FILE_BYTES_MAX = 4096


def read_passphrase(file: Path | None, *, twice: bool, option: str = "--passphrase-file") -> str:
    """Return the first line of `file`, or what the operator types unseen; `option` names the file.

    Raises:
        FileUnusable: The file cannot be read or holds no passphrase.
        click.UsageError: There is neither a file nor a terminal.
    """
    if file is not None:
        return _first_line(file)
    if not is_interactive():
        raise click.UsageError(f"give {option} FILE, or run this at a terminal")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise FileUnusable(file, problem=str(error.strerror)) from None
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise FileUnusable(file, problem="it is not UTF-8 text") from None
    if not lines or not lines[0]:
        raise FileUnusable(file, problem="its first line has to hold the passphrase")
    return lines[0]


def write_private(path: Path, text: str) -> None:
    """Write a text into a new file as `write_new` does."""
    write_new(path, text.encode())


def write_new(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, durably; never over another.

    On return the file and its name survive a power cut.

    Raises:
        OSError: It could not be written; no half of it is left.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
