"""The pages of docs/reference that are made from the program, so that they cannot disagree.

`.venv/bin/python -m tests.support.generatedpages` writes them; a tidy test compares.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
from tests.support.conformance import conformance_page
from tests.support.rolespage import roles_page

from overland.cli.explain import errors_page
from overland.cli.main import overland
from overland.cloud.services import Services
from overland.jobs import states
from overland.server.api import create_app

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"
REGENERATE: Final = ".venv/bin/python -m tests.support.generatedpages"

_METHODS: Final = ("get", "put", "post", "patch", "delete")
_Document = Mapping[str, Any]  # JSON
_State = TypeVar("_State", bound=StrEnum)
_Event = TypeVar("_Event", bound=StrEnum)


# -- commands.md -----------------------------------------------------------------------------


def commands_page() -> str:
    parts = [
        "# Commands\n",
        "Every command of `overland`, as `--help` shows it.",
        (
            "`--json` prints the result as one JSON document; "
            "[exit codes](exit-codes.md) and [errors](errors.md) say how commands end."
        ),
        "Made from the program; a test compares.\n",
    ]
    for path, command in _commands(overland, ("overland",)):
        parts.append(_command_text(path, command))
    return "\n".join(parts).rstrip() + "\n"


def _commands(
    group: click.Group, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group, info_name=path[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, "it was just listed"
        if isinstance(command, click.Group):
            yield (*path, name), command
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _command_text(path: tuple[str, ...], command: click.Command) -> str:
    level = "##" if len(path) == 2 else "###"
    lines = [f"{level} {' '.join(path)}", "", *_prose(command.help or ""), ""]
    if isinstance(command, click.Group):
        return "\n".join(lines)
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    lines += ["```", usage, "```", ""]
    rows = [_option_line(each) for each in command.params if isinstance(each, click.Option)]
    return "\n".join([*lines, *rows, ""] if rows else lines)


def _option_line(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    kind = "" if option.is_flag else " " + (option.metavar or _kind(option))
    notes = [option.help.rstrip(".") if option.help else ""]
    notes += ["required"] if option.required else []
    notes += ["may be repeated"] if option.multiple and "repeat" not in (option.help or "") else []
    notes += [f"also from `{option.envvar}`"] if isinstance(option.envvar, str) else []
    shown = option.show_default
    if isinstance(shown, str):
        notes.append(f"default {shown}")
    elif shown:
        default = option.default
        words = default if isinstance(default, tuple) else (default,)
        notes.append(f"default `{' '.join(str(word) for word in words)}`")
    said = "; ".join(note for note in notes if note)
    return f"- `{names}{kind}`" + (f": {said}." if said else "")


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(str(each) for each in option.type.choices)
    return option.type.name.upper()


def _prose(text: str) -> list[str]:
    """One sentence per line; what a `\\b` guards stays as it is, as a code block."""
    out: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if out:
            out.append("")
        if paragraph.startswith("\b"):
            out += ["```", *paragraph.removeprefix("\b").strip("\n").splitlines(), "```"]
        else:
            out += _sentences(" ".join(paragraph.split()))
    return out


def _sentences(text: str) -> list[str]:
    return re.sub(r"([.!?]) +(?=[A-Z`-])", r"\1\n", text).splitlines()


# -- states.md -------------------------------------------------------------------------------


def states_page() -> str:
    parts = [
        "# States\n",
        (
            "Import jobs, drives and seeds are in one state each, "
            "and change it by the events of these tables only."
        ),
        (
            "An event that the table does not have is refused with "
            "[event-refused](errors.md#event-refused), "
            "one whose need is not met with [condition-missing](errors.md#condition-missing)."
        ),
        "Jobs and drives follow the documented import service; *ours* marks additions.",
        "Made from `overland.jobs.states`; a test compares.\n",
        "## Import job\n",
        _table(states.JOB),
        "## Drive\n",
        _table(states.DRIVE),
        "## Seed\n",
        _table(states.SEED),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _table(table: Mapping[tuple[_State, _Event], states.Transition[_State]]) -> str:
    lines = ["| state | event | next state | caused by | needs |", "|---|---|---|---|---|"]
    for (state, event), to in table.items():
        needs = "; ".join(to.needs) or "-"
        by = f"{to.by}, *ours*" if to.ours else to.by
        lines.append(f"| {state} | `{event}` | {to.to} | {by} | {needs} |")
    return "\n".join([*lines, ""])


# -- api.md ----------------------------------------------------------------------------------


def api_page() -> str:
    # The routes are described without being called, so there need be no services behind them.
    description = create_app(cast("Services", None)).openapi()
    return "\n".join([_API_HEAD, *_routes(description), *_bodies(description)]).rstrip() + "\n"


_API_HEAD: Final = """\
# API

The cloud answers on two ports: the API, and the [data plane](#data-plane) for bulk bytes.
Every request but `GET /healthz` and those of [sign-in](#sign-in) has `Authorization: Bearer TOKEN`.
Routes below `/v1` are ours; the others follow the resource manager and the documented \
import service, need `api-version`, and do not care about upper and lower case; \
[how programs for Azure use them](import-export-api.md).
A failure has the body `{"error": {"code", "message", "target", "details"}}`; \
below `/v1` the code is one of [errors](errors.md).
The routes and bodies are made from the server's OpenAPI document, which a running cloud shows \
at `/openapi.json` and `/docs`; a test compares.

## Statuses

| status | meaning |
|---|---|
| 200, 201, 202, 204 | done; 201 when something was made |
| 400 | understood and refused, or malformed |
| 401 | no token, or one that is unknown, expired or revoked |
| 403 | the token does not allow this |
| 404 | absent, or not this token's to know of |
| 409 | it does not fit the present state, or the name is taken |
| 411, 413 | the length is missing, or too large |
| 503 | not now; the same request may succeed later |

## Data plane

| request | answer |
|---|---|
| `PUT /SPACE/NAME` with `Content-Length` and `x-overland-sha256` | 201 stored; 200 the same \
is there already; 409 other content is there; 422 the digest is wrong; 507 full |
| `GET /SPACE/NAME`, with at most one `Range` of bytes | 200 or 206; 416 outside the object |
| `HEAD /SPACE/NAME` | 200 with `Content-Length` |
| `DELETE /SPACE/NAME` | 204, also when there was nothing |
| `GET /SPACE?list&prefix=&after=&top=` | `{"objects": [{"name", "size_bytes"}], "next"}` |

The token is a grant of `POST /v1/grants`; names begin with one of the grant's prefixes.

On the socket of the cloud's own computer (`--object-socket`) a `PUT` may have \
`x-overland-attached: LENGTH` and no body: its content is then in a file that comes with it, as \
two descriptors (`SCM_RIGHTS`) with the first byte of the request. \
The first is a regular file, open for reading; the second a socket, on which a byte comes for each \
4 MiB, or shorter last part, that was read, and the end when no more is read. \
`GET /healthz` there has `"attachedFiles": true`. Everything else is as with a body.
"""


def _routes(description: _Document) -> Iterator[str]:
    tags: dict[str, list[str]] = {}
    for path, operations in description["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tags.setdefault(operation["tags"][0], []).append(_route(path, method, operation))
    for tag in sorted(tags):
        yield f"## {tag}\n"
        yield "| request | body | what it does |\n|---|---|---|"
        yield "\n".join(tags[tag]) + "\n"


def _route(path: str, method: str, operation: _Document) -> str:
    query = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    asked = "?" + "&".join(f"{name}=" for name in query) if query else ""
    shown = f"`{method.upper()} {path}{asked}`"
    body = _body_name(operation) or "-"
    first = " ".join(operation.get("description", "").split("\n\n")[0].split())
    return f"| {shown} | {body} | {first} |"


def _body_name(operation: _Document) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return _type(content["schema"]) if content else ""


def _bodies(description: _Document) -> Iterator[str]:
    yield "## Bodies\n"
    yield "Fields with a star are required.\n"
    for name, schema in sorted(description["components"]["schemas"].items()):
        if name in {"HTTPValidationError", "ValidationError"}:
            continue
        yield f"### {name}\n"
        about = " ".join(schema.get("description", "").split())
        yield from ([*_sentences(about), ""] if about else [])
        required = set(schema.get("required", ()))
        yield "| field | type |\n|---|---|"
        for field, kind in schema.get("properties", {}).items():
            yield f"| `{field}`{' *' if field in required else ''} | {_type(kind)} |"
        yield ""


def _type(schema: _Document) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for joint in ("anyOf", "allOf"):
        if joint in schema:
            return " or ".join(_type(each) for each in schema[joint])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema.get("type", "any"))


# -- all of them -----------------------------------------------------------------------------

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "api.md": api_page,
    "commands.md": commands_page,
    "conformance.md": conformance_page,
    "errors.md": errors_page,
    "roles.md": roles_page,
    "states.md": states_page,
}


def main() -> None:
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
