"""The custody log: append only, chained, and free of personal data once the job is gone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, StaticPool, create_engine
from tests.support.samplejobs import job

from overland.jobs import custody, tables
from overland.jobs.custody import Entry
from overland.jobs.importjob import Happening

AT = datetime(2027, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    tables.metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def write(connection: Connection, job_id: str = "job-1", count: int = 4) -> list[Entry]:
    for number in range(count):
        happening = Happening(event="edited", drive=f"D{number}", detail={"old": None, "new": [1]})
        made = replace(job(), job_id=job_id, changed_at=AT + timedelta(seconds=number))
        custody.append(connection, made, happening, actor="station:1")
    return custody.entries(connection, job_id)


def test_entries_come_back_as_they_were_written_and_in_order(connection: Connection) -> None:
    log = write(connection)
    assert [entry.number for entry in log] == [1, 2, 3, 4]
    assert [entry.drive for entry in log] == ["D0", "D1", "D2", "D3"]
    assert log[1].at == AT + timedelta(seconds=1)
    assert log[0].detail == {"old": None, "new": [1]}
    assert custody.is_intact(log)


def test_each_job_has_a_chain_of_its_own(connection: Connection) -> None:
    write(connection, "job-1")
    assert [entry.number for entry in write(connection, "job-2", 2)] == [1, 2]
    assert custody.is_intact(custody.entries(connection, "job-2"))


DAMAGES: dict[str, Callable[[list[Entry]], list[Entry]]] = {
    "an actor": lambda log: [replace(log[0], actor="station:2"), *log[1:]],
    "an instant": lambda log: [log[0], replace(log[1], at=AT), *log[2:]],
    "an event": lambda log: [log[0], replace(log[1], event="received"), *log[2:]],
    "a drive": lambda log: [log[0], replace(log[1], drive=None), *log[2:]],
    "a detail": lambda log: [*log[:3], replace(log[3], detail={"new": 2})],
    "a detail's digest": lambda log: [*log[:3], replace(log[3], detail_digest="0" * 64)],
    "an entry taken out": lambda log: [log[0], *log[2:]],
    "the first taken out": lambda log: log[1:],
    "an entry taken out and the others numbered anew": lambda log: [
        log[0],
        *(replace(entry, number=entry.number - 1) for entry in log[2:]),
    ],
    "two entries changed round": lambda log: [log[0], log[2], log[1], log[3]],
    "the tenant": lambda log: [replace(entry, tenant_id="other") for entry in log],
    "the job": lambda log: [replace(entry, job_id="job-2") for entry in log],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.requirement("R103")
def test_a_change_is_noticed(connection: Connection, damage: str) -> None:
    assert not custody.is_intact(DAMAGES[damage](write(connection)))


def test_details_can_be_forgotten_and_the_chain_still_holds(connection: Connection) -> None:
    write(connection)
    custody.forget_details(connection, "job-1")
    log = custody.entries(connection, "job-1")
    assert [entry.detail for entry in log] == [None] * 4
    assert custody.is_intact(log)


def test_an_empty_log_is_intact(connection: Connection) -> None:
    assert custody.is_intact(custody.entries(connection, "job-1"))
