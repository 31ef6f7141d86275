"""Shell completion: `overland completion bash` prints what the shell has to read."""

from typing import Final, Literal

import click
from click.shell_completion import get_completion_class

from overland.cli.outcome import Commands, say

__all__ = ["completion"]

_HELP: Final = """Print the completion script of SHELL.

\b
bash:  overland completion bash > ~/.local/share/bash-completion/completions/overland
zsh:   overland completion zsh  > "${fpath[1]}/_overland"
fish:  overland completion fish > ~/.config/fish/completions/overland.fish
"""


@click.command(cls=click.Command, help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print what `shell` has to read to complete the program's words."""
    script = get_completion_class(shell)
    assert script is not None, "click knows the three shells"
    say(script(Commands(), {}, "overland", "_OVERLAND_COMPLETE").source())
