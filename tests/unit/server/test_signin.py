"""Signing in by device code: what is seen before consent, and what ends a session."""

from datetime import timedelta

import pytest
from tests.support.cloud import LocalCloud
from tests.support.people import PASSWORD, Browser, Town, token_form

STEP = timedelta(seconds=30)


@pytest.fixture
def town(cloud: LocalCloud) -> Town:
    return Town.of(cloud)


def test_a_person_sees_what_asks_and_from_where_before_it_gets_in(town: Town) -> None:
    town.settle("Ada", "owner")
    asked = town.ask_code(client_name='<script src="//x">')
    browser = Browser(town.cloud)
    page = browser.open(f"/device?code={asked['user_code']}").content.decode()
    assert asked["user_code"] in page
    seen = browser.send("/device", code=asked["user_code"].lower(), name="ada", password=PASSWORD)
    text = seen.content.decode()
    assert "&lt;script src=&quot;//x&quot;&gt;" in text
    assert "<script" not in text
    assert "<dd>there</dd>" in text, "the address that the command asked from"
    pending = town.form("token", token_form(device_code=asked["device_code"]))
    assert (pending[0], pending[1]["error"]) == (400, "authorization_pending")
    assert browser.send("/device/decision", decision="allow").status == 200
    status, tokens = town.form("token", token_form(device_code=asked["device_code"]))
    assert status == 200
    me = town.cloud.http(tokens["access_token"]).ok("GET", "/v1/me")
    assert (me["name"], me["roles"][0]["role"]) == ("Ada", "owner")
    again = town.form("token", token_form(device_code=asked["device_code"]))
    assert again[1]["error"] == "invalid_grant"


def test_who_refuses_gives_nothing(town: Town) -> None:
    town.settle("ada", "owner")
    asked, browser = town.ask_code(), Browser(town.cloud)
    browser.open("/device")
    browser.send("/device", code=asked["user_code"], name="ada", password=PASSWORD)
    hidden = dict(browser.hidden)
    browser.send("/device/decision", decision="refuse")
    assert town.form("token", token_form(device_code=asked["device_code"]))[1]["error"] == (
        "access_denied"
    )
    browser.hidden = hidden
    assert browser.send("/device/decision", decision="allow").status == 400, "a ticket counts once"


def test_who_polls_too_fast_is_slowed_down_and_codes_end(town: Town) -> None:
    asked = town.ask_code()
    form = token_form(device_code=asked["device_code"])
    answers = [town.form("token", form)[1]["error"] for _ in range(2)]
    town.cloud.clock.advance(timedelta(seconds=6))
    answers.append(town.form("token", form)[1]["error"])
    town.cloud.clock.advance(timedelta(seconds=15))
    answers.append(town.form("token", form)[1]["error"])
    assert answers == ["authorization_pending", "slow_down", "slow_down", "authorization_pending"]
    town.cloud.clock.advance(timedelta(minutes=10))
    assert town.form("token", form)[1]["error"] == "expired_token"
    assert town.form("token", {**form, "client_id": "another"})[0] == 401
    assert town.form("devicecode", {"client_id": "another"})[0] == 401


@pytest.mark.parametrize("damage", ["no cookie", "another cookie", "no field", "another field"])
def test_no_other_site_can_send_a_form(town: Town, damage: str) -> None:
    town.settle("ada", "owner")
    asked, browser = town.ask_code(), Browser(town.cloud)
    browser.open("/device")
    match damage:
        case "no cookie":
            browser.cookie = None
        case "another cookie":
            browser.cookie = "__Host-overland-form=" + "a" * 43
        case "no field":
            browser.hidden = {}
        case _:
            browser.hidden = {"form": "a" * 43}
    seen = browser.send("/device", code=asked["user_code"], name="ada", password=PASSWORD)
    assert seen.status == 400
    assert "too old" in seen.content.decode()


def test_pages_allow_no_script_and_no_frame(town: Town) -> None:
    browser = Browser(town.cloud)
    for path in ("/device", "/password", "/device?code=%3Cb%3E"):
        page = browser.open(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in page.content.decode()
        assert "<b>" not in page.content.decode()
        cookie = page.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("secure", "httponly", "samesite=strict", "__host-"))


def test_a_form_that_is_too_long_is_not_read(town: Town) -> None:
    browser = Browser(town.cloud)
    browser.open("/device")
    assert browser.send("/device", code="c" * 5000, name="ada", password="p").status == 400


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_session(town: Town) -> None:
    town.settle("ada", "owner")
    first = town.sign_in("ada")
    status, second = town.form("token", token_form(refresh_token=first["refresh_token"]))
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    http = town.cloud.http(second["access_token"])
    assert len(http.ok("GET", "/v1/sessions")) == 1
    stolen = town.form("token", token_form(refresh_token=first["refresh_token"]))
    assert (stolen[0], stolen[1]["error"]) == (400, "invalid_grant")
    assert http.request("GET", "/v1/me").status == 401, "access tokens end with the session"
    also = town.form("token", token_form(refresh_token=second["refresh_token"]))
    assert also[1]["error"] == "invalid_grant"
    events = [each["event"] for each in town.admin.ok("GET", "/v1/audit")]
    assert events[0] == "session.ended-by-reuse"


def test_a_session_ends_when_it_is_ended_or_its_person_is(town: Town) -> None:
    town.settle("ada", "owner")
    town.settle("bob", "reader")
    ada = town.cloud.http(town.sign_in("ada")["access_token"])
    tokens = town.sign_in("bob")
    bob = town.cloud.http(tokens["access_token"])
    assert [each["user"] for each in bob.ok("GET", "/v1/sessions")] == ["bob"]
    assert sorted(each["user"] for each in ada.ok("GET", "/v1/sessions")) == ["ada", "bob"]
    (own,) = [each for each in ada.ok("GET", "/v1/sessions") if each["user"] == "ada"]
    path = f"/v1/sessions/{own['session_id']}"
    assert bob.request("DELETE", path).status == 404, "not theirs to know of"
    ada.ok("PATCH", "/v1/users/bob", {"disabled": True})
    assert bob.request("GET", "/v1/me").status == 401
    refused = town.form("token", token_form(refresh_token=tokens["refresh_token"]))
    assert refused[1]["error"] == "invalid_grant"
    ada.ok("DELETE", path)
    assert ada.request("GET", "/v1/me").status == 401


def test_access_ends_soon_and_a_session_after_a_month(town: Town) -> None:
    town.settle("ada", "owner")
    tokens = town.sign_in("ada")
    town.cloud.clock.advance(timedelta(minutes=15))
    assert town.cloud.http(tokens["access_token"]).request("GET", "/v1/me").status == 401
    status, tokens = town.form("token", token_form(refresh_token=tokens["refresh_token"]))
    assert status == 200
    town.cloud.clock.advance(timedelta(days=30))
    assert town.form("token", token_form(refresh_token=tokens["refresh_token"]))[0] == 400


def test_codes_of_one_tenant_are_nothing_in_another(town: Town) -> None:
    town.settle("ada", "owner")
    asked = town.ask_code()
    other_id, _ = town.cloud.tenant("Other")
    other = Town(cloud=town.cloud, tenant_id=other_id, admin=town.admin)
    form = token_form(device_code=asked["device_code"])
    assert other.form("token", form)[1]["error"] == "invalid_grant"
    refresh = token_form(refresh_token=town.sign_in("ada")["refresh_token"])
    assert other.form("token", refresh)[1]["error"] == "invalid_grant"
    assert town.form("token", refresh)[0] == 200


def test_a_password_is_chosen_on_the_page_by_invitation(town: Town) -> None:
    made = town.invite("ada", "owner")
    browser = Browser(town.cloud)
    browser.open(f"/password?tenant={town.tenant_id}&name=ada")
    fields = {"tenant": town.tenant_id, "name": "ada", "proof": made["invitation"]}
    short = browser.send("/password", **fields, new="short", again="short")
    assert (short.status, "12 to 256" in short.content.decode()) == (400, True)
    odd = browser.send("/password", **fields, new=PASSWORD, again=PASSWORD + "x")
    assert odd.status == 400
    assert browser.send("/password", **fields, new=PASSWORD, again=PASSWORD).status == 200
    browser.open("/password")
    used = browser.send("/password", **fields, new=PASSWORD * 2, again=PASSWORD * 2)
    assert used.status == 401, "an invitation is good once"
    town.sign_in("ada")


def test_nobody_floods_the_cloud_with_passwords_to_hash(town: Town) -> None:
    browser = Browser(town.cloud)
    browser.open("/device")
    seen = [browser.send("/device", code="x", name="ada", password="p").status for _ in range(31)]
    assert (set(seen[:30]), seen[30]) == ({401}, 429)
    form = {"client_id": "overland-cli"}
    made = [town.form("devicecode", form)[0] for _ in range(11)]
    assert (set(made[:10]), made[10]) == ({200}, 429), "codes are counted by themselves"
    town.cloud.clock.advance(timedelta(minutes=1))
    browser.open("/device")
    assert browser.send("/device", code="x", name="ada", password="p").status == 401
