"""Passwords, second factors, and what somebody learns who guesses."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cloud import LocalCloud
from tests.support.people import CHEAP, PASSWORD, Town

from overland.cloud import factors, passwords, people, proofs
from overland.cloud.people import User
from overland.cloud.proofs import SignInRefused, prove, wait_after
from overland.cloud.refusals import Invalid

STEP = timedelta(seconds=30)


@pytest.fixture
def town(cloud: LocalCloud) -> Town:
    return Town.of(cloud)


def stored(town: Town, name: str) -> User:
    with town.cloud.database.connect() as connection:
        found = people.find_named(connection, tenant_id=town.tenant_id, name=name)
    assert found is not None
    return found


def is_in(town: Town, name: str, password: str = PASSWORD, code: str = "") -> bool:
    try:
        prove(town.cloud.services, town.claimed(name, password, code=code))
    except SignInRefused:
        return False
    return True


def test_the_standard_is_the_second_choice_of_rfc_9106() -> None:
    made = passwords.hashed(PASSWORD, cost=passwords.STANDARD, random=bytes)
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(PASSWORD, made, cost=passwords.STANDARD)
    assert not passwords.matches(PASSWORD + "x", made, cost=passwords.STANDARD)


def test_a_name_in_any_case_and_the_password_in_its_own(town: Town) -> None:
    town.settle("Ada")
    assert is_in(town, "ada")
    assert is_in(town, "ADA")
    assert not is_in(town, "ada", PASSWORD.upper())
    assert not is_in(town, "ada", PASSWORD + "\x00")
    assert not is_in(town, "ada", "x" * 300)


def test_the_answer_is_the_same_whatever_is_wrong(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.settle("ada")
    town.settle("bob")
    town.admin.ok("PATCH", "/v1/users/bob", {"disabled": True})
    town.invite("eve")
    town.admin.ok("POST", "/v1/users", {"name": "robot", "kind": "service"})
    hashes = []
    verify = Argon2id.verify_phc_encoded

    class Counting:
        @staticmethod
        def verify_phc_encoded(password: bytes, expected: str) -> None:
            hashes.append(expected.split("$")[3])
            verify(password, expected)

    known = passwords.hashed("x", cost=CHEAP, random=bytes)
    monkeypatch.setattr(passwords, "_nobodys", lambda _: known)
    monkeypatch.setattr(passwords, "Argon2id", Counting)
    said = set()
    for name in ("ada", "bob", "eve", "robot", "nobody", ""):
        with pytest.raises(SignInRefused) as refused:
            prove(town.cloud.services, town.claimed(name, "not the password"))
        said.add(str(refused.value))
    with pytest.raises(SignInRefused) as refused:
        prove(town.cloud.services, replace(town.claimed("ada"), tenant_id=None))
    said.add(str(refused.value))
    assert len(said) == 1
    assert hashes == ["m=64,t=1,p=1"] * 7, "each costs one hash of the same parameters"


def test_failures_are_bounded_and_the_account_opens_again(town: Town) -> None:
    town.settle("ada")
    for _ in range(5):
        assert not is_in(town, "ada", "a wrong guess")
    assert not is_in(town, "ada"), "even the right password waits"
    town.cloud.clock.advance(timedelta(seconds=31))
    assert is_in(town, "ada")
    assert stored(town, "ada").failures == 0
    assert is_in(town, "ada"), "a good attempt sets the count back"


def test_many_attempts_at_once_are_no_way_around_the_count(town: Town) -> None:
    town.settle("ada")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: is_in(town, "ada", f"guess number {number}"), range(24)))
    assert stored(town, "ada").failures == 5


@given(st.integers(0, 10_000))
def test_waits_grow_and_stay_bounded(failures: int) -> None:
    assert timedelta() <= wait_after(failures) <= wait_after(failures + 1) <= timedelta(minutes=15)
    assert (wait_after(failures) == timedelta()) == (failures < 5)


def test_hashes_follow_when_parameters_rise(town: Town) -> None:
    town.settle("ada")
    assert "m=64,t=1" in str(stored(town, "ada").password)
    dearer = replace(CHEAP, passes=2)
    town.cloud.services = replace(town.cloud.services, password_cost=dearer)
    assert not is_in(town, "ada", "a wrong guess")
    assert "t=1" in str(stored(town, "ada").password), "only who knows it can hash it again"
    assert is_in(town, "ada")
    assert "m=64,t=2" in str(stored(town, "ada").password)
    assert is_in(town, "ada")


def test_an_invitation_ends_after_a_week_and_a_reset_takes_all_away(town: Town) -> None:
    made = town.invite("eve")
    town.cloud.clock.advance(timedelta(days=7))
    with pytest.raises(SignInRefused):
        proofs.change_password(
            town.cloud.services, town.claimed("eve", made["invitation"]), PASSWORD
        )
    town.settle("ada")
    made = town.admin.ok("POST", "/v1/users/ada/invitation")
    assert not is_in(town, "ada"), "the old password is gone"
    claimed = town.claimed("ada", made["invitation"])
    with pytest.raises(Invalid):
        proofs.change_password(town.cloud.services, claimed, "ada")
    proofs.change_password(town.cloud.services, claimed, PASSWORD * 2)
    assert is_in(town, "ada", PASSWORD * 2)
    with pytest.raises(SignInRefused):
        proofs.change_password(town.cloud.services, claimed, PASSWORD)


def test_a_new_password_by_the_old_one_ends_what_was_signed_in(town: Town) -> None:
    ada = town.person("ada", "reader")
    proofs.change_password(town.cloud.services, town.claimed("ada"), PASSWORD * 2)
    assert ada.request("GET", "/v1/me").status == 401
    assert not is_in(town, "ada")


def enrol(town: Town) -> tuple[str, list[str]]:
    ada = town.person("ada", "owner")
    secret = ada.ok("POST", "/v1/me/totp")["secret"]
    assert is_in(town, "ada"), "it counts from its confirmation on"
    assert ada.request("POST", "/v1/me/totp/confirm", json={"code": "000000"}).status == 401
    code = factors.code_at(secret, town.cloud.clock.now())
    recovery = ada.ok("POST", "/v1/me/totp/confirm", {"code": code})["recovery_codes"]
    assert secret not in str(ada.ok("GET", "/v1/me")) + str(ada.ok("GET", "/v1/users"))
    assert ada.request("POST", "/v1/me/totp").status == 409, "the secret is never shown again"
    return secret, recovery


def test_a_one_time_code_is_good_once_and_near_its_time(town: Town) -> None:
    secret, _ = enrol(town)
    clock = town.cloud.clock
    assert not is_in(town, "ada"), "the password alone does not do"
    assert not is_in(town, "ada", code=factors.code_at(secret, clock.now())), "used to enrol"
    clock.advance(10 * STEP)
    code = factors.code_at(secret, clock.now())
    assert not is_in(town, "ada", "a wrong guess", code), "and a wrong password does not spend it"
    assert is_in(town, "ada", code=code)
    assert not is_in(town, "ada", code=code), "no step is taken twice"
    assert not is_in(town, "ada", code=factors.code_at(secret, clock.now() - STEP)), "nor older"
    clock.advance(10 * STEP)
    late, early = (factors.code_at(secret, clock.now() + by * STEP) for by in (-2, 2))
    assert not is_in(town, "ada", code=late)
    assert not is_in(town, "ada", code=early)
    assert is_in(town, "ada", code=factors.code_at(secret, clock.now() + STEP))


def test_a_recovery_code_is_good_once(town: Town) -> None:
    _, recovery = enrol(town)
    assert len(set(recovery)) == 10
    assert is_in(town, "ada", code=recovery[0].upper())
    assert not is_in(town, "ada", code=recovery[0])
    assert is_in(town, "ada", code=recovery[1].replace("-", " "))


def test_a_tenant_that_demands_it_leaves_nothing_else_to_do(town: Town) -> None:
    bob = town.person("bob", "owner")
    bob.ok("PUT", "/v1/sign-in-rules", {"totp_required": True})
    refused = bob.request("GET", "/v1/users")
    assert refused.status == 403
    assert "overland cloud totp enable" in refused.body["error"]["message"]
    secret = bob.ok("POST", "/v1/me/totp")["secret"]
    code = factors.code_at(secret, town.cloud.clock.now())
    (recovery, *_) = bob.ok("POST", "/v1/me/totp/confirm", {"code": code})["recovery_codes"]
    assert len(bob.ok("GET", "/v1/users")) == 1
    wrong = {"password": "not it", "code": recovery}
    assert bob.request("POST", "/v1/me/totp/end", json=wrong).status == 401
    bob.ok("POST", "/v1/me/totp/end", {"password": PASSWORD, "code": recovery})
    assert bob.request("GET", "/v1/users").status == 403
