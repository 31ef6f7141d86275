"""The application's sign-in: client credentials by certificate, for one seed at a time.

A token is asked for with the scope of one seed, kept in memory, and renewed a minute before it
ends.  A certificate that was uploaded by hand speaks for no computer yet; at the first sign-in
this computer claims it, with its own token beside the certificate's key.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from typing_extensions import override

from overland.agent.certificate import Certificates, OwnCertificate, client_assertion
from overland.agent.certificaterefusals import CertificateNotAccepted, ThumbprintMissing
from overland.agent.connection import AdoptionReport, Connection, SeedReport
from overland.agent.home import Registration
from overland.agent.offlineidentity import OfflineIdentity
from overland.agent.settings import AgentSettings, thumbprint_setting
from overland.errors import NotAuthorised, ObjectAbsent
from overland.events import Log
from overland.ports.clock import Clock
from overland.ports.http import Http, RefusedByCloud, Reply, accept
from overland.values import SeedId

__all__ = [
    "DEFAULT_SCOPE",
    "ApplicationHttp",
    "ApplicationSignIn",
    "PostForm",
    "SeedConnection",
    "certificate_in_use",
    "seed_scope",
]

PostForm = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, object]]]
"""Sends a form to a path of the cloud; returns status and JSON.  Raises `Unreachable`."""

DEFAULT_SCOPE: Final = "api://overland/.default"

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLY: Final = timedelta(seconds=60)
_UNAUTHORISED: Final = 401

log = Log()


class ApplicationSignIn:
    """Tokens of one application for one computer."""

    def __init__(
        self,
        identity: OfflineIdentity,
        certificate: OwnCertificate,
        *,
        registration: Registration,
        own: Http,
        post: PostForm,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        """Sign in at the cloud that the computer is registered with, whatever the file says.

        `own` carries the computer's own token, for the claim.
        """
        self._identity, self._certificate = identity, certificate
        self._path = f"/{identity.tenant_id}/oauth2/v2.0/token"
        self._audience = f"{registration.url}{self._path}"
        self._own, self._post, self._clock, self._random = own, post, clock, random

    def token(self, scope: str) -> tuple[str, datetime]:
        """Return a token for a scope, and when it ends.

        Raises:
            CertificateExpired: Its days are over.
            RecordDamaged: Its key cannot be read.
            CertificateNotAccepted: The cloud does not take it: removed, or never uploaded.
            ObjectAbsent: The scope names a seed that is no open one of this computer.
            Unreachable: The cloud does not answer, or asks to wait.
        """
        self._certificate.check(self._clock.now())
        status, body = self._ask(scope)
        if body.get("error") == "unauthorized_client":
            self.claim()
            status, body = self._ask(scope)
        if body.get("error") == "invalid_scope":
            raise ObjectAbsent(f"open seed in {scope}")
        token, seconds = body.get("access_token"), body.get("expires_in")
        if status != 200 or not isinstance(token, str) or not isinstance(seconds, int):
            said = str(body.get("error_description") or body.get("error") or status)
            raise CertificateNotAccepted(self._certificate.thumbprint, said=said)
        return token, self._clock.now() + timedelta(seconds=seconds)

    def claim(self) -> None:
        """Let a certificate that was uploaded by hand speak for this computer; again is harmless.

        Raises:
            CertificateExpired, RecordDamaged, Unreachable: As `token`.
            CertificateNotAccepted: It is not there, or speaks for another computer.
        """
        self._certificate.check(self._clock.now())
        path = f"/v1/tenants/mine/applications/{self._identity.client_id}/claims"
        reply = self._own.request("POST", path, json={"client_assertion": self._assertion()})
        try:
            accept(reply, what="the claim of the certificate")
        except (NotAuthorised, ObjectAbsent, RefusedByCloud) as refused:
            raise CertificateNotAccepted(self._certificate.thumbprint, said=str(refused)) from None
        log.info("certificate.claimed", thumbprint=self._certificate.thumbprint)

    def _ask(self, scope: str) -> tuple[int, Mapping[str, object]]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._identity.client_id,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(),
            "scope": scope,
        }
        return self._post(self._path, form)

    def _assertion(self) -> str:
        return client_assertion(
            self._certificate,
            client_id=self._identity.client_id,
            audience=self._audience,
            now=self._clock.now(),
            random=self._random(16),
        )


class ApplicationHttp:
    """`Http` with an application's token, renewed before it ends and when it is refused."""

    def __init__(
        self, sign_in: ApplicationSignIn, scope: str, *, to: Callable[[str], Http], clock: Clock
    ) -> None:
        """Ask with tokens for `scope`; `to` opens a conversation with one."""
        self._sign_in, self._scope, self._to, self._clock = sign_in, scope, to, clock
        self._http: Http | None = None
        self._ends_at: datetime | None = None

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        """Send a request and return the answer; see the port, and `ApplicationSignIn.token`."""
        is_new = self._http is None
        reply = self._open().request(method, path, json=json, raw=raw)
        if reply.status != _UNAUTHORISED or is_new:
            return reply
        self._http = None  # keys were rotated, or an operator ended all tokens; nothing was done
        return self._open().request(method, path, json=json, raw=raw)

    def _open(self) -> Http:
        now = self._clock.now()
        if self._http is None or self._ends_at is None or now >= self._ends_at - _EARLY:
            token, self._ends_at = self._sign_in.token(self._scope)
            self._http = self._to(token)
        return self._http


class SeedConnection(Connection):
    """The agent's requests, those about a seed on its way with the application's token.

    Its state, the beginning of its adoption and how far that is: the three things that an
    application's token opens.  Everything else stays with the computer's own token.
    """

    def __init__(self, http: Http, *, seed_http: Callable[[SeedId], Http | None]) -> None:
        """Ask with `http`, and of a seed with what `seed_http` returns, None for the same."""
        super().__init__(http)
        self._seed_http = seed_http
        self._of_seeds: dict[SeedId, Connection | None] = {}

    @override
    def seed(self, seed_id: SeedId) -> SeedReport:
        """Return what the cloud knows of a seed.

        Raises:
            ObjectAbsent: The cloud knows no such seed, or no open one of this computer.
            CertificateExpired, CertificateNotAccepted: As `ApplicationSignIn.token`.
        """
        other = self._other(seed_id)
        return super().seed(seed_id) if other is None else other.seed(seed_id)

    @override
    def start_adoption(self, seed_id: SeedId) -> AdoptionReport:
        """Let the vault take over what landed in the container; start again if it ended short.

        Raises:
            ObjectAbsent, CertificateExpired, CertificateNotAccepted: As `seed`.
        """
        other = self._other(seed_id)
        return super().start_adoption(seed_id) if other is None else other.start_adoption(seed_id)

    @override
    def adoption(self, seed_id: SeedId) -> AdoptionReport:
        """Return how far the adoption is.

        Raises:
            ObjectAbsent, CertificateExpired, CertificateNotAccepted: As `seed`.
        """
        other = self._other(seed_id)
        return super().adoption(seed_id) if other is None else other.adoption(seed_id)

    def _other(self, seed_id: SeedId) -> Connection | None:
        if seed_id not in self._of_seeds:
            http = self._seed_http(seed_id)
            self._of_seeds[seed_id] = None if http is None else Connection(http)
        return self._of_seeds[seed_id]


def seed_scope(seed_id: SeedId) -> str:
    """Return the scope of a token for one seed alone."""
    return f"api://overland/seed/{seed_id}"


def certificate_in_use(
    identity: OfflineIdentity, settings: AgentSettings, certificates: Certificates
) -> OwnCertificate:
    """Return the certificate that signs in, as the settings name it.

    Raises:
        ThumbprintMissing: They name none.
        CertificateNotHere: Its key is not on this computer.
    """
    setting = thumbprint_setting(identity.user_id)
    thumbprint = settings.get(setting)
    if thumbprint is None:
        raise ThumbprintMissing(setting, known=identity.thumbprint)
    return certificates.load(thumbprint)
