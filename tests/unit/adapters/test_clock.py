from datetime import timedelta

from overland.adapters.clock import SystemClock
from overland.ports.clock import Clock


def test_instants_are_aware_and_in_utc() -> None:
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)


def test_monotonic_time_does_not_go_back() -> None:
    clock = SystemClock()
    first = clock.monotonic_s()
    clock.sleep(0)
    assert clock.monotonic_s() >= first
