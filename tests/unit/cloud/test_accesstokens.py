"""Access tokens say what was issued, and nothing else verifies; keys rotate without a gap."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from tests.support.applicants import Program
from tests.support.cloud import LocalCloud

from overland.cloud import accesstokens, signingkeys
from overland.cloud.accesstokens import AccessClaims
from overland.cloud.refusals import TokenInvalid
from overland.cloud.tables_applications import signing_keys

TENANT = "11111111-1111-4111-8111-111111111111"
USER = "22222222-2222-4222-8222-222222222222"
URL = "https://cloud.test"


def claims(cloud: LocalCloud, **changes: Any) -> AccessClaims:  # Any: a field of the claims
    made = AccessClaims(
        token_id="33333333-3333-4333-8333-333333333333",
        subject_id=USER,
        subject_kind="user",
        tenant_id=TENANT,
        client_id="overland-cli",
        scopes=(),
        expires_at=cloud.clock.now() + timedelta(hours=1),
    )
    return replace(made, **changes)


def issue(cloud: LocalCloud, said: AccessClaims) -> str:
    with cloud.database.begin() as connection:
        return accesstokens.issue(
            connection,
            said,
            at=cloud.clock.now(),
            issuer_url=URL,
            random=cloud.random,
            table_key=cloud.services.table_key,
        )


def verify(cloud: LocalCloud, text: str) -> AccessClaims:
    with cloud.database.connect() as connection:
        return accesstokens.verify(connection, text, at=cloud.clock.now())


def rotate(cloud: LocalCloud) -> str:
    with cloud.database.begin() as connection:
        return signingkeys.rotate(
            connection,
            at=cloud.clock.now(),
            random=cloud.random,
            table_key=cloud.services.table_key,
        ).key_id


def published(cloud: LocalCloud) -> list[Any]:
    with cloud.database.connect() as connection:
        keys: Any = signingkeys.jwks(connection, at=cloud.clock.now())["keys"]
    return [each["kid"] for each in keys]


@pytest.mark.parametrize("kind", ["user", "application"])
@pytest.mark.parametrize("scopes", [(), ("certificate/ab", "seed/" + USER)])
def test_a_token_says_what_was_issued(cloud: LocalCloud, kind: Any, scopes: Any) -> None:
    said = claims(cloud, subject_kind=kind, scopes=scopes)
    assert verify(cloud, issue(cloud, said)) == said


def test_a_token_is_good_until_its_second_and_not_in_it(cloud: LocalCloud) -> None:
    token = issue(cloud, claims(cloud))
    cloud.clock.advance(timedelta(minutes=59, seconds=59))
    verify(cloud, token)
    cloud.clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenInvalid, match="expired"):
        verify(cloud, token)


def test_a_token_from_the_future_waits(cloud: LocalCloud) -> None:
    token = issue(cloud, claims(cloud))
    cloud.clock.advance(timedelta(minutes=-4))
    verify(cloud, token)
    cloud.clock.advance(timedelta(minutes=-2))
    with pytest.raises(TokenInvalid, match="not good yet"):
        verify(cloud, token)


def _recoded(token: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> str:
    """Return the token with another header or payload, and its signature as it was."""
    parts = token.split(".")
    header, payload = (json.loads(base64.urlsafe_b64decode(p + "==")) for p in parts[:2])
    change(header, payload)
    coded = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode()
        for each in (header, payload)
    ]
    return ".".join([*coded, parts[2]])


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "another subject": lambda _, payload: payload.update(sub=TENANT, oid=TENANT),
    "a later end": lambda _, payload: payload.update(exp=payload["exp"] + 1),
    "a wider scope": lambda _, payload: payload.update(scp="everything"),
    "another kind": lambda _, payload: payload.update(idtyp="app"),
    "no algorithm": lambda header, _: header.update(alg="none"),
    "a secret's algorithm": lambda header, _: header.update(alg="HS256"),
    "no key": lambda header, _: header.pop("kid"),
    "a key of nobody": lambda header, _: header.update(kid=USER),
    "a key that is no text": lambda header, _: header.update(kid=7),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_no_changed_token_verifies(cloud: LocalCloud, change: Any) -> None:
    token = _recoded(issue(cloud, claims(cloud)), change)
    with pytest.raises(TokenInvalid):
        verify(cloud, token)


def test_a_token_by_another_key_or_by_the_public_key_as_secret_is_refused(
    cloud: LocalCloud,
) -> None:
    good = issue(cloud, claims(cloud))
    header, payload = jwt.get_unverified_header(good), _payload(good)
    forged = jwt.encode(payload, Program(number=5).key_pem, "RS256", {"kid": header["kid"]})
    with cloud.database.connect() as connection:
        public = connection.execute(select(signing_keys.c.public_pem)).scalar_one()
    secret = base64.b64encode(public.encode()).decode()  # the library refuses a PEM as secret
    for token in (forged, jwt.encode(payload, secret, "HS256", {"kid": header["kid"]})):
        with pytest.raises(TokenInvalid):
            verify(cloud, token)


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "api://other"},
        {"iss": "https://cloud.test/other/v2.0"},
        {"oid": TENANT},
        {"exp": "soon"},
        {"exp": None},
        {"scp": ["a"]},
        {"idtyp": "root"},
        {"jti": None},
    ],
    ids=str,
)
def test_claims_that_we_never_write_are_refused_though_we_signed(
    cloud: LocalCloud, changed: dict[str, object]
) -> None:
    good = issue(cloud, claims(cloud))
    payload = {k: v for k, v in (_payload(good) | changed).items() if v is not None}
    with cloud.database.begin() as connection:
        key = signingkeys.signing_key(
            connection,
            at=cloud.clock.now(),
            random=cloud.random,
            table_key=cloud.services.table_key,
        )
    token = jwt.encode(payload, key.private_pem.reveal().decode(), "RS256", {"kid": key.key_id})
    with pytest.raises(TokenInvalid):
        verify(cloud, token)


DEEP = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode() + ".e30.e30"


@pytest.mark.parametrize(
    "text", ["", ".", "a.b.c", "é", "x" * 9000, "e30.e30.", "null.null.", DEEP], ids=range(8)
)
def test_what_is_no_token_is_refused(cloud: LocalCloud, text: str) -> None:
    with pytest.raises(TokenInvalid):
        verify(cloud, text)


def test_after_rotation_old_tokens_hold_and_new_ones_have_the_new_key(cloud: LocalCloud) -> None:
    old = issue(cloud, claims(cloud))
    cloud.clock.advance(timedelta(seconds=1))
    new_id = rotate(cloud)
    new = issue(cloud, claims(cloud))
    assert jwt.get_unverified_header(new)["kid"] == new_id
    assert published(cloud) == [new_id, jwt.get_unverified_header(old)["kid"]]
    verify(cloud, old)
    verify(cloud, new)


def test_a_retired_key_loses_its_private_half_at_once_and_is_forgotten_later(
    cloud: LocalCloud,
) -> None:
    issue(cloud, claims(cloud))
    second = rotate(cloud)
    with cloud.database.connect() as connection:
        kept = connection.execute(
            select(signing_keys.c.key_id).where(signing_keys.c.private_pem.is_not(None))
        )
        assert kept.scalars().all() == [second]
    cloud.clock.advance(signingkeys.PUBLISHED_AFTER)
    assert published(cloud) == [second], "no longer published, though not deleted yet"
    third = rotate(cloud)
    with cloud.database.connect() as connection:
        stored = set(connection.execute(select(signing_keys.c.key_id)).scalars())
    assert stored == {second, third}


def test_a_key_is_replaced_by_age_and_every_token_outlived_by_its_key(cloud: LocalCloud) -> None:
    first = jwt.get_unverified_header(issue(cloud, claims(cloud)))["kid"]
    cloud.clock.advance(signingkeys.ROTATED_AFTER - timedelta(seconds=1))
    last = issue(cloud, claims(cloud, expires_at=cloud.clock.now() + accesstokens.LONGEST))
    assert jwt.get_unverified_header(last)["kid"] == first
    cloud.clock.advance(timedelta(seconds=1))
    assert jwt.get_unverified_header(issue(cloud, claims(cloud)))["kid"] != first
    cloud.clock.advance(accesstokens.LONGEST - timedelta(seconds=2))
    verify(cloud, last)


def test_forgotten_keys_end_what_they_signed(cloud: LocalCloud) -> None:
    token = issue(cloud, claims(cloud))
    with cloud.database.begin() as connection:
        signingkeys.forget_all(connection)
    with pytest.raises(TokenInvalid):
        verify(cloud, token)


def test_the_published_set_holds_no_private_number(cloud: LocalCloud) -> None:
    issue(cloud, claims(cloud))
    with cloud.database.connect() as connection:
        keys: Any = signingkeys.jwks(connection, at=cloud.clock.now())["keys"]
    assert [set(each) for each in keys] == [{"kty", "use", "alg", "kid", "n", "e"}]


def test_no_text_does_worse_than_being_refused(cloud: LocalCloud) -> None:
    issue(cloud, claims(cloud))

    @given(text=st.text(max_size=300) | st.from_regex(r"e[\w-]{0,80}\.[\w-]{0,80}\.[\w-]{0,40}"))
    def refuse(text: str) -> None:
        with pytest.raises(TokenInvalid):
            verify(cloud, text)

    refuse()


def _payload(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found
