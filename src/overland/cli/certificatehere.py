"""The application that speaks for this computer, composed: its sign-in, and who uses it."""

import os
from collections.abc import Mapping
from functools import partial

import msgspec

from overland.adapters.http import Wire
from overland.agent.certificate import Certificates, OwnCertificate
from overland.agent.certificaterefusals import IdentityFileAbsent
from overland.agent.certificatesignin import (
    ApplicationHttp,
    ApplicationSignIn,
    SeedConnection,
    certificate_in_use,
    seed_scope,
)
from overland.agent.connection import Connection, Grant
from overland.agent.home import Registration
from overland.agent.offlineidentity import OfflineIdentities, OfflineIdentity
from overland.agent.policy import SeedPhase
from overland.agent.refusals import SeedAbsent
from overland.cli import signedin
from overland.cli.machine import AgentMachine, http_to
from overland.errors import OverlandError, Unreachable
from overland.events import Log
from overland.ports.answers import converted
from overland.ports.http import Http, accept
from overland.values import SeedId

__all__ = ["Opened", "identity_rows", "open_all", "seed_connection", "sign_in_here"]

_TIMEOUT_S = 30.0
_TOO_MANY = 429

log = Log()


def seed_connection(machine: AgentMachine, own: Http) -> SeedConnection:
    """Return the computer's requests; those about a seed carry its application's token."""
    return SeedConnection(own, seed_http=partial(_seed_http, machine))


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What the application's token opened of one seed."""

    seed_id: str
    seed_state: str
    job_name: str
    job_state: str | None
    landed_objects: int
    landed_bytes: int


def open_all(machine: AgentMachine, policy: str) -> Opened:
    """Read, with the application's token alone, what it opens of a policy's seed.

    Raises:
        SeedAbsent: The policy has no seed yet.
        IdentityFileAbsent: No application speaks for its storage account.
        ThumbprintMissing, CertificateNotHere: No certificate signs in.
        CertificateExpired, CertificateNotAccepted: As `ApplicationSignIn.token`.
    """
    seed_id = machine.policies.progress(policy).seed_id
    offline = machine.policies.load(policy).offline
    if seed_id is None or offline is None:
        raise SeedAbsent(policy)
    http = _seed_http(machine, SeedId(seed_id))
    if http is None:
        raise IdentityFileAbsent(offline.storage_account)
    report = Connection(http).seed(SeedId(seed_id))
    body = {"kind": "seed-container", "seed_id": seed_id}
    answer = accept(http.request("POST", "/v1/grants", json=body), what="the container")
    landed = [each.size_bytes for each in machine.open_grant(converted(answer, Grant)).names()]
    return Opened(
        seed_id=seed_id,
        seed_state=report.state,
        job_name=report.job_name,
        job_state=report.job.state if report.job else None,
        landed_objects=len(landed),
        landed_bytes=sum(landed),
    )


def sign_in_here(
    machine: AgentMachine, identity: OfflineIdentity, certificate: OwnCertificate
) -> ApplicationSignIn:
    """Return the sign-in of an application by a certificate of this computer."""
    registered = machine.registration()
    own = http_to(registered.url, token=registered.token, ca_pem=registered.ca_pem)
    return ApplicationSignIn(
        identity,
        certificate,
        registration=registered,
        own=own,
        post=partial(_post, registered),
        clock=machine.clock,
        random=os.urandom,
    )


def identity_rows(machine: AgentMachine) -> list[tuple[str, str]]:
    """Return a line for each storage account that an application speaks for, without asking it."""
    identities = OfflineIdentities(machine.files)
    return [
        (f"account {account}", _identity_text(machine, identities, account))
        for account in identities.accounts()
    ]


def _identity_text(machine: AgentMachine, identities: OfflineIdentities, account: str) -> str:
    try:
        identity = identities.load(account)
        found = certificate_in_use(identity, machine.settings(), Certificates(machine.files))
    except OverlandError as error:
        return f"does not sign in: {error} [{error.code}]"
    hint = "; run `overland cert renew`" if found.ends_soon(machine.clock.now()) else ""
    return f"{identity.application}, certificate until {found.not_after:%Y-%m-%d}{hint}"


def _seed_http(machine: AgentMachine, seed_id: SeedId) -> Http | None:
    """Return the conversation about one seed; None for the computer's own token."""
    account = _account_of(machine, seed_id)
    identities = OfflineIdentities(machine.files)
    is_needed = machine.settings().demands_application()
    if account is None or not (is_needed or account in identities.accounts()):
        return None
    identity = identities.load(account)
    certificate = certificate_in_use(identity, machine.settings(), Certificates(machine.files))
    if certificate.ends_soon(machine.clock.now()):
        log.warning(
            "certificate.ends_soon",
            thumbprint=certificate.thumbprint,
            ends_at=certificate.not_after.isoformat(),
            next="overland cert renew",
        )
    registered = machine.registration()
    return ApplicationHttp(
        sign_in_here(machine, identity, certificate),
        seed_scope(seed_id),
        to=lambda token: http_to(registered.url, token=token, ca_pem=registered.ca_pem),
        clock=machine.clock,
    )


def _account_of(machine: AgentMachine, seed_id: SeedId) -> str | None:
    """Return for which account a seed is under way; None for one that was given up.

    An application's token does not open those; their status is the computer's own matter.
    """
    for name in machine.policies.names():
        progress = machine.policies.progress(name)
        if progress.seed_id == seed_id and progress.phase is not SeedPhase.ABANDONED:
            offline = machine.policies.load(name).offline
            return None if offline is None else offline.storage_account
    return None


def _post(
    registered: Registration, path: str, form: Mapping[str, str]
) -> tuple[int, Mapping[str, object]]:
    wire = Wire(registered.url, None, registered.ca_pem or None, timeout_s=_TIMEOUT_S)
    answer = signedin.post_form(wire, path, form)
    if answer.status == _TOO_MANY:
        raise Unreachable("the cloud asks to wait before the next sign-in; try again in a minute")
    return answer.status, answer.body
