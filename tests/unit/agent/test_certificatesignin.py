"""The application's sign-in on the source computer, with a cloud made of answers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from tests.support.manualclock import ManualClock
from tests.support.simdisk import PowerCut, SimDisk

from overland.agent import certificate as certificates
from overland.agent.certificate import Certificates, OwnCertificate
from overland.agent.certificaterefusals import CertificateExpired, CertificateNotAccepted
from overland.agent.certificatesignin import ApplicationHttp, ApplicationSignIn
from overland.agent.home import Registration
from overland.agent.offlineidentity import OfflineIdentity
from overland.errors import ObjectAbsent
from overland.ports.http import Reply

TENANT, CLIENT = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
URL = "https://cloud.example:8443"
REGISTRATION = Registration(
    url=URL,
    object_url=URL,
    ca_pem="",
    vault_id="v",
    vault_name="harbour",
    source_computer_id="c",
    token="own",
)
IDENTITY = OfflineIdentity(
    tenant_id=TENANT,
    client_id=CLIENT,
    user_id="33333333-3333-4333-8333-333333333333",
    subscription_id="44444444-4444-4444-8444-444444444444",
    url="https://somewhere.else",
)
TOKEN: tuple[int, dict[str, object]] = (200, {"access_token": "t", "expires_in": 3600})


@pytest.fixture(autouse=True)
def _small_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_BITS", 2048)


class Cloud:
    """Answers forms in turn, the last one again and again; its API answers with `statuses`."""

    def __init__(self, *answers: tuple[int, dict[str, object]], claim: int = 200) -> None:
        self.answers, self.claim = list(answers), claim
        self.forms: list[tuple[str, Mapping[str, str]]] = []
        self.asked: list[tuple[str, Any]] = []  # Any: JSON
        self.statuses: list[int] = []
        self.tokens: list[str] = []

    def post(self, path: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, object]]:
        self.forms.append((path, form))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def request(
        self, method: str, path: str, *, json: object = None, raw: bytes | None = None
    ) -> Reply:
        self.asked.append((f"{method} {path}", json))
        status = self.statuses.pop(0) if self.statuses else self.claim
        return Reply(status=status, body={}, raw=b"")

    def to(self, token: str) -> "Cloud":
        self.tokens.append(token)
        return self


def made(clock: ManualClock, disk: SimDisk | None = None) -> OwnCertificate:
    return Certificates(disk or SimDisk()).make("0" * 32, now=clock.now())


def sign_in(cloud: Cloud, own: OwnCertificate, clock: ManualClock) -> ApplicationSignIn:
    serial = iter(range(1000))
    return ApplicationSignIn(
        IDENTITY,
        own,
        registration=REGISTRATION,
        own=cloud,
        post=cloud.post,
        clock=clock,
        random=lambda count: next(serial).to_bytes(count, "big"),
    )


def test_an_assertion_is_made_out_for_the_cloud_of_the_registration_and_never_twice() -> None:
    cloud, clock = Cloud(TOKEN), ManualClock()
    own = made(clock)
    signing_in = sign_in(cloud, own, clock)
    for _ in range(2):
        assert signing_in.token("scope")[0] == "t"
    public = x509.load_der_x509_certificate(own.der).public_key()
    claims = [
        jwt.decode(
            form["client_assertion"],
            public,  # type: ignore[arg-type]  # cryptography's union has kinds that jwt's lacks
            algorithms=["PS256"],
            audience=f"{URL}/{TENANT}/oauth2/v2.0/token",
            options={"verify_exp": False, "verify_iat": False},
        )
        for _, form in cloud.forms
    ]
    assert [each["sub"] for each in claims] == [CLIENT, CLIENT]
    assert claims[0]["jti"] != claims[1]["jti"]
    assert {path for path, _ in cloud.forms} == {f"/{TENANT}/oauth2/v2.0/token"}


@pytest.mark.requirement("R43")
def test_a_certificate_that_speaks_for_no_computer_is_claimed_once() -> None:
    cloud, clock = Cloud((400, {"error": "unauthorized_client"}), TOKEN), ManualClock()
    assert sign_in(cloud, made(clock), clock).token("scope")[0] == "t"
    [(path, body)] = cloud.asked
    assert path == f"POST /v1/tenants/mine/applications/{CLIENT}/claims"
    assert body["client_assertion"] not in {form["client_assertion"] for _, form in cloud.forms}


@pytest.mark.parametrize("claim", [401, 403, 404, 409])
def test_a_claim_that_is_refused_is_not_tried_again(claim: int) -> None:
    cloud, clock = Cloud((400, {"error": "unauthorized_client"}), claim=claim), ManualClock()
    with pytest.raises(CertificateNotAccepted):
        sign_in(cloud, made(clock), clock).token("scope")
    assert len(cloud.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            (401, {"error": "invalid_client", "error_description": "removed"}),
            CertificateNotAccepted,
        ),
        ((400, {"error": "invalid_scope"}), ObjectAbsent),
        ((200, {}), CertificateNotAccepted),
        ((200, {"access_token": "t", "expires_in": "soon"}), CertificateNotAccepted),
        ((302, {}), CertificateNotAccepted),
    ],
    ids=["refused", "no-such-seed", "empty", "odd", "elsewhere"],
)
def test_what_is_no_token_is_told_apart(
    answer: tuple[int, dict[str, object]], error: type[Exception]
) -> None:
    clock = ManualClock()
    with pytest.raises(error):
        sign_in(Cloud(answer), made(clock), clock).token("scope")


def test_an_expired_certificate_asks_for_nothing() -> None:
    cloud, clock = Cloud(TOKEN), ManualClock()
    signing_in = sign_in(cloud, made(clock), clock)
    clock.advance(certificates.LIFETIME)
    with pytest.raises(CertificateExpired):
        signing_in.token("scope")
    with pytest.raises(CertificateExpired):
        signing_in.claim()
    assert (cloud.forms, cloud.asked) == ([], [])


def test_a_token_is_kept_renewed_before_it_ends_and_when_it_is_refused() -> None:
    cloud, clock = Cloud(TOKEN), ManualClock()
    http = ApplicationHttp(sign_in(cloud, made(clock), clock), "scope", to=cloud.to, clock=clock)
    for _ in range(3):
        assert http.request("GET", "/x").status == 200
    assert len(cloud.tokens) == 1
    clock.advance(timedelta(seconds=3541))
    http.request("GET", "/x")
    assert len(cloud.tokens) == 2, "a minute before its end"
    cloud.statuses = [401]
    assert http.request("GET", "/x").status == 200
    assert len(cloud.tokens) == 3
    cloud.statuses = [401, 401]
    assert http.request("GET", "/x").status == 401, "a new token that is refused is the answer"
    assert len(cloud.tokens) == 4


@pytest.mark.requirement("R42")
def test_after_a_power_cut_every_listed_certificate_has_its_key() -> None:
    clock = ManualClock()
    for step in range(100):
        disk = SimDisk(cut_at=step)
        try:
            made(clock, disk)
            is_finished = True
        except PowerCut:
            is_finished = False
        kept = Certificates(disk)
        listed = kept.thumbprints()
        assert all(kept.load(each).thumbprint == each for each in listed)
        if is_finished:
            assert len(listed) == 1
            break
    else:
        pytest.fail("it never finishes")
