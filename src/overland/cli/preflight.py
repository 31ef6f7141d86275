"""`overland preflight`: every prerequisite of a first copy by drive, in one table."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click

from overland.adapters.serviceaccount import AccountUnknown, own_account, write_problem
from overland.agent.cloudfacts import CloudFacts
from overland.agent.clouds import profile_of
from overland.agent.mounts import Mounts
from overland.agent.policy import OfflineSettings, Policy, PolicyInvalid
from overland.agent.preflight import CHECKS, AccountFile, Finding, Preflight, Site
from overland.agent.seedrefusals import PreflightFailed, ServiceAccountAbsent
from overland.cli.machine import AgentMachine, http_to, open_agent
from overland.cli.outcome import Exit, json_option, note, show
from overland.cli.policyoptions import drafted_policy, offline_options, source_options
from overland.diskprep.publish_settings import (
    MAX_BYTES,
    PublishSettings,
    PublishSettingsInvalid,
    parse_publish_settings,
)
from overland.ports.http import accept

__all__ = ["findings_text", "preflight", "read_publish_settings", "refuse_unfit", "run_checks"]

_FSTAB: Final = Path("/etc/fstab")
_MARKS: Final = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "skipped": "skip"}


@click.command()
@click.argument("name", metavar="[POLICY]", required=False)
@source_options
@offline_options
@json_option
def preflight(name: str | None, *, as_json: bool, **fields: Any) -> int:
    """Check everything that the first copy by drive of POLICY needs, and say what to do.

    Without POLICY, what would be the policy is given as to `overland policy create --offline`;
    nothing is saved.  Every check is made, whatever the others find.  The exit code is 3 when one
    failed, and 0 when all passed or only warn.
    """
    with open_agent() as machine:
        if name is None:
            checked = drafted_policy(f"draft-{uuid4().hex}", fields, offline=True)
        else:
            checked = machine.policies.load(name)
        if checked.offline is None:
            raise PolicyInvalid("offline", "a first copy over the network needs no preflight")
        findings = run_checks(machine, checked, fields)
    failed = [each.check for each in findings if each.verdict == "fail"]
    show(
        {"policy": name, "passed": not failed, "findings": findings},
        findings_text(findings),
        as_json=as_json,
    )
    return int(Exit.REFUSED if failed else Exit.OK)


def run_checks(machine: AgentMachine, policy: Policy, fields: dict[str, Any]) -> list[Finding]:
    """Return what the checks find that are not left out.

    Raises:
        click.UsageError: A check that is to be left out does not exist.
        ServiceAccountAbsent: The account that runs are made by does not exist.
    """
    skip: Collection[str] = fields["skip_checks"]
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise click.UsageError(f"--skip-check: no check {unknown[0]}; one of {', '.join(CHECKS)}")
    site = _site(machine, fields["service_account"] or own_account(), fields["drive_bytes"])
    return Preflight(policy, site).run(skip=skip)


def refuse_unfit(machine: AgentMachine, policy: Policy, fields: dict[str, Any]) -> None:
    """Return if nothing failed; otherwise show the table, and what only warns in any case.

    Raises:
        PreflightFailed: Some checks failed.
        click.UsageError, ServiceAccountAbsent: As `run_checks`.
    """
    findings = run_checks(machine, policy, fields)
    failed = tuple(each.check for each in findings if each.verdict == "fail")
    told = findings if failed else [each for each in findings if each.verdict != "pass"]
    if told:
        note(findings_text(told))
    if failed:
        raise PreflightFailed(failed)


def findings_text(findings: Sequence[Finding]) -> str:
    """Return the table, with what to do below each row that did not pass."""
    lines = []
    for each in findings:
        code = f" [{each.code}]" if each.code else ""
        lines.append(f"{_MARKS[each.verdict]:<5} {each.check:<17} {each.found}{code}")
        if each.advice:
            lines.append(f"{'':<23} do: {each.advice}")
    return "\n".join(lines)


def read_publish_settings(path: str) -> PublishSettings:
    """Return what a publish settings file says.

    Raises:
        PublishSettingsInvalid: It cannot be read, or is another kind of file.
    """
    try:
        with Path(path).open("rb") as file:
            return parse_publish_settings(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise PublishSettingsInvalid(f"{path} cannot be read: {error.strerror}") from None


def _site(machine: AgentMachine, account: str, drive_bytes: int) -> Site:
    return Site(
        home=machine.home,
        policies=machine.policies,
        clock=machine.clock,
        mounts=Mounts.now(),
        fstab=_FSTAB.read_text(errors="replace") if _FSTAB.is_file() else "",
        scratch=str(machine.folder),
        service_account=account,
        drive_bytes=drive_bytes,
        facts=partial(_facts, machine),
        estimate=lambda policy: machine.data_path().estimate(policy),
        account_file=partial(_account_file, machine),
        write_problem=partial(_write_problem, account=account),
    )


def _facts(machine: AgentMachine, page: OfflineSettings) -> CloudFacts:
    return machine.connection().preflight(
        job_name=page.job_name,
        subscription_id=page.subscription_id,
        storage_account=page.storage_account,
        container=page.container,
    )


def _account_file(machine: AgentMachine, page: OfflineSettings) -> AccountFile:
    """Read the file, and ask its endpoint something with its own token."""
    settings = read_publish_settings(page.publish_settings)
    access = settings.access(page.subscription_id, now=machine.clock.now())
    http = http_to(access.url, token=access.token, ca_pem=access.ca_pem)
    accounts = "/providers/Microsoft.Storage/storageAccounts?api-version=2021-01-01"
    path = f"/subscriptions/{access.subscription_id}{accounts}"
    accept(http.request("GET", path), what="the publish settings file")
    return AccountFile(
        endpoint=access.url, cloud=profile_of(access.url).title, expires_at=access.expires_at
    )


def _write_problem(folder: str, *, account: str) -> str | None:
    try:
        return write_problem(folder, account=account)
    except AccountUnknown:
        raise ServiceAccountAbsent(account) from None
