"""Policies: what is protected, when, how the first copy travels, and how far the seed has come.

A policy and its progress are two documents, because the first is what a person decided and the
second is what happened since.  Both are replaced whole and durably; after a power cut each shows
its old or its new content.
"""

import re
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from overland.agent.refusals import PolicyAbsent
from overland.errors import ObjectAbsent, RefusedError
from overland.format.stored import RecordDamaged, decode_stored
from overland.ports.files import Files
from overland.source.rules import Rules
from overland.source.snapshotview import DEFAULT_PERCENT, SnapshotMode
from overland.source.streams import MAX_SILENCE_S
from overland.values import ACCOUNT_NAME, CONTAINER_NAME, POLICY_JOB_NAME, canonical_uuid
from overland.vault.retention import Retention

__all__ = [
    "CommandSource",
    "OfflineSettings",
    "Policies",
    "Policy",
    "PolicyInvalid",
    "Progress",
    "Schedule",
    "SeedPhase",
    "check_offline_field",
    "check_policy_name",
    "is_due",
    "next_run",
    "stream_path",
]

_POLICY_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_HALF_HOUR: Final = re.compile(r"(?:[01][0-9]|2[0-3]):(?:00|30)")
_SOURCES_MAX: Final = 10_000  # roots of a recovery point
_STREAM_NAME_MAX: Final = 255
_RUNS_PER_DAY_MAX: Final = 3
_CLOCK_DRIFT: Final = timedelta(hours=1)  # more is a clock that was wrong and was set back

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PolicyInvalid(RefusedError):
    """A field of a policy breaks its rule; `field` names it."""

    code = "policy-invalid"

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field


class SeedPhase(StrEnum):
    """Where the seed of a policy is; what the next run does follows from it alone."""

    CONFIGURED = "Configured"
    STAGING = "Staging"
    AWAITING_IMPORT = "AwaitingImport"
    ADOPTING = "Adopting"
    ONLINE = "Online"
    ABANDONED = "Abandoned"


class OfflineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The six fields of the offline page; all are needed."""

    staging_location: str
    publish_settings: str
    job_name: str
    subscription_id: str
    storage_account: str
    container: str


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When scheduled runs are due: up to three times a day, at full or half hours, local time."""

    times: tuple[str, ...] = ("22:00",)
    days: tuple[Weekday, ...] = _WEEKDAYS

    def checked(self) -> "Schedule":
        """Return the schedule if it keeps its rules.

        Raises:
            PolicyInvalid: It does not; says the rule.
        """
        if not 1 <= len(self.times) <= _RUNS_PER_DAY_MAX:
            raise PolicyInvalid("schedule", "one to three times a day")
        if not self.days:
            raise PolicyInvalid("schedule", "at least one day of the week")
        for text in self.times:
            if not _HALF_HOUR.fullmatch(text):
                raise PolicyInvalid(
                    "schedule", f"{text!r} is not a full or half hour such as 22:30"
                )
        return self


class CommandSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program whose output is one file of every recovery point.

    `argv` is stored as it stands here, in clear: secrets belong into the program's environment or
    its own files.  It may be silent for `timeout_s`, and no longer.
    """

    name: str
    argv: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One policy, as stored."""

    format: Literal[1] = 1
    name: str
    sources: tuple[str, ...]
    commands: tuple[CommandSource, ...] = ()
    images: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_from: tuple[str, ...] = ()
    exclude_from: tuple[str, ...] = ()
    exclude_caches: bool = False
    exclude_if_present: tuple[str, ...] = ()
    exclude_larger_than_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    one_file_system: bool = False
    snapshot: SnapshotMode = "none"
    snapshot_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = DEFAULT_PERCENT
    schedule: Schedule = Schedule()
    first_copy: Literal["network", "offline"]
    offline: OfflineSettings | None = None
    in_transit: Literal["protect", "wait"] = "protect"
    mean_chunk_kib: Annotated[int, msgspec.Meta(ge=16, le=2048)] = 256
    image_chunk_kib: Annotated[int, msgspec.Meta(ge=16, le=2048)] = 64
    retention: Retention = msgspec.field(default_factory=Retention)
    allowed_sources: tuple[Literal["removable", "read-only", "network", "locked"], ...] = ()

    def checked(self) -> "Policy":
        """Return the policy if every field keeps its rule.

        Raises:
            PolicyInvalid: The first field that does not, with the rule.
            PatternInvalid: A pattern of it cannot be understood.
        """
        check_policy_name(self.name)
        _check_sources((*self.sources, *self.images), commands=self.commands)
        Rules(include=self.include, exclude=self.exclude)
        _check_rule_files(self)
        self.schedule.checked()
        if (self.first_copy == "offline") != (self.offline is not None):
            raise PolicyInvalid("offline", "an offline first copy needs all six offline fields")
        if self.offline is not None:
            for field, value in msgspec.structs.asdict(self.offline).items():
                check_offline_field(field, value)
        return self


class Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to a policy since it was made.

    `announced` tells whether the cloud has the seed's signed manifest, and
    `unpublished_point_id` is a point that is safe in the vault and not in the cloud's catalog yet;
    the next run sees to that first, and says on what and on which version of the chain it was
    made.  `policy_id` is what the cloud knows the policy by, instead of its name.
    """

    format: Literal[1] = 1
    phase: SeedPhase
    seed_id: str | None = None
    seed_point_id: str | None = None
    last_point_id: str | None = None
    unpublished_point_id: str | None = None
    unpublished_base: str | None = None
    unpublished_chain_version: int | None = None
    policy_id: str | None = None
    announced: bool = False
    last_run_at: datetime | None = None
    last_outcome: str = ""


def check_policy_name(name: str) -> None:
    """Return if a policy may have this name.

    Raises:
        PolicyInvalid: It may not; says the rule.
    """
    if not _POLICY_NAME.fullmatch(name):
        raise PolicyInvalid("name", "1-64 lower-case letters, digits, '-' or '_' inside")


def stream_path(name: str) -> str:
    """Return the full path that a stream's file has in a recovery point; `/` may be left out."""
    return name if name.startswith("/") else f"/{name}"


def _check_sources(sources: tuple[str, ...], *, commands: tuple[CommandSource, ...]) -> None:
    if not sources and not commands:
        raise PolicyInvalid("source", "name at least one folder, file, image or command to protect")
    if len(sources) + len(commands) > _SOURCES_MAX:
        raise PolicyInvalid("source", f"name {_SOURCES_MAX:,} sources at most")
    _check_paths(sources)
    taken = {source.rstrip("/") for source in sources}
    for command in commands:
        path = stream_path(command.name)
        parts = path.split("/")[1:]
        if not path.isprintable() or {"", ".", ".."} & set(parts) or len(path) > _STREAM_NAME_MAX:
            raise PolicyInvalid("command", f"{command.name!r} does not do as a file's name")
        if not 0 < command.timeout_s <= MAX_SILENCE_S:  # nor is it NaN
            raise PolicyInvalid("timeout", f"more than 0 and at most {MAX_SILENCE_S:,.0f} seconds")
        _check_is_apart(path, taken)
        taken.add(path)


def _check_is_apart(path: str, taken: set[str]) -> None:
    """Refuse a stream whose file would lie in a source or another stream, or hold one."""
    for other in taken:
        if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
            raise PolicyInvalid(
                "command", f"{path} meets {other or '/'}, which the policy protects; rename it"
            )


def _check_rule_files(policy: Policy) -> None:
    for field in ("include_from", "exclude_from"):
        for path in getattr(policy, field):
            if not path.startswith("/"):
                raise PolicyInvalid(field, f"{path!r} is not an absolute path")
    for name in policy.exclude_if_present:
        if not name or "/" in name or not name.isprintable():
            raise PolicyInvalid("exclude_if_present", f"{name!r} is not the name of a file")


def _check_paths(sources: tuple[str, ...]) -> None:
    for source in sources:
        if not source.startswith("/"):
            raise PolicyInvalid("source", f"{source!r} is not an absolute path")
        if source.startswith("//"):  # POSIX lets it mean something else; here it never does
            raise PolicyInvalid("source", f"write {source!r} with one '/' in front")
        if {".", ".."} & set(source.split("/")):
            raise PolicyInvalid("source", f"write {source!r} without '.' and '..' in it")
        try:
            source.encode("utf-8")
        except UnicodeEncodeError:
            raise PolicyInvalid(
                "source", "the name of a source must be UTF-8 (names below it need not be)"
            ) from None


_NAME_RULES: Final = {
    "job_name": (
        POLICY_JOB_NAME,
        "2-64 lower-case letters, digits, '-' or '_', starting with a letter",
    ),
    "storage_account": (ACCOUNT_NAME, "3-24 lower-case letters and digits"),
    "container": (
        CONTAINER_NAME,
        "3-63 lower-case letters, digits and '-', no '--', letter or digit at both ends",
    ),
}


def check_offline_field(field: str, value: str) -> None:
    """Return if one field of the offline page keeps its rule.

    Raises:
        PolicyInvalid: It does not; says the rule.
    """
    if field in {"staging_location", "publish_settings"}:
        if not value.startswith("/"):
            raise PolicyInvalid(field, "an absolute path is needed")
    elif field == "subscription_id":
        try:
            canonical_uuid(value)
        except ValueError:
            raise PolicyInvalid(field, "a GUID is needed") from None
    else:
        pattern, rule = _NAME_RULES[field]
        if not pattern.fullmatch(value):
            raise PolicyInvalid(field, rule)


def next_run(schedule: Schedule, *, after: datetime) -> datetime:
    """Return the first instant after `after` at which a run is due.

    Times of day are read in the time zone of `after`; a time that daylight saving skips is due
    at the instant that the zone's rules give it.
    """
    assert after.tzinfo is not None, "instants are aware"
    zone = after.tzinfo
    for ahead in range(9):
        day = (after + timedelta(days=ahead)).date()
        if _WEEKDAYS[day.weekday()] not in schedule.days:
            continue
        for text in sorted(schedule.times):
            due = datetime.combine(day, time.fromisoformat(text), tzinfo=zone)
            if due > after:
                return due.astimezone(UTC)
    raise AssertionError("a schedule with a day and a time is due within nine days")


def is_due(schedule: Schedule, *, last_run_at: datetime | None, now: datetime) -> bool:
    """Return whether a time of the schedule has passed since the last run.

    A last run that lies in the future was noted while the clock was wrong: the policy is due,
    rather than not before that day comes.  Times of day are read in the time zone of `now`.
    """
    if last_run_at is None or last_run_at > now + _CLOCK_DRIFT:
        return True
    return next_run(schedule, after=last_run_at.astimezone(now.tzinfo)) <= now


class Policies:
    """The policies of this source computer, in a folder."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def names(self) -> list[str]:
        """Return all policies' names, sorted."""
        return [
            info.name.removeprefix("policies/").removesuffix(".policy.json")
            for info in self._files.names("policies/")
            if info.name.endswith(".policy.json")
        ]

    def load(self, name: str) -> Policy:
        """Return a policy.

        Raises:
            PolicyInvalid: No policy can have that name, or what is stored breaks a rule.
            PatternInvalid: A pattern in it cannot be understood.
            PolicyAbsent: There is no policy of that name.
            RecordDamaged: The file is not what `save` wrote, or another policy's.
        """
        check_policy_name(name)
        try:
            stored = self._files.read(f"policies/{name}.policy.json")
        except ObjectAbsent:
            raise PolicyAbsent(name, known=self.names()) from None
        record = f"policies/{name}.policy.json"
        policy = decode_stored(stored, Policy, name=record).checked()
        if policy.name != name:  # a copy would go on with the progress of the other
            raise RecordDamaged(record, check=f"it is the policy {policy.name}")
        return policy

    def save(self, policy: Policy) -> None:
        """Store a policy durably, replacing one of its name.

        Raises:
            PolicyInvalid, PatternInvalid: As `Policy.checked`; nothing was stored.
        """
        checked = policy.checked()
        self._files.write(
            f"policies/{checked.name}.policy.json",
            msgspec.json.format(msgspec.json.encode(checked)) + b"\n",
        )

    def delete(self, name: str) -> None:
        """Remove a policy's progress, then the policy, each durably.

        A power cut in between leaves the policy as it was before its first run; no new policy of
        that name ever goes on with the progress of this one.
        """
        self._files.delete(f"policies/{name}.progress.json")
        self._files.delete(f"policies/{name}.policy.json")

    def progress(self, name: str) -> Progress:
        """Return how far the policy has come; `Configured` before its first run.

        Raises:
            RecordDamaged: The file is not what `record` wrote.
            PolicyAbsent, PolicyInvalid: There is no such file, and `load` raises.
        """
        try:
            stored = self._files.read(f"policies/{name}.progress.json")
        except ObjectAbsent:
            offline = self.load(name).first_copy == "offline"
            return Progress(phase=SeedPhase.CONFIGURED if offline else SeedPhase.ONLINE)
        return decode_stored(stored, Progress, name=f"policies/{name}.progress.json")

    def record(self, name: str, progress: Progress) -> None:
        """Store how far the policy has come, durably."""
        self._files.write(
            f"policies/{name}.progress.json",
            msgspec.json.format(msgspec.json.encode(progress)) + b"\n",
        )
