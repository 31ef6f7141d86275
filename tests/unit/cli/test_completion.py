"""Shell completion, in the shells themselves, installed as `overland completion --help` says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.support.terminal import Terminal

from overland.cli.main import overland

pytestmark = pytest.mark.slow

LOADER = Path("/usr/share/bash-completion/bash_completion")
NEEDED = {
    "bash": "completion in bash needs the package bash-completion",
    "zsh": "completion in zsh needs the package zsh",
    "fish": "completion in fish needs the package fish",
}
LIMIT_S = 120  # against waiting for ever


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A person's home folder, with folders that are not easy to type."""
    (tmp_path / "old papers").mkdir()
    (tmp_path / "old papers" / "letter.txt").touch()
    (tmp_path / "new, too").mkdir()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    program = Path(sys.executable).with_name("overland")
    assert program.exists(), "the package is installed beside the interpreter"
    return {
        "HOME": str(home),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "ZDOTDIR": str(home),
        "BASH_COMPLETION_USER_DIR": str(home / ".local/share/bash-completion"),
    }


def told(shell: str) -> list[str]:
    """The commands that the help text names for a shell."""
    text = CliRunner().invoke(overland, ["completion", "--help"]).stdout
    paragraph = next(p for p in re.split(r"\n\s*\n", text) if p.strip().startswith(shell))
    return [line.strip() for line in paragraph.splitlines()[1:]]


def install(shell: str, home: Path) -> None:
    """Type what the help text says, in the shell that it says it for."""
    there = shutil.which(shell) and (shell != "bash" or LOADER.exists())
    if not there and os.environ.get("CI"):
        pytest.fail(NEEDED[shell])
    if not there:
        pytest.skip(NEEDED[shell])
    commands = told(shell)
    assert len(commands) >= 2
    done = run(shell, "\n".join(commands), home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run(shell: str, commands: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell, "-c", commands],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


class Prompt:
    """An interactive shell, started after completion was installed for it."""

    def __init__(self, shell: str, home: Path) -> None:
        self._shell = shell
        rules = home / f".{shell}rc"
        with rules.open("a") as settings:
            settings.write("PS1='ready> '\n")
            if shell == "bash":  # as the rules of a new user do
                settings.write(f". {LOADER}\nbind 'set bell-style none'\n")
        self._terminal = Terminal(lambda: self._become(home), env={})
        self._terminal.expect("ready> ")

    def _become(self, home: Path) -> None:
        os.chdir(home)
        os.execvpe(self._shell, [self._shell, "-i"], environment(home))

    def press_tab(self, line: str, *, times: int = 1) -> "Prompt":
        """Type the line and the key."""
        self._terminal.type(line + times * "\t")
        return self

    def shows(self, *texts: str) -> "Prompt":
        for text in texts:
            self._terminal.expect(text)
        return self

    def empties_the_line(self) -> "Prompt":
        self._terminal.type("\x15\n").expect("ready> ")
        return self

    def ends(self) -> None:
        self._terminal.type("\x15exit\n")
        self._terminal.finish()


@pytest.fixture
def prompt(shell: str, home: Path) -> Iterator[Prompt]:
    install(shell, home)
    prompt = Prompt(shell, home)
    yield prompt
    prompt.ends()


def test_commands_are_completed_at_a_prompt(prompt: Prompt) -> None:
    prompt.press_tab("overland dis").shows("overland disk ")
    prompt.press_tab("prep").shows("prepare ")
    prompt.press_tab("--allow").shows("--allow-virtual-source ")


def test_a_choice_is_listed_at_a_prompt(prompt: Prompt) -> None:
    prompt.press_tab("overland completion ", times=2).shows("bash", "zsh", "fish")


def test_the_name_of_a_folder_is_completed_after_an_option_that_takes_one(prompt: Prompt) -> None:
    prompt.press_tab("overland policy create --source ol").shows("--source old\\ papers/")
    prompt.press_tab("let").shows("letter.txt ").empties_the_line()
    prompt.press_tab("overland restore --target ol").shows("--target old\\ papers/")


def test_zsh_tells_what_a_command_does(home: Path) -> None:
    install("zsh", home)
    prompt = Prompt("zsh", home)
    prompt.press_tab("overland ", times=2).shows("agent", "-- Keys, registration and state of")
    prompt.ends()


def offered(line: str, home: Path) -> dict[str, str]:
    """What fish offers in place of a line's last word, each with what it tells of it."""
    done = run("fish", f"complete --do-complete {line!r}", home)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(offer.partition("\t")[::2] for offer in done.stdout.splitlines())


def test_fish_offers_commands_choices_options_and_paths(home: Path) -> None:
    install("fish", home)
    assert set(offered("overland dis", home)) == {"disk"}
    assert set(offered("overland completion ", home)) == {"bash", "zsh", "fish"}
    assert set(offered("overland disk prepare --allow", home)) == {"--allow-virtual-source"}
    assert set(offered("overland policy create --source ol", home)) == {"old papers/"}
    assert set(offered("overland restore --target ol", home)) == {"old papers/"}
    assert set(offered("overland restore --target new,", home)) == {"new, too/"}


def test_fish_tells_whole_sentences_with_their_commas(home: Path) -> None:
    install("fish", home)
    assert offered("overland disk prepare --see", home) == {"--seed": "Of several seeds, this one."}


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_what_is_told_of_a_word_is_one_line_as_the_shells_read_it() -> None:
    words = [*commands(overland)]
    options = [p for each in words for p in each.params if isinstance(p, click.Option)]
    assert len(options) > 100
    texts = [each.get_short_help_str() for each in words] + [p.help or "" for p in options]
    assert [text for text in texts if re.search(r"[\n\t]", text)] == []
