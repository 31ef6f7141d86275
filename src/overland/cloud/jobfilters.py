"""Which jobs a list shows: the `$filter` of its request.

The documented service names the parameter and no grammar, so this is a small part of OData:
comparisons joined by `and` and `or`, where `and` binds closer, without brackets.  Texts are
compared without regard to case.  `docs/reference/import-export-api.md` lists the fields.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from overland.cloud.locations import find_location
from overland.cloud.refusals import Invalid, ResourceAbsent
from overland.jobs.importjob import ImportJob

__all__ = ["JobFilter", "parse_filter"]

JobFilter = Callable[[ImportJob], bool]
"""Says whether a list shows a job."""

_TOKEN: Final = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z0-9_./:+-]+))(?=\s|$)")
_TEXTS: Final[Mapping[str, Callable[[ImportJob], str]]] = {
    "name": lambda job: job.name,
    "location": lambda job: job.location,
    "state": lambda job: job.state,
    "jobtype": lambda job: job.job_type,
    "storageaccountid": lambda job: job.storage_account_id,
}
_CREATED: Final = "createdat"
_FIELDS: Final = "name, location, state, jobType, storageAccountId, systemData/createdAt"
_Token = tuple[str, bool]  # its text, and whether it was quoted


def parse_filter(text: str) -> JobFilter:
    """Return what `text` asks for.

    Raises:
        Invalid: It does not have the described form, or names a field that has no filter.
    """
    tokens = _tokens(text)
    alternatives: list[list[JobFilter]] = [[]]
    while True:
        alternatives[-1].append(_comparison(tokens[:3]))
        joint, tokens = tokens[3:4], tokens[4:]
        match joint:
            case []:
                break
            case [(word, False)] if word.casefold() == "and":
                continue
            case [(word, False)] if word.casefold() == "or":
                alternatives.append([])
            case _:
                raise _malformed()
    return lambda job: any(all(each(job) for each in group) for group in alternatives)


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _malformed()
        quoted, plain = match.groups()
        found.append((plain, False) if quoted is None else (quoted.replace("''", "'"), True))
        position = match.end()
    return found


def _comparison(tokens: list[_Token]) -> JobFilter:
    match tokens:
        case [(field, False), (operator, False), (value, is_text)]:
            name = field.rpartition("/")[2].casefold()
            if name == _CREATED:
                return _creation(operator, value)
            if name in _TEXTS and is_text and operator in ("eq", "ne"):
                return _text(name, operator, value)
    raise _malformed()


def _text(name: str, operator: str, value: str) -> JobFilter:
    read, wanted = _TEXTS[name], value.casefold()
    if name == "location":
        try:
            wanted = find_location(value).id
        except ResourceAbsent as absent:
            raise Invalid("$filter", str(absent)) from None
    return lambda job: (read(job).casefold() == wanted) is (operator == "eq")


def _creation(operator: str, value: str) -> JobFilter:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise Invalid("$filter", "createdAt is compared with an instant in ISO 8601") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    match operator:
        case "ge":
            return lambda job: job.created_at >= at
        case "le":
            return lambda job: job.created_at <= at
        case "gt":
            return lambda job: job.created_at > at
        case "lt":
            return lambda job: job.created_at < at
        case _:
            raise _malformed()


def _malformed() -> Invalid:
    return Invalid(
        "$filter",
        "compare as in `state eq 'Shipping' and name ne 'x'`, joined by and/or, without brackets; "
        f"there are {_FIELDS}; texts have eq and ne, createdAt has gt, ge, lt and le",
    )
