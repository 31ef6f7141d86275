"""What an application's token opens: how it is asked for, made out, and looked up again.

A token is for one certificate, and so for one source computer; it may be narrowed to some of that
computer's seeds.  It opens the import jobs of these seeds, what has arrived of them in their
containers, and the beginning of their adoption, and nothing else (`Role.APPLICATION`).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from overland.cloud import accesstokens, applications, assertions, computers
from overland.cloud.accesstokens import AUDIENCE, AccessClaims, OAuthRefused, TokenAnswer
from overland.cloud.applications import Enrolled
from overland.cloud.identity import Permission, Principal, Role, Scope, new_uuid
from overland.cloud.refusals import Conflict, Forbidden, TokenInvalid
from overland.cloud.services import Call, Services
from overland.cloud.tables import tenants
from overland.jobs.seeds import find_seed
from overland.jobs.states import SeedState

__all__ = [
    "ASSERTION_TYPE",
    "LIFETIME",
    "application_principal",
    "claim_certificate",
    "redeem_assertion",
    "tenant_exists",
    "token_endpoint",
]

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME: Final = timedelta(hours=1)

_MAX_SCOPES: Final = 20
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DEFAULT: Final = ".default"
_SEED: Final = "seed/"
_CERTIFICATE: Final = "certificate/"
# What the resource manager's clients ask for, in each of its clouds: they work unchanged here.
_RESOURCES: Final = frozenset(
    {
        AUDIENCE,
        "https://management.azure.com",
        "https://management.core.windows.net",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net",
        "https://management.chinacloudapi.cn",
        "https://management.core.chinacloudapi.cn",
    }
)


def token_endpoint(services: Services, tenant_id: str) -> str:
    """Return the address of a tenant's token endpoint: what an assertion is made out for."""
    return f"{services.endpoints.url}/{tenant_id}/oauth2/v2.0/token"


def tenant_exists(connection: Connection, tenant_id: str) -> bool:
    """Return whether there is a tenant of this id."""
    wanted = select(tenants.c.tenant_id).where(tenants.c.tenant_id == tenant_id)
    return connection.execute(wanted).first() is not None


def redeem_assertion(services: Services, tenant_id: str, form: Mapping[str, str]) -> TokenAnswer:
    """Return a token for the `client_credentials` of an application.

    Raises:
        OAuthRefused: In the words of RFC 6749 §5.2.
    """
    at = services.clock.now()
    with services.database.begin() as connection:
        proven = _proven(services, connection, tenant_id, form, at=at)
        computer_id = proven.enrolled.source_computer_id
        if computer_id is None:
            raise OAuthRefused(
                "unauthorized_client",
                "the certificate speaks for no source computer yet; "
                "let its computer claim it, or enter it again with source_computer_id",
            )
        scope = " ".join(sorted(set(form.get("scope", _DEFAULT).split())))  # as the client knows it
        seeds = _seeds(services, connection, scope, computer_id)
        assertions.note_use(connection, proven, scope=_use_of(services, scope), at=at)
        claims = AccessClaims(
            token_id=new_uuid(services.random),
            subject_id=proven.enrolled.application_id,
            subject_kind="application",
            tenant_id=tenant_id,
            client_id=proven.enrolled.application_id,
            scopes=(
                f"{_CERTIFICATE}{proven.enrolled.certificate.sha256}",
                *(f"{_SEED}{each}" for each in seeds),
            ),
            expires_at=min(at + LIFETIME, proven.enrolled.certificate.not_after),
        )
        token = accesstokens.issue(
            connection,
            claims,
            at=at,
            issuer_url=services.endpoints.url,
            random=services.random,
            table_key=services.table_key,
        )
    seconds = int((claims.expires_at - at).total_seconds())
    return TokenAnswer(access_token=token, expires_in=seconds, refresh_token=None, scope=scope)


def application_principal(
    connection: Connection, claims: AccessClaims, *, at: datetime
) -> Principal:
    """Return whom an application's token stands for now.

    Raises:
        TokenInvalid: The application or the certificate is gone, over, or speaks for nobody.
    """
    certificates = [
        scope.removeprefix(_CERTIFICATE)
        for scope in claims.scopes
        if scope.startswith(_CERTIFICATE)
    ]
    application = applications.load(connection, claims.subject_id, tenant_id=claims.tenant_id)
    found = None if application is None else _enrolled(connection, claims.subject_id, certificates)
    if found is None or found.source_computer_id is None:
        raise TokenInvalid("the application, or the certificate that signed, was removed")
    if at >= found.certificate.not_after:
        raise TokenInvalid("the certificate that signed has expired")
    seeds = tuple(scope.removeprefix(_SEED) for scope in claims.scopes if scope.startswith(_SEED))
    return Principal(
        token_id=claims.token_id,
        role=Role.APPLICATION,
        scope=Scope(
            tenant_id=claims.tenant_id,
            source_computer_id=found.source_computer_id,
            seed_ids=seeds,
        ),
        subject_id=claims.subject_id,
    )


def claim_certificate(call: Call, tenant_id: str, application_id: str, assertion: str) -> Enrolled:
    """Bind a certificate that was entered by hand to the source computer that is asking.

    It shows its own token and an assertion by the certificate's key, as for a token.

    Raises:
        Forbidden: The caller is no source computer of the tenant, or the assertion is not good.
        Conflict: The certificate speaks for another computer.
    """
    call.require(Permission.CLAIM_CERTIFICATES)
    computer = computers.own_computer(call)
    if tenant_id not in (applications.MINE, computer.tenant_id):
        raise Forbidden("these are the applications of another tenant")
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    try:
        proven = _proven(call.services, call.connection, computer.tenant_id, form, at=call.at)
        if proven.enrolled.application_id != application_id:
            raise Conflict("client_assertion", "it is that of another application")
        assertions.note_use(call.connection, proven, scope="claim", at=call.at)
    except OAuthRefused as refused:
        raise Forbidden(refused.description) from None
    return applications.bind_certificate(call, proven.enrolled, computer.source_computer_id)


def _proven(
    services: Services,
    connection: Connection,
    tenant_id: str,
    form: Mapping[str, str],
    *,
    at: datetime,
) -> assertions.Proven:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise OAuthRefused("invalid_request", f"client_assertion_type has to be {ASSERTION_TYPE}")
    if "client_secret" in form:
        raise OAuthRefused("invalid_request", "this cloud has no client secrets; use a certificate")
    url = services.endpoints.url
    proven = assertions.verify_assertion(
        connection,
        form.get("client_assertion", ""),
        tenant_id=tenant_id,
        audiences=frozenset(
            {token_endpoint(services, tenant_id), accesstokens.issuer_of(url, tenant_id)}
        ),
        at=at,
    )
    if form.get("client_id", proven.enrolled.application_id) != proven.enrolled.application_id:
        raise OAuthRefused("invalid_client", "client_id is not the assertion's subject", 401)
    return proven


def _seeds(
    services: Services, connection: Connection, text: str, computer_id: str
) -> tuple[str, ...]:
    """Return the seeds that a scope narrows a token to, sorted; none is all of the computer's."""
    names = text.split()
    if not 1 <= len(names) <= _MAX_SCOPES:
        raise OAuthRefused("invalid_scope", f"ask for 1 to {_MAX_SCOPES} scopes")
    parts = {_split(services, each)[1] for each in names}
    if parts == {_DEFAULT}:
        return ()
    return tuple(sorted(_seed_id(connection, each, computer_id) for each in parts))


def _use_of(services: Services, scope: str) -> str:
    """Return what an assertion is used for, the same in all spellings.

    Raises:
        OAuthRefused: It names several resources.
    """
    split = [_split(services, each) for each in scope.split()]
    if len({resource for resource, _ in split}) != 1:
        raise OAuthRefused("invalid_scope", "ask for the scopes of one resource at a time")
    return " ".join(sorted({f"{resource}/{part.lower()}" for resource, part in split}))


def _split(services: Services, scope: str) -> tuple[str, str]:
    """Return of which resource a scope is, ours by default, and what it asks for there."""
    if scope == _DEFAULT or scope.startswith(_SEED):
        return AUDIENCE, scope
    for resource in (*_RESOURCES, services.endpoints.url):
        for start in (f"{resource}/", f"{resource}//"):
            rest = scope.removeprefix(start)
            if rest != scope and (rest == _DEFAULT or rest.startswith(_SEED)):
                return AUDIENCE if resource == services.endpoints.url else resource, rest
    raise OAuthRefused("invalid_scope", f"ask for {AUDIENCE}/.default or {AUDIENCE}/seed/<uuid>")


def _seed_id(connection: Connection, part: str, computer_id: str) -> str:
    seed_id = part.removeprefix(_SEED).lower()
    if _UUID.fullmatch(seed_id) is None:
        raise OAuthRefused("invalid_scope", "name seeds by their UUID, or ask for .default")
    seed = find_seed(connection, seed_id)
    is_open = seed is not None and seed.state is not SeedState.ABANDONED
    if seed is None or not is_open or seed.source_computer_id != computer_id:
        raise OAuthRefused("invalid_scope", f"the computer has no open seed {seed_id}")
    return seed_id


def _enrolled(
    connection: Connection, application_id: str, thumbprints: Iterable[str]
) -> Enrolled | None:
    wanted = set(thumbprints)
    for each in applications.find_certificates(connection, application_id):
        if each.certificate.sha256 in wanted:
            return each
    return None
