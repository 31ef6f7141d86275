"""Which jobs a `$filter` shows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.samplejobs import AT, job

from overland.cloud.jobfilters import parse_filter
from overland.cloud.refusals import Invalid
from overland.jobs.states import JobState

JOB = replace(job(state=JobState.SHIPPING), name="o'clock", location="westus")


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("state eq 'Shipping'", True),
        ("state eq 'shipping'", True),
        ("properties/state ne 'Shipping'", False),
        ("name eq 'o''clock'", True),
        ("name eq 'O''CLOCK'", True),
        ("location eq 'West US'", True),
        ("location eq 'westus'", True),
        ("location eq 'eastus'", False),
        ("jobType eq 'Export'", False),
        ("properties/storageAccountId eq '/ACCOUNT'", True),
        ("state eq 'Creating' or state eq 'Shipping'", True),
        ("state eq 'Creating' and name eq 'x' or jobType eq 'Import'", True),
        ("jobType eq 'Import' or name eq 'x' and state eq 'Creating'", True),
        ("jobType eq 'Import' AND state eq 'Creating'", False),
        (f"systemData/createdAt ge {AT.isoformat()}", True),
        (f"createdAt gt {AT.isoformat()}", False),
        (f"createdAt le '{AT.isoformat()}'", True),
        ("createdAt lt 2027-03-01T00:00:00Z", False),
        ("createdAt ge 2027-02-28", True),
        ("  state eq 'Shipping'  ", True),
    ],
)
def test_a_filter_shows_what_it_says(text: str, shows: bool) -> None:  # noqa: FBT001 - expected
    assert parse_filter(text)(JOB) is shows


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "state", "state eq", "eq 'x'", "'state' eq 'Shipping'"),
        *("state eq Shipping", "state gt 'Shipping'", "colour eq 'red'", "state eq 'x' and"),
        *("state eq 'x' nor state eq 'y'", "(state eq 'x')", "state eq 'x", "state eq 'x'y"),
        *("createdAt eq 2027-03-01", "createdAt ge yesterday", "location eq 'mars'"),
        "state eq 'x' state eq 'y'",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_filter(text)
    assert refused.value.target == "$filter"


@given(text=st.text(alphabet="'satenmoqrd()0-:/ T", max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        shows = parse_filter(text)
    except Invalid:
        return
    assert shows(JOB) in (True, False)
