"""Instants in tables: aware when they go in, aware when they come out, whatever the database."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, TypeDecorator
from typing_extensions import override

__all__ = ["Instant"]


class Instant(TypeDecorator[datetime]):
    """An aware instant, stored in UTC; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant in UTC."""
        assert value is None or value.tzinfo is not None, "instants are aware"
        return None if value is None else value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant, aware."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)
