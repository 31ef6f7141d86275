import msgspec
import pytest

from overland.vault import retention
from overland.vault.retention import Retention, RetentionInvalid


def test_a_retention_reads_back_as_it_was_written() -> None:
    rule = Retention(daily=180, weekly=104, monthly=60, yearly=10)
    assert retention.decode(retention.encode(rule)) == rule


def test_rows_may_be_left_out_but_not_all() -> None:
    assert retention.decode(b'{"yearly":1}') == Retention(yearly=1)
    with pytest.raises(RetentionInvalid, match="keeps nothing"):
        retention.decode(b"{}")


@pytest.mark.parametrize(("row", "minimum"), retention.MINIMA.items())
def test_a_row_is_not_shorter_than_its_minimum(row: str, minimum: int) -> None:
    retention.decode(msgspec.json.encode({row: minimum}))
    if minimum > 1:
        with pytest.raises(RetentionInvalid, match=f"at least {minimum}"):
            retention.decode(msgspec.json.encode({row: minimum - 1}))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"daily":-7}', b'{"daily":10000}', b'{"hourly":7}', b'{"daily":"7"}', b"\xff"],
)
def test_what_is_no_retention_is_refused(body: bytes) -> None:
    with pytest.raises(RetentionInvalid):
        retention.decode(body)


def test_no_more_points_are_kept_than_a_computer_may_have() -> None:
    retention.encode(Retention(daily=retention.MAX_POINTS))
    with pytest.raises(RetentionInvalid, match="more than"):
        retention.encode(Retention(daily=retention.MAX_POINTS, yearly=1))
