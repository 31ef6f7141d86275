"""The rules that names obey, each checked where the name comes in.

Every function raises `Invalid` for what breaks its rule; the error names the value and the rule.
"""

import re
from typing import Final
from uuid import UUID

from overland.cloud.refusals import Invalid
from overland.values import ACCOUNT_NAME, CONTAINER_NAME, POLICY_JOB_NAME, TOP_UP_NAME

__all__ = [
    "check_account_name",
    "check_container_name",
    "check_drive_serial",
    "check_label",
    "check_policy_job_name",
    "check_public_key",
    "check_resource_name",
    "check_tracking_number",
    "check_uuid",
]

_RESOURCE: Final = re.compile(r"[A-Za-z0-9_(](?:[A-Za-z0-9._()-]*[A-Za-z0-9_()-])?")
# A part of paths and of logs' names, so it is never `.` or `..`.
_SERIAL: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,64}")
_TRACKING: Final = re.compile(r"[A-Za-z0-9-]{4,64}")
_PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")


def check_account_name(name: str) -> str:
    """Return a storage account's name: 3-24 lower-case letters and digits."""
    return _check(
        ACCOUNT_NAME, name, "storage account", "use 3 to 24 lower-case letters and digits"
    )


def check_container_name(name: str) -> str:
    """Return a container's name: 3-63 lower-case letters, digits and single hyphens."""
    rule = "use 3 to 63 lower-case letters, digits and single hyphens, no hyphen at either end"
    return _check(CONTAINER_NAME, name, "container", rule)


def check_resource_name(name: str, *, what: str, longest: int = 64) -> str:
    """Return the name of a resource group, a vault or an import job."""
    rule = f"use 1 to {longest} letters, digits, `-`, `_`, `(`, `)` and `.`, no `.` at the end"
    if len(name) > longest:
        raise Invalid(what, rule)
    return _check(_RESOURCE, name, what, rule)


def check_policy_job_name(name: str) -> str:
    """Return the import job's name that a policy asks for; the rule of the offline page."""
    rule = "use 2 to 64 lower-case letters, digits, `-` and `_`, a letter first"
    if TOP_UP_NAME.fullmatch(name):
        raise Invalid("import job name", "names with `-topup-` and a number are given by Overland")
    return _check(POLICY_JOB_NAME, name, "import job name", rule)


def check_drive_serial(serial: str) -> str:
    """Return a drive's serial number, which has no blanks."""
    rule = "use the drive's serial number: at most 64 letters, digits, `.`, `_` and `-`, no blanks"
    return _check(_SERIAL, serial, "driveId", rule)


def check_tracking_number(number: str) -> str:
    """Return a tracking number; there is one for each import job."""
    rule = (
        "give one tracking number of 4 to 64 letters, digits and hyphens; "
        "all drives of an import job travel in one parcel"
    )
    return _check(_TRACKING, number, "trackingNumber", rule)


def check_public_key(key: str, *, target: str) -> str:
    """Return an Ed25519 public key as 64 lower-case hexadecimal digits."""
    return _check(_PUBLIC_KEY, key, target, "give 64 lower-case hexadecimal digits")


def check_label(text: str, *, what: str, longest: int) -> str:
    """Return a text that people gave something as a name."""
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise Invalid(what, f"use 1 to {longest} printable characters")
    return text


def check_uuid(text: str, *, what: str) -> str:
    """Return a UUID in canonical form."""
    try:
        return str(UUID(text))
    except ValueError:
        raise Invalid(what, "give a UUID") from None


def _check(rule: re.Pattern[str], text: str, what: str, advice: str) -> str:
    if rule.fullmatch(text) is None:
        raise Invalid(what, advice)
    return text
