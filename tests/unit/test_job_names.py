"""The names of top-ups: derived, never too long, and told apart from all others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overland.values import MAX_JOB_NAME, POLICY_JOB_NAME, is_job_or_top_up, top_up_name

NAMES = st.from_regex(POLICY_JOB_NAME, fullmatch=True)


@given(name=NAMES, number=st.integers(1, 999))
def test_a_top_up_has_a_name_of_its_own_that_tells_its_job(name: str, number: int) -> None:
    derived = top_up_name(name, number)
    assert len(derived) <= MAX_JOB_NAME
    assert POLICY_JOB_NAME.fullmatch(derived)
    assert is_job_or_top_up(derived, name)
    assert is_job_or_top_up(derived.upper(), name)
    assert derived != top_up_name(name, number % 999 + 1)


@pytest.mark.parametrize(
    "name",
    [
        *("harbour-2", "harbour-topup-", "harbour-topup-0", "harbour-topup-01", "topup-1"),
        *("harbour-topup-1000", "port-topup-1", "harbour-topup-1-topup-1", "harbour-topup-1x"),
    ],
)
def test_other_names_are_no_top_ups(name: str) -> None:
    assert not is_job_or_top_up(name, "harbour")
