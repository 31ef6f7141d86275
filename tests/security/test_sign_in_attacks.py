"""Somebody attacks sign-ins: with a stolen password, a phished person, a copy of the tables."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from tests.support.cloud import LocalCloud
from tests.support.people import CHEAP, PASSWORD, Browser, Town, token_form

from overland.cloud import factors, passwords, proofs, signin, tables, tables_users, users
from overland.cloud.accesstokens import OAuthRefused
from overland.cloud.identity import Principal, Role, Scope
from overland.cloud.people import find_named
from overland.cloud.proofs import SignInRefused, change_password
from overland.cloud.ratelimits import network_of
from overland.cloud.refusals import Conflict
from overland.cloud.tables_applications import signing_keys
from overland.crypto.secrets import Secret
from overland.server.app import Options, _config, _sweeping

NEW = "five other words of hers"


@pytest.fixture
def town(cloud: LocalCloud) -> Town:
    return Town.of(cloud)


def reviewed(town: Town, name: str, asked: Any) -> Browser:
    """Return a browser that shows the page of consent to a person."""
    browser = Browser(town.cloud)
    browser.open("/device")
    code = asked["user_code"]
    assert browser.send("/device", code=code, name=name, password=PASSWORD).status == 200
    return browser


def during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let somebody act while the next password is checked."""
    real = passwords.matches

    def matches(*args: Any, **kwargs: Any) -> bool:
        monkeypatch.setattr(passwords, "matches", real)
        act()
        return real(*args, **kwargs)

    monkeypatch.setattr(passwords, "matches", matches)


def test_a_code_that_was_decided_meanwhile_does_not_become_the_victims(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.settle("ada", "owner")
    town.settle("mallory")
    asked = town.ask_code()
    attacker = reviewed(town, "mallory", asked)
    during(monkeypatch, lambda: allow(attacker))
    victim = Browser(town.cloud)
    victim.open("/device")
    shown = victim.send("/device", code=asked["user_code"], name="ada", password=PASSWORD)
    assert shown.status == 401
    tokens = town.form("token", token_form(device_code=asked["device_code"]))[1]
    me = town.cloud.http(tokens["access_token"]).ok("GET", "/v1/me")
    assert me["name"] == "mallory", "ada never saw what she would have let in"


def allow(browser: Browser) -> None:
    assert browser.send("/device/decision", decision="allow").status == 200


def by_new_password(town: Town) -> None:
    change_password(town.cloud.services, town.claimed("ada"), NEW)


def by_reset(town: Town) -> None:
    town.admin.ok("POST", "/v1/users/ada/invitation")


def by_pause(town: Town) -> None:
    town.admin.ok("PATCH", "/v1/users/ada", {"disabled": True})
    town.admin.ok("PATCH", "/v1/users/ada", {"disabled": False})


@pytest.mark.parametrize("ended", [by_new_password, by_reset, by_pause], ids=lambda f: f.__name__)
@pytest.mark.parametrize("was_allowed", [True, False], ids=["confirmed", "asked"])
def test_what_a_stolen_password_began_ends_with_it(
    town: Town, ended: Callable[[Town], None], *, was_allowed: bool
) -> None:
    town.settle("ada")
    asked = town.ask_code()
    thief = reviewed(town, "ada", asked)
    if was_allowed:
        allow(thief)
    ended(town)
    if not was_allowed:
        assert thief.send("/device/decision", decision="allow").status == 400
    status, answer = town.form("token", token_form(device_code=asked["device_code"]))
    assert (status, answer["error"]) == (400, "invalid_grant")


def test_a_reset_wins_over_a_password_that_is_being_changed(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.settle("ada")
    real, made = passwords.hashed, {}

    def hashed(*args: Any, **kwargs: Any) -> str:
        monkeypatch.setattr(passwords, "hashed", real)
        made.update(town.admin.ok("POST", "/v1/users/ada/invitation"))
        return real(*args, **kwargs)

    monkeypatch.setattr(passwords, "hashed", hashed)
    with pytest.raises(SignInRefused):
        change_password(town.cloud.services, town.claimed("ada"), NEW)
    change_password(town.cloud.services, town.claimed("ada", made["invitation"]), PASSWORD)


def test_a_password_is_changed_also_when_its_hash_is_outdated(town: Town) -> None:
    town.settle("ada")
    dearer = replace(CHEAP, passes=CHEAP.passes + 1)
    services = replace(town.cloud.services, password_cost=dearer)
    change_password(services, town.claimed("ada"), NEW)
    assert proofs.prove(services, town.claimed("ada", NEW)).name == "ada"


def test_a_failure_of_nobody_leaves_the_audit_as_it_is(town: Town) -> None:
    town.cloud.http(town.cloud.root_token).ok("POST", "/v1/signing-keys", {"end_tokens": True})
    with pytest.raises(SignInRefused):
        proofs.prove(town.cloud.services, town.claimed("nobody"))
    with town.cloud.database.connect() as connection:
        events = connection.execute(
            select(tables_users.audit.c.event).where(tables_users.audit.c.tenant_id == "")
        ).scalars()
        assert list(events) == ["access-tokens.ended", "signing-key.rotated"]


def with_factor(town: Town, name: str) -> str:
    """Return the secret of a person who has just turned a second factor on."""
    person = town.person(name)
    secret: str = person.ok("POST", "/v1/me/totp")["secret"]
    code = factors.code_at(secret, town.cloud.clock.now())
    person.ok("POST", "/v1/me/totp/confirm", {"code": code})
    town.cloud.clock.advance(timedelta(minutes=2))
    return secret


def test_a_copy_of_the_tables_holds_no_secret_that_signs_or_signs_in(town: Town) -> None:
    secret = with_factor(town, "ada")
    with town.cloud.database.connect() as connection:
        ada = find_named(connection, tenant_id=town.tenant_id, name="ada")
        pem = connection.execute(select(signing_keys.c.private_pem)).scalar_one()
    assert ada is not None
    assert ada.totp_secret is not None
    assert secret not in ada.totp_secret
    assert "PRIVATE KEY" not in pem
    dump = b"".join(str(row).encode() for row in rows(town))
    assert secret.encode() not in dump
    assert b"PRIVATE KEY" not in dump


def rows(town: Town) -> list[Any]:
    with town.cloud.database.connect() as connection:
        known = tables.metadata.sorted_tables
        return [row for table in known for row in connection.execute(select(table)).all()]


def test_a_second_factor_of_somebody_else_in_ones_own_row_opens_nothing(town: Town) -> None:
    secret = with_factor(town, "mallory")
    with_factor(town, "ada")
    known = tables_users.users
    with town.cloud.database.begin() as connection:
        theirs = select(known.c.totp_secret).where(known.c.name == "mallory").scalar_subquery()
        change = update(known).where(known.c.name == "ada")
        connection.execute(change.values(totp_secret=theirs))
    code = factors.code_at(secret, town.cloud.clock.now())
    with pytest.raises(SignInRefused):
        proofs.prove(town.cloud.services, town.claimed("ada", code=code))


def test_with_another_table_key_new_tokens_have_a_new_key_and_old_ones_hold(town: Town) -> None:
    token = town.sign_in(town.settle("ada", "reader")["name"])["access_token"]
    town.cloud.services = replace(town.cloud.services, table_key=Secret(bytes(32)))
    other = town.sign_in("ada")["access_token"]
    for each in (token, other):
        assert town.cloud.http(each).ok("GET", "/v1/me")["name"] == "ada"
    assert token.partition(".")[0] != other.partition(".")[0]


def test_ended_sessions_leave_nothing_behind(town: Town) -> None:
    town.settle("ada")
    town.settle("bob")
    town.sign_in("ada")
    kept = town.sign_in("bob")
    town.ask_code()
    town.admin.ok("PATCH", "/v1/users/ada", {"disabled": True})
    town.cloud.clock.advance(timedelta(minutes=11))
    with _sweeping(town.cloud.services):
        pass  # what a cloud does once when it starts, and then every few minutes
    with town.cloud.database.connect() as connection:
        left = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (
                tables_users.sessions,
                tables_users.refresh_tokens,
                tables_users.device_codes,
            )
        ]
    assert left == [1, 1, 0]
    again = town.form("token", token_form(refresh_token=kept["refresh_token"]))
    assert again[0] == 200, "who is still signed in notices nothing"


def test_when_too_many_passwords_are_hashed_at_once_others_wait_outside(town: Town) -> None:
    slots = town.cloud.services.form_slots
    taken = 0
    while slots.acquire(blocking=False):
        taken += 1
    browser = Browser(town.cloud)
    browser.open("/device")
    assert browser.send("/device", code="x", name="ada", password="p").status == 429
    assert 1 <= taken < 40, "fewer than the threads that serve everything else"
    slots.release()
    for _ in range(taken):  # each gives its place back, also when it fails
        browser.open("/device")
        assert browser.send("/device", code="x", name="ada", password="p").status == 401


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("there", "there"),
    ],
)
def test_one_customer_is_one_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_what_a_person_issued_ends_with_them_and_is_named_before(town: Town) -> None:
    town.settle("olga", "owner")
    owner = town.person("ada", "owner")
    owner.ok("POST", "/v1/users", {"name": "robot", "kind": "service", "role": "reader"})
    of_robot = owner.ok("POST", "/v1/users/robot/tokens", {"expires_in_days": 9})["token"]
    body = {"role": "admin", "expires_in_days": 9}
    first = owner.ok("POST", "/v1/tokens", body)["token"]
    second = town.cloud.http(first).ok("POST", "/v1/tokens", body)["token"]
    own = town.admin.ok("POST", "/v1/tokens", body)["token"]
    ada = town.admin.ok("GET", "/v1/users/ada")["user_id"]
    issuers = [each["issued_by"].partition(":") for each in town.admin.ok("GET", "/v1/tokens")]
    assert [each[0] for each in issuers] == ["root", "user", "user", "admin", "admin"]
    assert {each[2] for each in issuers if each[0] == "user"} == {ada}
    town.admin.ok("PATCH", "/v1/users/ada", {"disabled": True})
    states = [town.cloud.http(t).request("GET", "/v1/me").status for t in (first, second, of_robot)]
    assert states == [401, 401, 401]
    assert town.cloud.http(own).request("GET", "/v1/users").status == 200
    events = {each["event"]: each["target"] for each in town.admin.ok("GET", "/v1/audit")}
    assert events["tokens.revoked"] == "3 that ada had issued"


@pytest.mark.parametrize("way", ["disable", "delete"])
def test_what_a_person_issued_stays_when_that_is_said(town: Town, way: str) -> None:
    town.settle("olga", "owner")
    body = {"role": "admin", "expires_in_days": 9}
    kept = town.person("ada", "owner").ok("POST", "/v1/tokens", body)["token"]
    if way == "disable":
        town.admin.ok("PATCH", "/v1/users/ada", {"disabled": True, "keep_tokens": True})
    else:
        assert town.admin.request("DELETE", "/v1/users/ada?keep_tokens=true").status == 204
    assert town.cloud.http(kept).request("GET", "/v1/users").status == 200
    town.settle("eve", "owner")
    again = town.cloud.http(town.sign_in("eve")["access_token"])
    issued = again.ok("POST", "/v1/tokens", body)["token"]
    assert town.admin.request("DELETE", "/v1/users/eve").status == 204
    assert town.cloud.http(issued).request("GET", "/v1/users").status == 401


def test_every_way_to_make_or_end_a_credential_is_in_the_audit(cloud: LocalCloud) -> None:
    world = cloud.world("quay")
    admin = cloud.http(world.admin)
    admin.ok("POST", f"/v1/vaults/{world.vault_id}/credentials")
    admin.ok("POST", f"/v1/subscriptions/{world.subscription_id}/publish-settings")
    admin.ok("POST", "/v1/tokens", {"role": "admin", "expires_in_days": 9})
    token_id = admin.ok("GET", "/v1/tokens")[-1]["token_id"]
    assert admin.request("DELETE", f"/v1/tokens/{token_id}").status == 204
    told = [each["event"] for each in reversed(admin.ok("GET", "/v1/audit"))]
    assert told == [
        "token.issued",
        "vault-credentials.issued",
        "publish-settings.issued",
        "token.issued",
        "token.revoked",
    ]


def test_of_two_owners_who_stop_each_other_one_stays(town: Town) -> None:
    for name in ("ada", "bob"):
        town.settle(name, "owner")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(partial(stop, town), ("ada", "bob")))
    assert sorted(answers) == ["Conflict", "done"]


def stop(town: Town, name: str) -> str:
    services = town.cloud.services
    admin = Principal(
        token_id="t", role=Role.ADMIN, scope=Scope(tenant_id=town.tenant_id), subject_id=None
    )
    try:
        with services.call(admin) as call:
            users.set_disabled(call, name, is_disabled=True)
    except Conflict:
        return "Conflict"
    return "done"


@pytest.mark.parametrize("kind", ["device_code", "refresh_token"])
def test_of_many_who_redeem_at_once_one_gets_tokens(town: Town, kind: str) -> None:
    town.settle("ada")
    if kind == "device_code":
        asked = town.ask_code()
        allow(reviewed(town, "ada", asked))
        form = token_form(device_code=asked["device_code"])
    else:
        form = token_form(refresh_token=town.sign_in("ada")["refresh_token"])
    redeem = {
        "device_code": signin.redeem_device_code,
        "refresh_token": signin.redeem_refresh_token,
    }[kind]

    def status(_: int) -> str:
        try:
            redeem(town.cloud.services, town.tenant_id, form)
        except OAuthRefused as refused:
            return refused.error
        return "tokens"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(status, range(8)))
    assert answers == ["invalid_grant"] * 7 + ["tokens"]


@pytest.mark.parametrize("text", ["\\ud800", "\\udfff\\ud800aa", "\\u0000"])
def test_odd_characters_are_refused_and_fail_nothing(town: Town, text: str) -> None:
    person = town.person("ada", "owner")
    person.ok("POST", "/v1/me/totp")
    for path, field in [
        ("/v1/me/totp/confirm", "code"),
        ("/v1/users", "name"),
        ("/v1/role-assignments", "user"),
    ]:
        raw = f'{{"{field}": "{text}", "role": "reader"}}'
        raw = raw if field != "code" else f'{{"code": "{text}"}}'
        assert 400 <= person.request("POST", path, raw=raw.encode()).status < 500, path


def test_nobody_names_their_own_address(tmp_path: Path) -> None:
    options = Options(
        folder=tmp_path, host="127.0.0.1", port=0, object_port=0, public_name="localhost"
    )
    config = _config(options, _nothing)
    assert not config.proxy_headers, "whoever is on this computer could be anybody to the audit"


async def _nothing(*_: object) -> None:
    """Answer nobody."""
