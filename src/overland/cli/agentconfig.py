"""`overland agent config`: the settings that stand for the original's registry values."""

import click

from overland.cli.machine import open_agent
from overland.cli.outcome import Commands, Exit, json_option, note, show

__all__ = ["config"]


@click.group(cls=Commands)
def config() -> None:
    """Settings of this computer, by the names of the original; upper or lower case."""


@config.command("list")
@json_option
def list_settings(*, as_json: bool) -> None:
    """Show every setting that has a value."""
    with open_agent() as machine:
        found = machine.settings().all()
    width = max(len(name) for name in found)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in found.items())
    show(found, text, as_json=as_json)


@config.command("get")
@click.argument("name")
@json_option
def get_setting(*, name: str, as_json: bool) -> int:
    """Print the value of the setting NAME; ends with 1 when it is not set."""
    with open_agent() as machine:
        value = machine.settings().get(name)
    show({"name": name, "value": value}, value or "", as_json=as_json)
    if value is None:
        note(f"{name} is not set")
    return int(Exit.ERROR if value is None else Exit.OK)


@config.command("set")
@click.argument("name")
@click.argument("value")
@json_option
def set_setting(*, name: str, value: str, as_json: bool) -> None:
    """Set NAME to VALUE, once the value keeps the setting's rule."""
    with open_agent(exclusive=True) as machine:
        kept = machine.settings().set(name, value)
    show({"name": name, "value": kept}, f"{name} is {kept}", as_json=as_json)


@config.command("unset")
@click.argument("name")
@json_option
def unset_setting(*, name: str, as_json: bool) -> None:
    """Forget the value of NAME; again does nothing."""
    with open_agent(exclusive=True) as machine:
        was_set = machine.settings().unset(name)
    text = f"{name} is not set any more" if was_set else f"{name} was not set"
    show({"name": name, "unset": was_set}, text, as_json=as_json)
