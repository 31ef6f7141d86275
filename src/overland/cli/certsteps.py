"""The steps behind `overland cert` and `AzureOfflineBackupCertGen`."""

import base64
import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from overland.adapters.http import UrllibHttp
from overland.adapters.posix import PosixFiles
from overland.agent.certificate import Certificates, OwnCertificate
from overland.agent.certificaterefusals import (
    ApplicationExists,
    CertificateNotAccepted,
    CertificateNotHere,
    CertificateNotUploaded,
    IdentityFileAbsent,
    IdentityFileInvalid,
    StrangerToHome,
    UserUnclear,
)
from overland.agent.offlineidentity import (
    MAX_IDENTITY_BYTES,
    OfflineIdentities,
    OfflineIdentity,
    encode_identity,
    parse_identity,
)
from overland.agent.policy import PolicyInvalid, check_offline_field
from overland.agent.seedrefusals import SubscriptionUnknown
from overland.agent.settings import CURRENT_USER, RESOURCE, thumbprint_setting
from overland.cli import signedin
from overland.cli.certificatehere import sign_in_here
from overland.cli.cloudcomputer import ApiClient, read_token
from overland.cli.machine import AgentMachine, overland_home
from overland.cli.refusals import FileTaken, FileUnusable
from overland.errors import NotAuthorised, ObjectAbsent
from overland.ports.http import RefusedByCloud

__all__ = [
    "PARAMS_FILE",
    "Entered",
    "caller",
    "create_application",
    "enroll",
    "pick",
    "refuse_strangers",
    "renew",
    "upload",
]

PARAMS_FILE: Final = "OfflineApplicationParams.xml"

_APPLICATIONS: Final = "/v1/tenants/mine/applications"


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """An account's identity, and the certificate that the cloud has taken for it."""

    storage_account: str
    application: str
    file: str
    thumbprint: str
    subject: str
    not_after: str


def refuse_strangers() -> None:
    """Return if this account owns the home folder, or there is none yet.

    The original asks for an elevated prompt; what that protects is the agent's state and the
    certificate's key, and here both belong to the account that backups run as.

    Raises:
        StrangerToHome: The folder is somebody else's.
    """
    for folder in (overland_home(), overland_home() / "agent"):
        if folder.exists() and folder.stat().st_uid != os.geteuid():
            owner = folder.stat().st_uid
            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:  # an account that was deleted
                name = f"user {owner}"
            raise StrangerToHome(str(folder), owner=name)


def caller(machine: AgentMachine, *, token_file: str | None) -> ApiClient | None:
    """Return whose rights an upload may use: of the token, or of who is signed in here; or None.

    The cloud is the one that this computer is registered with.

    Raises:
        AgentNotRegistered: It belongs to no vault yet.
        FileUnusable: The token's file cannot be read.
        SignInEnded, Unreachable: As `signedin.access_token`.
    """
    registered = machine.registration()
    if token_file is not None:
        token = read_token(token_file)
        http = UrllibHttp(registered.url, token, registered.ca_pem or None)
        return ApiClient(http, url=registered.url, ca_pem=registered.ca_pem)
    kept = signedin.read(overland_home())
    if kept is None or kept.url.rstrip("/") != registered.url:
        return None
    kept = signedin.access_token(overland_home())
    http = UrllibHttp(kept.url, kept.access_token, kept.ca_pem)
    return ApiClient(http, url=kept.url, ca_pem=kept.ca_pem)


def create_application(
    api: ApiClient, *, subscription: str, user_id: str | None, out: Path
) -> tuple[OfflineIdentity, Path]:
    """Make the application of a user if there is none, and write its identity file to `out`.

    Raises:
        StrangerToHome: As `refuse_strangers`; nothing was asked.
        PolicyInvalid: Subscription or user is no GUID.
        SubscriptionUnknown: The caller has no such subscription.
        UserUnclear: The token is nobody's, and no user was named.
        ApplicationExists: It was there, and is as it was; the file was written all the same.
        FileTaken: `out` is a file of another kind.
        FileUnusable: `out` is there and cannot be read.
    """
    refuse_strangers()
    subscription_id = _uuid("subscription", subscription)
    known = api.ask("GET", "/v1/subscriptions", "subscriptions")
    if subscription_id not in {each["subscription_id"] for each in known}:
        raise SubscriptionUnknown(subscription_id)
    user = _uuid("user id", user_id) if user_id else _own_id(api)
    name = f"AzureOfflineBackup_{user}"
    made = api.ask("POST", _APPLICATIONS, f"application {name}", json={"name": name})
    identity = OfflineIdentity(
        tenant_id=made["tenant_id"],
        client_id=made["client_id"],
        user_id=user,
        subscription_id=subscription_id,
        url=_own_address(api, made["tenant_id"]),
        ca_pem=api.ca_pem or "",
    )
    _write_params(out, identity)
    if not made["is_new"]:
        raise ApplicationExists(name, has_certificates=bool(made["certificates"]), params=str(out))
    return identity, out


def enroll(
    machine: AgentMachine,
    api: ApiClient | None,
    *,
    params: Path,
    account: str,
    subscription: str | None,
) -> Entered:
    """Let the application of `params` speak for this computer's seeds in a storage account.

    Stopped at any point, it is done by running it again: the key is durable before the identity
    file names it, and the setting that puts the certificate to use is written last.

    Raises:
        AgentNotRegistered: The computer belongs to no vault yet; nothing was read or made.
        PolicyInvalid: No account can have the name, or the subscription is no GUID.
        FileUnusable: The file cannot be read.
        IdentityFileInvalid: The file is none, or is for another subscription or cloud.
        CertificateNotUploaded: Everything is made, and the upload is up to somebody else.
    """
    registered = machine.registration()
    account = account.lower()
    check_offline_field("storage_account", account)
    given = _read_params(params)
    if subscription and _uuid("subscription", subscription) != given.subscription_id:
        raise IdentityFileInvalid(f"it was made for subscription {given.subscription_id}")
    if given.url != registered.url.rstrip("/"):
        raise IdentityFileInvalid(
            f"it is for the cloud at {given.url}, and this computer belongs to {registered.url}"
        )
    identities, certificates = OfflineIdentities(machine.files), Certificates(machine.files)
    _forget_other_application(machine, identities, account, given)
    found = _present(identities, certificates, given.client_id, machine)
    certificate = found or _made(machine, certificates)
    identity = replace(given, storage_account=account, thumbprint=certificate.thumbprint)
    identities.save(identity)
    machine.settings().set(CURRENT_USER, identity.user_id)
    return _enter(machine, api, identity, certificate)


def upload(machine: AgentMachine, api: ApiClient | None) -> list[Entered]:
    """Enter the certificate of every identity, or claim what was uploaded by hand; put it to use.

    Raises:
        CertificateNotUploaded: The cloud has not got it, and the caller may not enter it.
    """
    identities, certificates = OfflineIdentities(machine.files), Certificates(machine.files)
    done = [
        _enter(machine, api, identity, certificates.load(identity.thumbprint))
        for identity in (identities.load(account) for account in identities.accounts())
    ]
    in_use = {each.thumbprint for each in done}
    for old in set(certificates.thumbprints()) - in_use:
        certificates.forget(old)
    return done


def renew(machine: AgentMachine, api: ApiClient | None) -> list[Entered]:
    """Make a new certificate for each application and put it to use; the old one goes after that.

    Until the cloud has the new one, the old one stays in use.

    Raises:
        CertificateNotUploaded: As `upload`, which is how it is then completed.
    """
    identities, certificates = OfflineIdentities(machine.files), Certificates(machine.files)
    new: dict[str, OwnCertificate] = {}
    machine.registration()
    for identity in (identities.load(account) for account in identities.accounts()):
        if identity.client_id not in new:
            new[identity.client_id] = _made(machine, certificates)
        identities.save(replace(identity, thumbprint=new[identity.client_id].thumbprint))
    return upload(machine, api)


def pick(machine: AgentMachine, account: str | None) -> tuple[OfflineIdentity, OwnCertificate]:
    """Return the identity of an account, or of the first one, with the certificate made for it.

    Raises:
        IdentityFileAbsent: There is none.
        IdentityFileInvalid: Its file is damaged.
        CertificateNotHere: The certificate's key is not on this computer.
    """
    identities = OfflineIdentities(machine.files)
    accounts = identities.accounts()
    named = account.lower() if account else (accounts[0] if accounts else "account")
    if named not in accounts:
        raise IdentityFileAbsent(named)
    identity = identities.load(named)
    return identity, Certificates(machine.files).load(identity.thumbprint)


def _made(machine: AgentMachine, certificates: Certificates) -> OwnCertificate:
    resource_id = machine.settings().get(RESOURCE)
    assert resource_id is not None, "callers have asked for the registration"
    return certificates.make(resource_id, now=machine.clock.now())


def _enter(
    machine: AgentMachine,
    api: ApiClient | None,
    identity: OfflineIdentity,
    certificate: OwnCertificate,
) -> Entered:
    """Have the cloud know the certificate, by upload or by claim, and put it to use."""
    computer_id = machine.registration().source_computer_id
    why = f"nobody is signed in here at {machine.registration().url}"
    try:
        if api is None or (why := _uploaded(api, identity, certificate, computer_id)):
            sign_in_here(machine, identity, certificate).claim()
    except CertificateNotAccepted:
        raise CertificateNotUploaded(
            why,
            application=identity.application,
            file=str(machine.folder / "identity" / f"{certificate.thumbprint}.cer"),
            computer_id=computer_id,
        ) from None
    machine.settings().set(thumbprint_setting(identity.user_id), certificate.thumbprint)
    name = f"OfflineApplicationParams_{identity.storage_account}.xml"
    return Entered(
        storage_account=identity.storage_account,
        application=identity.application,
        file=str(machine.folder / "identity" / name),
        thumbprint=certificate.thumbprint,
        subject=certificate.subject,
        not_after=certificate.not_after.isoformat(),
    )


def _uploaded(
    api: ApiClient, identity: OfflineIdentity, certificate: OwnCertificate, computer_id: str
) -> str:
    """Enter a certificate beside those that are there; return why that failed, or nothing."""
    body = {
        "certificate": base64.b64encode(certificate.der).decode(),
        "source_computer_id": computer_id,
    }
    path = f"{_APPLICATIONS}/{identity.client_id}/certificates"
    try:
        api.ask("POST", path, f"application {identity.application}", json=body)
    except (NotAuthorised, ObjectAbsent, RefusedByCloud) as refused:
        return str(refused)
    return ""


def _present(
    identities: OfflineIdentities,
    certificates: Certificates,
    client_id: str,
    machine: AgentMachine,
) -> OwnCertificate | None:
    """Return a certificate that this computer has for an application, if it lasts a while."""
    for identity in (identities.load(account) for account in identities.accounts()):
        if identity.client_id == client_id and identity.thumbprint:
            try:
                found = certificates.load(identity.thumbprint)
            except CertificateNotHere:
                continue
            if not found.ends_soon(machine.clock.now()):
                return found
    return None


def _forget_other_application(
    machine: AgentMachine, identities: OfflineIdentities, account: str, given: OfflineIdentity
) -> None:
    """Put the certificate of an application that was deleted and made anew out of use."""
    if account not in identities.accounts():
        return
    old = identities.load(account)
    if (old.client_id, old.user_id) != (given.client_id, given.user_id):
        machine.settings().unset(thumbprint_setting(old.user_id))


def _own_address(api: ApiClient, tenant_id: str) -> str:
    """Return the cloud's address as it spells it itself, and its vault credentials do."""
    path = f"/{tenant_id}/v2.0/.well-known/openid-configuration"
    endpoint = str(api.ask("GET", path, "the tenant's endpoints")["token_endpoint"])
    return endpoint.removesuffix(f"/{tenant_id}/oauth2/v2.0/token").rstrip("/")


def _own_id(api: ApiClient) -> str:
    try:
        return str(api.ask("GET", "/v1/me", "who is signed in")["user_id"])
    except NotAuthorised:
        raise UserUnclear from None


def _write_params(out: Path, identity: OfflineIdentity) -> None:
    path = out.absolute()
    if path.exists():
        try:
            parse_identity(_content(path))
        except IdentityFileInvalid:
            raise FileTaken(out) from None
    PosixFiles(path.parent).write(path.name, encode_identity(identity))


def _read_params(params: Path) -> OfflineIdentity:
    return parse_identity(_content(params))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_IDENTITY_BYTES + 1)
    except OSError as error:
        raise FileUnusable(path, problem=str(error.strerror)) from None


def _uuid(what: str, text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise PolicyInvalid(what, "a GUID is needed") from None
