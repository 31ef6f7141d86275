"""Tokens: only their holder knows them, and they end."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cloud import LocalCloud

from overland.cloud.identity import GRANTED, Permission, Principal, Role, Scope, authenticate
from overland.cloud.refusals import Forbidden, TokenInvalid

AT = datetime(2027, 3, 1, 12, tzinfo=UTC)


def test_a_token_stands_for_its_role_and_scope(cloud: LocalCloud) -> None:
    tenant_id, _ = cloud.tenant()
    token = cloud.token(
        Role.DISKPREP, Scope(tenant_id=tenant_id, subscription_id="s", job_name="j")
    )
    with cloud.database.connect() as connection:
        found = authenticate(connection, token, at=AT)
    assert found.role is Role.DISKPREP
    assert found.scope == Scope(tenant_id=tenant_id, subscription_id="s", job_name="j")
    assert found.name == f"diskprep:{found.token_id}"


def test_any_other_text_is_no_token(cloud: LocalCloud) -> None:
    token = cloud.root_token
    mark, token_id, secret = token.split("_")
    other = cloud.token(Role.STATION).split("_")
    with cloud.database.connect() as connection:
        for text in (
            token.upper(),
            token + "a",
            token[:-1],
            f"{mark}_{token_id}_{other[2]}",
            f"{mark}_{other[1]}_{secret}",
            f"ov2_{token_id}_{secret}",
            f"{token_id}_{secret}",
        ):
            with pytest.raises(TokenInvalid):
                authenticate(connection, text, at=AT)


@pytest.mark.parametrize("days", [1, 30])
def test_a_token_is_good_until_its_end_and_not_at_it(cloud: LocalCloud, days: int) -> None:
    token, end = cloud.token(Role.STATION, days=days), cloud.clock.now() + timedelta(days=days)
    with cloud.database.connect() as connection:
        authenticate(connection, token, at=end - timedelta(microseconds=1))
        with pytest.raises(TokenInvalid):
            authenticate(connection, token, at=end)


@given(role=st.sampled_from(Role), permission=st.sampled_from(Permission))
def test_a_role_has_what_the_table_says_and_nothing_else(
    role: Role, permission: Permission
) -> None:
    principal = Principal(token_id="t", role=role, scope=Scope())
    if permission in GRANTED[role]:
        principal.require(permission)
    else:
        with pytest.raises(Forbidden):
            principal.require(permission)


def test_keys_are_read_by_owners_and_stations_work_only_at_the_dock() -> None:
    readers = {role for role in Role if Permission.READ_KEYS in GRANTED[role]}
    workers = {role for role in Role if Permission.WORK_AT_STATION in GRANTED[role]}
    assert readers == {Role.ADMIN}
    assert workers == {Role.STATION}
    assert GRANTED[Role.REGISTRATION] == {Permission.REGISTER_COMPUTERS}
