"""The custody ledger keeps every line, and shows any change."""

import pytest
from tests.support.manualclock import ManualClock
from tests.support.simdisk import SimDisk

from overland.seeding.ledger import Ledger, LedgerBroken


def filled(disk: SimDisk) -> Ledger:
    ledger = Ledger(disk, "custody.jsonl", clock=ManualClock())
    ledger.append("prepared", drive="A", by="ada", details={})
    ledger.append("prepared", drive="B", by="ada", details={})
    ledger.append("sealed", drive="A", by="ada", details={"manifest_hash": "1"})
    return ledger


def test_events_are_kept_in_order() -> None:
    events = filled(SimDisk()).events()

    assert [(event.sequence, event.drive, event.event) for event in events] == [
        (1, "A", "prepared"),
        (2, "B", "prepared"),
        (3, "A", "sealed"),
    ]


def test_telling_the_same_again_adds_nothing() -> None:
    ledger = filled(SimDisk())

    ledger.append("sealed", drive="A", by="ada", details={"manifest_hash": "1"})
    ledger.append("prepared", drive="B", by="ada", details={})

    assert len(ledger.events()) == 3


@pytest.mark.requirement("R103")
def test_every_changed_byte_breaks_the_chain() -> None:
    disk = SimDisk()
    filled(disk)
    length = disk.size_bytes("custody.jsonl")
    last_line = disk.read("custody.jsonl").rindex(b"\n", 0, length - 1)
    for offset in range(last_line):  # the last line is bound by the next one
        disk.damage("custody.jsonl", offset=offset)
        with pytest.raises(LedgerBroken):
            Ledger(disk, "custody.jsonl", clock=ManualClock()).events()
        disk.damage("custody.jsonl", offset=offset)


@pytest.mark.requirement("R103")
def test_a_removed_line_breaks_the_chain() -> None:
    disk = SimDisk()
    ledger = filled(disk)
    first, _, third = disk.read("custody.jsonl").splitlines(keepends=True)
    disk.write("custody.jsonl", first + third)

    with pytest.raises(LedgerBroken) as broken:
        ledger.append("given up", drive="A", by="ada", details={})

    assert broken.value.line == 2
    assert disk.read("custody.jsonl") == first + third
