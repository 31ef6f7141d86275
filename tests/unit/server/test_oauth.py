"""The token endpoint gives tokens for good assertions only, and says why not in OAuth's words."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from tests.support.applicants import Program, Tenancy
from tests.support.cloudsamples import Journey

from overland.cloud.tables_applications import used_assertions

PROGRAM, NEIGHBOUR = Program(), Program(number=1)
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def tenancy(journey: Journey) -> Tenancy:
    world = journey.world
    return Tenancy(cloud=journey.cloud, tenant_id=world.tenant_id, admin_token=world.admin)


@pytest.fixture
def client_id(tenancy: Tenancy, journey: Journey) -> str:
    application_id = tenancy.application()
    tenancy.enroll(application_id, PROGRAM, journey.computer_id)
    return application_id


def refused(tenancy: Tenancy, form: dict[str, str] | bytes, **headers: str) -> tuple[int, str, str]:
    answer = tenancy.post(form, **headers)
    body = answer.json()
    assert set(body) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"
    return answer.status, body["error"], body["error_description"]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize("kind", ["x5t", "x5t#S256", "x5c"])
def test_a_good_assertion_gets_a_token(
    tenancy: Tenancy, client_id: str, algorithm: str, kind: str
) -> None:
    assertion = PROGRAM.assertion(tenancy.claims(client_id), algorithm=algorithm, kind=kind)
    answer = tenancy.post(tenancy.form(assertion, client_id=client_id))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["scope"] == "api://overland/.default"
    assert tenancy.cloud.http(body["access_token"]).ok("GET", "/v1/seeds") == []


def at(tenancy: Tenancy, **shift: float) -> float:
    return (tenancy.cloud.clock.now() + timedelta(**shift)).timestamp()


GOOD: dict[str, Callable[[Tenancy], dict[str, object]]] = {
    "whole instants": lambda t: {"exp": int(at(t, minutes=9)), "iat": int(at(t))},
    "a fast clock": lambda t: {"iat": at(t, minutes=4), "nbf": at(t, minutes=4)},
    "a slow clock": lambda t: {"exp": at(t, minutes=-4), "iat": at(t, minutes=-14)},
    "no iat": lambda _: {"iat": None},
    "several audiences": lambda t: {"aud": ["https://other", t.endpoint]},
    "the issuer as audience": lambda t: {"aud": t.endpoint.replace("oauth2/v2.0/token", "v2.0")},
    "more claims": lambda _: {"nonce": "x", "roles": ["king"]},
}
BAD: dict[str, Callable[[Tenancy], dict[str, object]]] = {
    "no audience": lambda _: {"aud": None},
    "another audience": lambda _: {"aud": "https://login.example"},
    "another tenant's endpoint": lambda t: {"aud": t.endpoint.replace(t.tenant_id, NOWHERE)},
    "an audience that is no text": lambda _: {"aud": {"a": 1}},
    "no issuer": lambda _: {"iss": None},
    "another issuer": lambda _: {"iss": NOWHERE},
    "another subject": lambda _: {"sub": NOWHERE, "iss": NOWHERE},
    "a subject that is no id": lambda _: {"sub": "x", "iss": "x"},
    "no end": lambda _: {"exp": None},
    "over": lambda t: {"exp": at(t, minutes=-6)},
    "too long": lambda t: {"exp": at(t, minutes=66)},
    "not yet": lambda t: {"nbf": at(t, minutes=6)},
    "made in the future": lambda t: {"iat": at(t, minutes=6)},
    "an end that is no number": lambda _: {"exp": "tomorrow"},
    "an end that is true": lambda _: {"exp": True},
    "an end beyond the calendar": lambda _: {"exp": 10**400},
    "an endless end": lambda _: {"exp": float("inf")},
    "no end at all": lambda _: {"exp": float("nan")},
    "no jti": lambda _: {"jti": None},
    "an empty jti": lambda _: {"jti": ""},
    "a long jti": lambda _: {"jti": "x" * 513},
    "a jti that is no text": lambda _: {"jti": 7},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_clients_may_do_differently(tenancy: Tenancy, client_id: str, changes: Any) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id, **changes(tenancy))))
    assert tenancy.post(form).status == 200


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_claims_that_do_not_hold(tenancy: Tenancy, client_id: str, changes: Any) -> None:
    claims = tenancy.claims(client_id, **changes(tenancy))
    try:
        assertion = PROGRAM.assertion(claims)
    except TypeError:  # the library that signs refuses it too: sign it as a stranger would
        assertion = jwt.PyJWS().encode(
            json.dumps(claims).encode(), PROGRAM.key_pem, "RS256", PROGRAM.names("x5t")
        )
    assert refused(tenancy, tenancy.form(assertion))[:2] == (401, "invalid_client")


def _digest(kind: str, content: bytes) -> str:
    del kind
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


HEADERS: dict[str, dict[str, object]] = {
    "nothing": {},
    "another's certificate": NEIGHBOUR.names("x5t"),
    "another's chain": NEIGHBOUR.names("x5c"),
    "an empty thumbprint": {"x5t": ""},
    "a thumbprint that is no text": {"x5t": 7},
    "a thumbprint of another length": {"x5t": _digest("x5t", b"short")},
    "a chain that is no list": {"x5c": "x"},
    "an empty chain": {"x5c": []},
    "a chain of no base64": {"x5c": ["é"]},
    "a chain of numbers": {"x5c": [1]},
    "an unknown critical part": PROGRAM.names("x5t") | {"crit": ["x"], "x": 1},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_headers_that_name_no_certificate_of_the_application(
    tenancy: Tenancy, client_id: str, header: dict[str, object]
) -> None:
    assertion = PROGRAM.assertion(tenancy.claims(client_id), header=header)
    assert refused(tenancy, tenancy.form(assertion))[:2] == (401, "invalid_client")


def test_the_signature_has_to_be_that_of_the_entered_certificate(
    tenancy: Tenancy, client_id: str
) -> None:
    """Somebody else's key under our certificate's name; their own chain counts for nothing."""
    claims = tenancy.claims(client_id)
    for header in (
        PROGRAM.names("x5t"),
        PROGRAM.names("x5t#S256") | NEIGHBOUR.names("x5c"),
        PROGRAM.names("x5c") | {"jku": "https://evil.example", "jwk": {"kty": "RSA"}},
    ):
        forged = NEIGHBOUR.assertion(claims, header=header)
        status, error, description = refused(tenancy, tenancy.form(forged))
        assert (status, error) == (401, "invalid_client")
        assert "signature" in description


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS384", "RS512", "PS384", "PS512"])
def test_other_algorithms_are_refused(tenancy: Tenancy, client_id: str, algorithm: str) -> None:
    key = {"none": None, "HS256": "x" * 32}.get(algorithm, PROGRAM.key_pem)
    assertion = jwt.encode(tenancy.claims(client_id), key or "", algorithm, PROGRAM.names("x5t"))
    _, error, description = refused(tenancy, tenancy.form(assertion))
    assert error == "invalid_client"
    assert "RS256 or PS256" in description


def test_one_assertion_gets_one_token_for_a_scope_until_nobody_would_take_it(
    tenancy: Tenancy, client_id: str, journey: Journey
) -> None:
    journey.announce()
    claims = tenancy.claims(client_id, jti="once")
    form = tenancy.form(PROGRAM.assertion(claims))
    assert tenancy.post(form).status == 200
    status, error, description = refused(tenancy, form)
    assert (status, error, "used already" in description) == (401, "invalid_client", True)
    again = PROGRAM.assertion(claims, algorithm="PS256")  # another signature, the same id
    assert refused(tenancy, tenancy.form(again))[1] == "invalid_client"
    narrow = f"api://overland/seed/{journey.seed.seed_id}"
    assert tenancy.post(tenancy.form(form["client_assertion"], scope=narrow)).status == 200
    tenancy.cloud.clock.advance(timedelta(minutes=16))
    assert "expired" in refused(tenancy, form)[2]
    tenancy.token(client_id, PROGRAM)
    with tenancy.cloud.database.connect() as connection:
        count = connection.execute(select(func.count()).select_from(used_assertions)).scalar()
    assert count == 1, "what is too old to be taken is forgotten"


@pytest.mark.parametrize(
    "scope",
    [
        ".default",
        "api://overland//.default",
        "https://cloud.test/.default",
        "api://overland/.default .default",
        "https://cloud.test//.default api://overland//.default",
    ],
)
def test_another_spelling_of_a_scope_is_no_second_use(
    tenancy: Tenancy, client_id: str, scope: str
) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)))
    assert tenancy.post(form).status == 200
    status, error, _ = refused(tenancy, {**form, "scope": scope})
    assert (status, error) == (401, "invalid_client")


def test_scopes_are_those_of_one_resource(tenancy: Tenancy, client_id: str) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)))
    both = "api://overland/.default https://management.azure.com/.default"
    assert refused(tenancy, {**form, "scope": both})[:2] == (400, "invalid_scope")


def test_of_many_at_the_same_time_one_gets_the_token(tenancy: Tenancy, client_id: str) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: tenancy.post(form).status, range(8)))
    assert sorted(answers) == [200] + [401] * 7


def test_a_refused_assertion_is_not_used_up(tenancy: Tenancy, client_id: str) -> None:
    assertion = PROGRAM.assertion(tenancy.claims(client_id))
    wrong = tenancy.form(assertion, scope="https://graph.example/.default")
    assert refused(tenancy, wrong)[:2] == (400, "invalid_scope")
    assert tenancy.post(tenancy.form(assertion)).status == 200


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ("graph/.default", "invalid_scope"),
        ("offline_access", "invalid_scope"),
        ("api://overland/seed/x", "invalid_scope"),
        (f"api://overland/seed/{NOWHERE}", "invalid_scope"),
        (f".default seed/{NOWHERE}", "invalid_scope"),
        ("api://overland/certificate/ab", "invalid_scope"),
        (" ".join(f"s{i}" for i in range(21)), "invalid_scope"),
        (" ", "invalid_scope"),
    ],
)
def test_scopes_that_there_are_not(
    tenancy: Tenancy, client_id: str, scope: str, error: str
) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)), scope=scope)
    assert refused(tenancy, form)[:2] == (400, error)


def test_a_scope_may_be_left_out_and_named_by_any_of_our_resources(
    tenancy: Tenancy, client_id: str
) -> None:
    for scope in (
        "",
        ".default",
        "https://cloud.test/.default",
        "https://management.azure.com/.default",
        "https://management.azure.com//.default",
    ):
        form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)), scope=scope)
        assert tenancy.post(form).status == 200


def test_a_certificate_is_good_on_its_days_only(tenancy: Tenancy, journey: Journey) -> None:
    now = tenancy.cloud.clock.now()
    short = Program(number=2, not_before=now, not_after=now + timedelta(days=2))
    client_id = tenancy.application()
    tenancy.enroll(client_id, short, journey.computer_id)
    tenancy.cloud.clock.advance(timedelta(days=2, minutes=-30))
    assertion = short.assertion(tenancy.claims(client_id))
    answer = tenancy.post(tenancy.form(assertion)).json()
    assert answer["expires_in"] == 1800, "a token ends with its certificate"
    http = tenancy.cloud.http(answer["access_token"])
    assert http.request("GET", "/v1/seeds").status == 200
    tenancy.cloud.clock.advance(timedelta(minutes=30))
    assert http.request("GET", "/v1/seeds").status == 401
    late = tenancy.form(short.assertion(tenancy.claims(client_id)))
    assert refused(tenancy, late)[:2] == (401, "invalid_client")


def test_what_an_administrator_removes_opens_nothing_from_then_on(
    tenancy: Tenancy, client_id: str, journey: Journey
) -> None:
    tenancy.enroll(client_id, NEIGHBOUR, journey.computer_id)
    mine = tenancy.cloud.http(tenancy.token(client_id, PROGRAM))
    theirs = tenancy.cloud.http(tenancy.token(client_id, NEIGHBOUR))
    where = f"{tenancy.path}/{client_id}"
    thumbprint = ":".join(PROGRAM.sha1[i : i + 2] for i in range(0, 40, 2)).upper()
    tenancy.ask("DELETE", f"{where}/certificates/{thumbprint}")
    assert mine.request("GET", "/v1/seeds").status == 401
    assert theirs.request("GET", "/v1/seeds").status == 200
    tenancy.ask("DELETE", where)
    assert theirs.request("GET", "/v1/seeds").status == 401
    form = tenancy.form(NEIGHBOUR.assertion(tenancy.claims(client_id)))
    assert refused(tenancy, form)[:2] == (401, "invalid_client")


def test_an_application_is_known_at_its_own_tenant_only(client_id: str, journey: Journey) -> None:
    other_id, _ = journey.cloud.tenant("inland")
    other = Tenancy(cloud=journey.cloud, tenant_id=other_id, admin_token="")
    form = other.form(PROGRAM.assertion(other.claims(client_id)))
    assert refused(other, form)[:2] == (401, "invalid_client")
    nowhere = Tenancy(cloud=journey.cloud, tenant_id=NOWHERE, admin_token="")
    assert refused(nowhere, form)[:2] == (400, "invalid_tenant")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"client_assertion_type": "saml"}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_client"),
        ({"client_assertion": "x" * 16385}, "invalid_client"),
        ({"client_assertion": "a.b.c"}, "invalid_client"),
        ({"client_secret": "x"}, "invalid_request"),
        ({"client_id": NOWHERE}, "invalid_client"),
    ],
)
def test_forms_that_are_not_a_request_of_ours(
    tenancy: Tenancy, client_id: str, changes: dict[str, str], error: str
) -> None:
    form = tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)))
    assert refused(tenancy, form | changes)[1] == error


def test_bodies_that_are_not_a_form(tenancy: Tenancy, client_id: str) -> None:
    good = urlencode(tenancy.form(PROGRAM.assertion(tenancy.claims(client_id)))).encode()
    for body in (
        good + b"&scope=.default",
        good + b"&a=1" * 30,
        b"\xff=1",
        b"x" * (33 << 10),
        b"&%ff=1",
    ):
        assert refused(tenancy, body)[:2] == (400, "invalid_request")
    kind = {"content-type": "application/json"}
    assert refused(tenancy, good, **kind)[:2] == (400, "invalid_request")
    assert tenancy.post(good).status == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_assertion_makes_the_endpoint_fail(tenancy: Tenancy, data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=5,
    )
    names = st.sampled_from(["alg", "x5t", "x5t#S256", "x5c", "crit", "kid", "typ", "b64", "zip"])
    claims = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"])
    header = data.draw(st.dictionaries(names, values)) | {"alg": "RS256"}
    payload = data.draw(st.dictionaries(claims, values) | values)
    parts = [json.dumps(each).encode() for each in (header, payload)]
    text = ".".join(
        [*(_digest("", part) for part in parts), data.draw(st.text("abc-_=", max_size=9))]
    )
    tenancy.cloud.services.token_rate._windows.clear()
    assert refused(tenancy, tenancy.form(text))[:2] == (401, "invalid_client")
