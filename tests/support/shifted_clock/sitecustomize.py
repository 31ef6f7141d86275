"""Python runs this first in a process whose PYTHONPATH names this folder: its clock is ahead.

By how many seconds stands in a file, which may change while the process runs.  The server looks
at its clock as often as fits days that take less than a second; certificates stay with the real
clock, as TLS does.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from overland.adapters.clock import SystemClock

_AHEAD = Path(os.environ["OVERLAND_TEST_AHEAD"])
_SWEEP_EVERY_S = 0.1


def _now(_: SystemClock) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(_AHEAD.read_text()))


setattr(SystemClock, "now", _now)  # noqa: B010 - not an assignment that types allow

if "overland.server" in sys.orig_argv:
    from collections.abc import Sequence

    from overland.ports.files import Files
    from overland.server import app, certificates

    def _certificates(files: Files, names: Sequence[str], *, at: datetime) -> str:
        del at
        return certificates.ensure_certificates(files, names, at=datetime.now(UTC))

    setattr(app, "_SWEEP_EVERY_S", _SWEEP_EVERY_S)  # noqa: B010 - the same
    setattr(app, "ensure_certificates", _certificates)  # noqa: B010 - the same
