"""The wizard of `overland policy create`: asked for at a terminal, field by field.

The order is that of the original's pages: what is protected, when, how the first copy travels, the
six fields of the offline page, and a summary.  A rule is kept at its own prompt: the answer is
refused with the reason, and the question comes again.  Ctrl-C, or the end of input, saves nothing.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from overland.agent.policy import Policies, PolicyInvalid, check_policy_name
from overland.agent.refusals import PolicyExists
from overland.cli.outcome import ask, note
from overland.cli.policyoptions import SIX, given_schedule, offline_value
from overland.cli.policyrules import full_path
from overland.cli.preflight import read_publish_settings
from overland.errors import RefusedError

__all__ = ["ask_policy", "told_after_staging"]

_Answer = TypeVar("_Answer")

_METHODS: Final = {"1": False, "network": False, "2": True, "offline": True}
_HELP: Final = {
    "staging": (
        "Where the first copy waits for the drives: a folder, a drive of this computer, or a "
        "share such as \\\\SERVER\\SHARE\\FOLDER. It needs as much room as the sources have data."
    ),
    "publish_settings": (
        "The file that the subscription's owner downloaded: `overland cloud publish-settings`."
    ),
    "job_name": "It ties the drives to this policy; disk preparation makes the job of this name.",
    "container": "A new, empty container is best; the drives are imported into it.",
}


def ask_policy(
    name: str | None, fields: dict[str, Any], *, policies: Policies, now: datetime
) -> tuple[str, bool]:
    """Ask for what was not given, and put the answers among the fields.

    Returns:
        The policy's name, and whether its first copy travels by drive.
    """
    note("A new policy. Ctrl-C ends without saving.\n")
    name = name or _asked("Name of the policy", lambda text: _new_name(text, policies))
    if not fields["sources"] and not fields["images"]:
        fields["sources"] = _sources()
    if not fields["times"]:
        fields["times"] = _asked("Times of day", _times, default="22:00")
    offline = fields["offline"]
    if offline is None:
        note("\nHow does the first copy travel?\n  1. over the network\n  2. offline, on drives")
        offline = _asked("1 or 2", _method)
    if offline:
        _ask_offline_page(fields, now)
    return name, offline


def _ask_offline_page(fields: dict[str, Any], now: datetime) -> None:
    for key, question in SIX.items():
        if fields[key]:
            continue
        note(f"\n{_HELP[key]}" if key in _HELP else "")
        fields[key] = _asked(question, partial(_field, key, fields, now))


def _field(key: str, fields: dict[str, Any], now: datetime, text: str) -> str:
    """Return a field of the page, checked as far as it can be by itself and with the file."""
    value = offline_value(key, text)
    if key == "publish_settings":
        read_publish_settings(value)
    elif key == "subscription":
        read_publish_settings(fields["publish_settings"]).access(value, now=now)
    return value


def _asked(question: str, read: Callable[[str], _Answer], *, default: str | None = None) -> _Answer:
    """Ask until an answer keeps its rule."""
    while True:
        try:
            return read(ask(question, option="the options of the command", default=default))
        except RefusedError as refused:
            note(f"refused: {refused} [{refused.code}]")


def _new_name(text: str, policies: Policies) -> str:
    check_policy_name(text)
    if text in policies.names():
        raise PolicyExists(text)
    return text


def _sources() -> tuple[str, ...]:
    found = [_asked("Folder or file to protect", _source)]
    while (more := _asked("Another one (- for no more)", _source_or_end, default="-")) != "-":
        found.append(more)
    return tuple(dict.fromkeys(found))


def _source(text: str) -> str:
    if not text or text == "-":
        raise PolicyInvalid("source", "name at least one folder or file")
    return full_path(text)


def _source_or_end(text: str) -> str:
    return "-" if text == "-" else _source(text)


def _times(text: str) -> tuple[str, ...]:
    times = tuple(text.replace(",", " ").split())
    return given_schedule(times, ()).checked().times


def _method(text: str) -> bool:
    try:
        return _METHODS[text.lower()]
    except KeyError:
        raise PolicyInvalid("first_copy", "answer 1 (network) or 2 (offline)") from None


def told_after_staging(staging: str, job_name: str) -> str:
    """Return what the operator keeps for disk preparation (R56)."""
    return (
        "Keep these two for disk preparation; the staging folder holds both as well:\n"
        f"  staging location   {staging}\n"
        f"  import job name    {job_name}"
    )
