"""docs/reference/roles.md, made from the program's tables of permissions and from its routes."""

from collections.abc import Mapping
from typing import Final

from tests.support.routes import CHECKED_AT, OPEN, Checked, guarded_routes

from overland.cloud.permissions import GRANTED, HELD, BuiltInRole, Permission, Role

__all__ = ["roles_page"]

MEANING: Final[Mapping[Checked, str]] = {
    "tenant": "the tenant as a whole",
    "subscription": "the subscription",
    "group": "the resource group: of the resource, of the job, of the vault of a computer, seed or \
recovery point, or where the role is assigned",
    "shown": "anywhere; only what may be read is shown or done",
    "anybody": "anywhere",
    "machine": "nowhere: machines alone do this",
    "self": "not needed: everybody has it for themselves",
}

_HEAD: Final = """\
# Roles

What people, service accounts and machines may do; what no table grants is refused with \
[forbidden](errors.md#forbidden), and the answer names the roles that were too low.
Made from the program; a test compares, and another one walks every route with every role at \
every scope.

A role is assigned at a tenant, a subscription or a resource group, and holds there and below.
Nobody grants more than they have, and the last owner of a tenant who can sign in stays.
The station operator's role is granted by the cloud's operator, at a tenant: who holds it says \
what arrived, which no customer says of their own drives.
"""


def roles_page() -> str:
    parts = [
        _HEAD,
        "## People and service accounts\n",
        _permissions({str(role): HELD[role] for role in BuiltInRole}),
        "## Machines\n",
        "Tokens that begin with `ov1_`, and access tokens of applications.\n",
        _permissions({str(role): GRANTED[role] for role in Role if role is not Role.USER}),
        "## Routes\n",
        "Where a person needs the permission:\n",
        *(f"- *{name}*: {meaning}." for name, meaning in MEANING.items()),
        "",
        _routes(),
        "## Without a token\n",
        "Who asks these has none yet.\n",
        *(f"- `{method} {path}`" for method, path in sorted(OPEN, key=lambda each: each[::-1])),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _permissions(roles: Mapping[str, frozenset[Permission]]) -> str:
    held = [each for each in Permission if any(each in given for given in roles.values())]
    lines = [f"| permission | {' | '.join(roles)} |", "|---" * (len(roles) + 1) + "|"]
    for permission in held:
        marks = ["yes" if permission in given else "-" for given in roles.values()]
        lines.append(f"| `{permission}` | {' | '.join(marks)} |")
    return "\n".join([*lines, ""])


def _routes() -> str:
    lines = ["| request | permission | needed at |", "|---|---|---|"]
    for route in guarded_routes():
        where = CHECKED_AT.get((route.method, route.path), "")
        lines.append(f"| `{route.method} {route.path}` | `{route.permission}` | {where} |")
    return "\n".join([*lines, ""])
