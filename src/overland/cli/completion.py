"""Shell completion: `overland completion bash` prints what the shell has to read."""

from typing import Final, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

from overland.cli.outcome import Commands, say

__all__ = ["complete_path", "completion"]

_HELP: Final = """Print the completion script of SHELL.

Type this once, for the shell that you use; shells started later know it.

\b
bash, with the package bash-completion:
  mkdir -p ~/.local/share/bash-completion/completions
  overland completion bash > ~/.local/share/bash-completion/completions/overland

\b
zsh:
  mkdir -p ~/.zfunc
  overland completion zsh > ~/.zfunc/_overland
  echo 'fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit' >> ~/.zshrc

\b
fish:
  mkdir -p ~/.config/fish/completions
  overland completion fish > ~/.config/fish/completions/overland.fish
"""
_MENDED: Final = (
    # fish: else what is told of a word, or the name of a file, ends at its first comma.
    ('string split ","', 'string split --max 1 ","'),
    # zsh: else the second completion of every shell offers nothing, since the file was loaded.
    ("$zsh_eval_context[-1] == loadautofunc", '"$funcstack[1]" == _overland'),
)
"""What click 8.5 writes, and what we print in its place."""


@click.command(cls=click.Command, help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print what `shell` has to read to complete the program's words."""
    script = get_completion_class(shell)
    assert script is not None, "click knows the three shells"
    text = script(Commands(), {}, "overland", "_OVERLAND_COMPLETE").source()
    for written, meant in _MENDED:
        text = text.replace(written, meant)
    say(text)


def complete_path(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001 - the same
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Let the shell offer files and folders, for an option that takes a path as it was typed."""
    return [CompletionItem(incomplete, type="file")]
