"""What the station makes of answers that are not the cloud's."""

from collections.abc import Callable

import pytest
from tests.support.answering import Answering

from overland.errors import Unreachable
from overland.station.connection import Connection

JOB = "7f1c1e9e-6c5c-4d9c-9f43-6b7cf8a4d111"


@pytest.mark.parametrize("body", [None, "<html>", 7, [7], {"job_id": 7, "state": [], "token": 7}])
@pytest.mark.parametrize(
    "ask",
    [
        lambda it: it.receive(tracking_number="1Z", carrier="UPS", serials=["a"]),
        lambda it: it.jobs(),
        lambda it: it.job(JOB),
        lambda it: it.find_job("a name"),
        lambda it: it.find_job(JOB),
        lambda it: it.import_grant(JOB),
        lambda it: it.blobs_grant(JOB, container="c", replace=False),
        lambda it: it.export_grant(JOB, container="c"),
        lambda it: it.send_back(JOB, carrier="UPS", tracking_number="1Z", serials=["a"]),
    ],
)
def test_an_answer_of_another_form_is_not_the_clouds(
    ask: Callable[[Connection], object], body: object
) -> None:
    with pytest.raises(Unreachable, match="is not a cloud that this program understands"):
        ask(Connection(Answering(body)))
