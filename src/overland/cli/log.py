"""Where events go: standard error, as lines for people or, in a log, as JSON.

`OVERLAND_LOG` sets the lowest level that is shown (debug, info, warning, error).  Results go to
standard output, so that a log never mixes with them.
"""

import os
import sys
from typing import Final

from overland import events

__all__ = ["configure_logging"]

_LEVELS: Final = {
    "debug": events.DEBUG,
    "info": events.INFO,
    "warning": events.WARNING,
    "error": events.ERROR,
}


def configure_logging(*, default: str) -> None:
    """Show events from level `default` on, unless `OVERLAND_LOG` says otherwise."""
    named = os.environ.get("OVERLAND_LOG", default).lower()
    events.configure(lowest=_LEVELS.get(named, events.WARNING), prepare=_to_stderr)


def _to_stderr() -> None:
    import structlog  # noqa: PLC0415 - only when there is an event: see overland.events

    for_people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(events.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
