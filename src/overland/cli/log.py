"""Where events go: standard error, as lines for people or, in a log, as JSON.

`OVERLAND_LOG` sets the lowest level that is shown (debug, info, warning, error).  Results go to
standard output, so that a log never mixes with them.
"""

import logging
import os
import sys
from typing import Final

import structlog

__all__ = ["configure_logging"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(*, default: str) -> None:
    """Show events from level `default` on, unless `OVERLAND_LOG` says otherwise."""
    named = os.environ.get("OVERLAND_LOG", default).lower()
    for_people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(named, logging.WARNING)),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
