"""All prerequisites of a first copy by drive, looked at at once, before anything is written.

Each check passes, warns or fails by itself and says what to do; a failure ends no other check.
What passes here is looked at again where it counts: the cloud's facts when the seed is announced,
the room when staging begins.  So a check may be left out, by name.
"""

import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, Literal

import msgspec

from overland import __version__
from overland.agent.backup.estimate import Estimate
from overland.agent.cloudfacts import CloudFacts
from overland.agent.groups import refuse_job_name
from overland.agent.home import AgentHome
from overland.agent.mounts import Mounts
from overland.agent.policy import OfflineSettings, Policies, Policy, SeedPhase
from overland.agent.seedrefusals import (
    AccountNotInSubscription,
    AccountWithoutPageBlobs,
    ClockSkewed,
    ContainerAbsent,
    JobNameTaken,
    ScratchTooSmall,
    SeedingNotAllowed,
    SeedTooLarge,
    StagingNotWritable,
    SubscriptionUnknown,
)
from overland.agent.setup import load_keys
from overland.agent.sourcekinds import source_problems
from overland.errors import OutOfSpace, OverlandError
from overland.jobs.importjob import MAX_DRIVES
from overland.ports.clock import Clock

__all__ = ["CHECKS", "AccountFile", "Finding", "Preflight", "Site", "Verdict"]

Verdict = Literal["pass", "warn", "fail", "skipped"]

CHECKS: Final = (
    *("registration", "vault", "version", "clock", "subscription", "capability"),
    *("storage-account", "account-kind", "container", "job-name", "publish-settings"),
    *("sources", "staging", "rights", "space", "scratch", "drives", "encryption"),
)
"""Every check by the name under which it can be left out, in the order of the table."""

_FIRST_ASKED: Final = "vault"

_SKEW_WARN_S: Final = 60.0
_SKEW_FAIL_S: Final = 300.0  # what sign-in with a signed, dated assertion commonly forgives
_SCRATCH_LEAST: Final = 0.05  # of the data: the documented range is 5 to 10 %
_SCRATCH_BETTER: Final = 0.10
_BEFORE_READY: Final = (SeedPhase.CONFIGURED, SeedPhase.STAGING)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found, what to do about it, and the code that `overland explain` knows."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    code: str = msgspec.field(default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFile:
    """What the publish settings file says of the page's subscription.  Holds no secret."""

    endpoint: str
    cloud: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the checks look at: this computer, and ways to ask the rest."""

    home: AgentHome
    policies: Policies
    clock: Clock
    mounts: Mounts
    fstab: str
    scratch: str
    service_account: str
    drive_bytes: int
    facts: Callable[[OfflineSettings], CloudFacts]
    estimate: Callable[[Policy], Estimate]
    account_file: Callable[[OfflineSettings], AccountFile]
    write_problem: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a check saw; with advice it warns."""

    found: str
    advice: str = ""


class Preflight:
    """The checks of one offline policy, which need not be saved."""

    def __init__(self, policy: Policy, site: Site) -> None:
        assert policy.offline is not None, "a first copy over the network needs no preflight"
        self._policy, self._page, self._site = policy, policy.offline, site
        saved = policy.name in site.policies.names()
        self._progress = site.policies.progress(policy.name) if saved else None

    def run(self, *, skip: Collection[str] = ()) -> list[Finding]:
        """Return what every check found, in their order; raises nothing of ours."""
        return [
            Finding(check=name, verdict="skipped", found="left out by --skip-check")
            if name in skip
            else self._finding(name)
            for name in CHECKS
        ]

    def _finding(self, name: str) -> Finding:
        look: Callable[[], _Seen] = getattr(self, f"_{name.replace('-', '_')}")
        try:
            seen = look()
        except (OverlandError, OSError) as error:
            found, _, advice = str(error).partition("; ")
            code = error.code if isinstance(error, OverlandError) else "operating-system"
            if self.__dict__.get("_asked") is error and name != _FIRST_ASKED:
                found, advice = "not known: the cloud could not be asked", f"see {_FIRST_ASKED}"
            return Finding(check=name, verdict="fail", found=found, advice=advice, code=code)
        verdict: Verdict = "warn" if seen.advice else "pass"
        return Finding(check=name, verdict=verdict, found=seen.found, advice=seen.advice)

    # -- what is asked once and used by several checks ----------------------------------------

    @cached_property
    def _asked(self) -> CloudFacts | OverlandError:
        try:
            return self._site.facts(self._page)
        except OverlandError as error:
            return error

    @property
    def _facts(self) -> CloudFacts:
        if isinstance(self._asked, OverlandError):
            raise self._asked
        return self._asked

    @cached_property
    def _estimate(self) -> Estimate:
        return self._site.estimate(self._policy)

    @property
    def _is_staged(self) -> bool:
        return self._progress is not None and self._progress.phase not in _BEFORE_READY

    # -- the vault and the cloud -------------------------------------------------------------

    def _registration(self) -> _Seen:
        name = self._site.home.identity().computer_name
        registration = self._site.home.registration()
        return _Seen(f"{name} is registered at {registration.url}")

    def _vault(self) -> _Seen:
        facts = self._facts
        if facts.vault_subscription_id == self._page.subscription_id.lower():
            return _Seen(f"vault {facts.vault_name}")
        return _Seen(
            f"vault {facts.vault_name} is in subscription {facts.vault_subscription_id}, "
            "the storage account in another",
            "this is allowed; go on if it is meant",
        )

    def _version(self) -> _Seen:
        if _parts(__version__) >= _parts(self._facts.version):
            return _Seen(f"Overland {__version__}")
        return _Seen(
            f"Overland {__version__} here, {self._facts.version} in the cloud",
            "update this computer: only the newest version is supported",
        )

    def _clock(self) -> _Seen:
        there = datetime.fromisoformat(self._facts.now)
        skew_s = (self._site.clock.now() - there).total_seconds()
        if abs(skew_s) > _SKEW_FAIL_S:
            raise ClockSkewed(skew_s)
        if abs(skew_s) > _SKEW_WARN_S:
            return _Seen(f"{abs(skew_s):.0f} s apart from the cloud's", "set the clock")
        return _Seen("agrees with the cloud's")

    def _subscription(self) -> _Seen:
        if not self._facts.is_subscription_known:
            raise SubscriptionUnknown(self._page.subscription_id)
        return _Seen(self._page.subscription_id)

    def _capability(self) -> _Seen:
        self._subscription()
        if not self._facts.is_seeding_allowed:
            raise SeedingNotAllowed(self._page.subscription_id)
        return _Seen("the subscription may seed by drive")

    def _storage_account(self) -> _Seen:
        page = self._page
        if self._facts.account_kind is None:
            raise AccountNotInSubscription(
                page.storage_account, subscription_id=page.subscription_id
            )
        return _Seen(f"{page.storage_account} in {self._facts.account_location}")

    def _account_kind(self) -> _Seen:
        self._storage_account()
        kind = str(self._facts.account_kind)
        if not self._facts.holds_page_blobs:
            raise AccountWithoutPageBlobs(self._page.storage_account, kind=kind)
        return _Seen(f"{kind} holds page blobs")

    def _container(self) -> _Seen:
        page = self._page
        if not self._facts.is_container_known:
            raise ContainerAbsent(page.container, account=page.storage_account)
        if not self._facts.is_container_empty and not self._is_staged:
            return _Seen(f"{page.container} is not empty", "make a new container for this seed")
        return _Seen(f"{page.container} is there")

    def _job_name(self) -> _Seen:
        page = self._page
        if self._progress is not None and self._progress.seed_id is not None:
            return _Seen(f"{page.job_name} is this policy's")
        refuse_job_name(self._policy, self._site.policies)
        if self._facts.job_problem is not None:
            raise JobNameTaken(page.job_name, problem=self._facts.job_problem)
        if self._facts.job_warning is not None:
            return _Seen(self._facts.job_warning, "choose another name unless this is meant")
        return _Seen(f"{page.job_name} is free")

    def _publish_settings(self) -> _Seen:
        file = self._site.account_file(self._page)
        until = f", until {file.expires_at:%Y-%m-%d}" if file.expires_at else ""
        return _Seen(f"{file.cloud} at {file.endpoint}{until}")

    # -- this computer -------------------------------------------------------------------------

    def _sources(self) -> _Seen:
        problems = source_problems(
            self._policy,
            self._site.mounts,
            fstab=self._site.fstab,
            allowed=self._policy.allowed_sources,
        )
        if problems:
            raise problems[0]
        count = len(self._policy.sources) + len(self._policy.images) + len(self._policy.commands)
        return _Seen(f"{count} of kinds that can be seeded")

    def _staging(self) -> _Seen:
        path = self._page.staging_location
        mount = self._site.mounts.of(path)
        if not os.path.isdir(path) or mount is None:  # noqa: PTH112 - stored as text
            raise StagingNotWritable(
                path, account=self._site.service_account, problem="it is not a folder"
            )
        kind = "removable drive" if self._site.mounts.is_removable(mount.device) else mount.kind
        shared = [each for each in self._policy.sources if _is_same_volume(each, path)]
        if shared:
            return _Seen(
                f"{path}: on the volume of {shared[0]}",
                "use a share or another drive, so that staging cannot fill the source's volume",
            )
        return _Seen(f"{path}: {kind}")

    def _rights(self) -> _Seen:
        path, account = self._page.staging_location, self._site.service_account
        problem = self._site.write_problem(path)
        if problem is not None:
            raise StagingNotWritable(path, account=account, problem=problem)
        return _Seen(f"{account} can write to the staging location")

    def _space(self) -> _Seen:
        if self._is_staged:
            return _Seen("the first copy is written already")
        needed, path = self._estimate.size_bytes, self._page.staging_location
        free = _free_bytes(path)
        if free < needed:
            raise OutOfSpace(path, needed_bytes=needed, free_bytes=free)
        if self._estimate.unknown:
            return _Seen(
                f"{free} bytes free for {needed}, and for {', '.join(self._estimate.unknown)}",
                "see that there is room for what these commands print",
            )
        return _Seen(f"{free} bytes free for {needed}")

    def _scratch(self) -> _Seen:
        path, size = self._site.scratch, self._estimate.size_bytes
        free = _free_bytes(path)
        if free < size * _SCRATCH_LEAST:
            raise ScratchTooSmall(
                path, free_bytes=free, needed_bytes=math.ceil(size * _SCRATCH_LEAST)
            )
        mount = self._site.mounts.of(path)
        if mount is not None and (mount.is_network or self._site.mounts.is_removable(mount.device)):
            return _Seen(
                f"{path} lies on {mount.source}", "keep the agent's home on a fixed local disk"
            )
        if free < size * _SCRATCH_BETTER:
            return _Seen(f"{free} bytes free, 5 to 10 % of the data", "leave some more room")
        return _Seen(f"{free} bytes free")

    def _drives(self) -> _Seen:
        limit = self._site.drive_bytes
        needed = max(1, math.ceil(self._estimate.size_bytes / limit))
        if needed > MAX_DRIVES:
            raise SeedTooLarge(needed, limit=MAX_DRIVES, drive_bytes=limit)
        return _Seen(f"{needed} of {limit} bytes at most, one job takes {MAX_DRIVES}")

    def _encryption(self) -> _Seen:
        load_keys(self._site.home)
        return _Seen("everything is sealed with AES-256-GCM before it is staged")


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _free_bytes(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _is_same_volume(source: str, staging: str) -> bool:
    try:
        return os.stat(source).st_dev == os.stat(staging).st_dev  # noqa: PTH116 - stored as text
    except OSError:
        return False  # another check says so
