"""Every parser of foreign bytes refuses what is wrong: in time, in bounds, by a documented error.

`./dev fuzz` runs the same targets for as long as you like, steered by coverage where it can be.
"""

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.oracle import Target, judge
from tests.fuzz.targets import TARGETS, fuzz_one

EVERY = pytest.mark.parametrize("target", list(TARGETS.values()), ids=list(TARGETS))


@pytest.fixture(autouse=True, scope="module")
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@EVERY
def test_what_the_mutations_begin_from_is_accepted(target: Target) -> None:
    accepted = [judge(target, seed) for seed in target.seeds]
    # A request may be in order, and refused in the state that the one before it left.
    needed = len(accepted) * 3 // 5 if target.kind == "request" else len(accepted)
    assert accepted.count(True) >= needed, accepted


@EVERY
def test_no_document_breaks_a_promise(target: Target, examples: settings) -> None:
    judge(target, target.seeds[0])  # what is made once is not counted

    @examples
    @given(data=st.binary(max_size=96))
    def run(data: bytes) -> None:
        fuzz_one(target, data)

    run()


@pytest.mark.parametrize("log", ["ledger", "cloud"])
@pytest.mark.parametrize("at", ["2026-01-01T00:00:00", "2026-01-01", "9999-12-31T23:59:59-23:59"])
def test_an_instant_that_no_log_of_ours_has_breaks_nothing(log: str, at: str) -> None:
    """Found by hand: instants with and without a zone were compared, with a traceback."""
    story = json.loads(TARGETS["custody-told-again"].seeds[0])
    story[log][0]["at"] = at
    is_accepted = judge(TARGETS["custody-told-again"], json.dumps(story).encode())
    assert is_accepted == at.endswith("-23:59"), "it says its distance from UTC"
