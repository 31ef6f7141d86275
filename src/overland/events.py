"""Events of the programs: one name and its fields for each fact, for people and for programs.

`structlog` writes them, and is loaded with the first event that is written: loading it costs a
command more time than finding an unchanged disk image unchanged, and most commands write none.
`overland.cli.log` and `overland.server.app` say how events look and where they go.  Where they
cannot be written, to a full disk or a terminal that was closed, they are lost, and the work that
they tell of goes on.
"""

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Final

__all__ = ["DEBUG", "ERROR", "INFO", "WARNING", "Log", "configure"]

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40


class _Settings:
    lowest: int = DEBUG
    prepare: Callable[[], None] | None = None


def configure(*, lowest: int, prepare: Callable[[], None]) -> None:
    """Write events from level `lowest` on; `prepare` is called once, before the first of them."""
    _Settings.lowest = lowest
    _Settings.prepare = staticmethod(prepare)
    _prepared.cache_clear()


class Log:
    """Takes the events of a module; keys, secrets and hashes of plaintext are never fields."""

    def debug(self, event: str, **fields: object) -> None:
        """Tell what only a developer wants to know."""
        self._write(DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell what happened as it should."""
        self._write(INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell what somebody should look at."""
        self._write(WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell what failed."""
        self._write(ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Tell what failed, with the trace of the exception that is being handled."""
        self._write(ERROR, event, {"exc_info": True} | fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if level < _Settings.lowest:
            return
        _prepared()
        import structlog  # noqa: PLC0415 - with the first event, as said above

        with contextlib.suppress(OSError):
            structlog.get_logger().log(level, event, **fields)


@cache
def _prepared() -> None:
    if _Settings.prepare is not None:
        _Settings.prepare()
