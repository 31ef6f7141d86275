"""How often one caller may ask for something that costs more than it takes to ask."""

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final

__all__ = ["RateLimit", "network_of"]

_WINDOW: Final = timedelta(minutes=1)
_MAX_KEYS: Final = 10_000  # the oldest is forgotten: memory stays bounded, whoever asks


def network_of(address: str) -> str:
    """Return whom an address belongs to, to count by: of IPv6 the /64, which one customer has."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


class RateLimit:
    """Counts requests of each key in windows of a minute; of this process, and lost with it."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._windows: OrderedDict[str, tuple[datetime, int]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str, *, at: datetime) -> timedelta | None:
        """Count a request; return None if it may go on, or else how long to wait."""
        with self._lock:
            began, count = self._windows.pop(key, (at, 0))
            if not timedelta() <= at - began < _WINDOW:  # over, or the clock was set back
                began, count = at, 0
            self._windows[key] = (began, count + 1)
            if len(self._windows) > _MAX_KEYS:
                self._windows.popitem(last=False)
            return None if count < self._per_minute else began + _WINDOW - at
