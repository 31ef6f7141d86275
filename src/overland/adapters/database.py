"""SQLite databases, opened in the present shape of their tables.

Readers use `connect()`, and see the state of one instant, whatever is written meanwhile.  Writers
use `begin()`, which waits for its turn at once: a transaction that began as a reader could find
at its first change that it is too late.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError
from typing import Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from overland.errors import RefusedError

__all__ = ["DatabaseNewer", "open_database"]

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS: Final = 30_000  # the longest turn of another writer; ours take milliseconds
_PAUSE_S: Final = 0.01
_BEGIN: Final = "overland_begin"


class DatabaseNewer(RefusedError):
    """A newer version of the program has changed the tables; this one would misread them."""

    code = "database-newer"

    def __init__(self, path: Path, revision: str) -> None:
        super().__init__(
            f"{path} has tables of revision {revision}, which this version does not know; "
            "run the version that was installed last, or a newer one"
        )
        self.path, self.revision = path, revision


def open_database(path: Path, schema: str, *, migrations: Path = _MIGRATIONS) -> Engine:
    """Return the database in the file `path`, made or brought up to date first.

    A power cut during a migration leaves the shape before it, and every commit survives one.
    Two processes may open a file at the same time: one migrates, the other waits.

    Args:
        path: The file; its folder exists.
        schema: The folder of its migrations: `cloud` or `station`.
        migrations: Where the schemas' folders are.

    Raises:
        DatabaseNewer: A newer version of the program has migrated the file.
    """
    scripts = ScriptDirectory(str(migrations / schema))
    # Tables name tenants and hold digests of tokens: nobody else on this computer reads them.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = _Database.over(create_engine(URL.create("sqlite", database=str(path))))
    try:
        with database.begin() as connection:
            _migrate(connection, scripts, path)
    except BaseException:
        database.dispose()
        raise
    return database


class _Database(Engine):
    """An engine whose `begin()` takes SQLite's lock for writers."""

    @classmethod
    def over(cls, engine: Engine) -> "_Database":
        """Return a database that uses the connections of `engine`."""
        database = cls(engine.pool, engine.dialect, engine.url)
        event.listen(engine.pool, "connect", _connected)
        event.listen(database, "begin", _begin)
        return database

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:  # type: ignore[explicit-override] # typing's is 3.12's
        """Return a connection in a writer's transaction; it commits at the end of the block."""
        with self.connect() as connection:
            connection.execution_options(**{_BEGIN: "IMMEDIATE"})
            with connection.begin():
                yield connection


def _connected(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`, not in the driver
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")


def _use_wal(connection: SqliteConnection) -> None:
    """Let readers and the writer not wait for each other.

    Of several who open a new file at once SQLite may refuse one without waiting for its turn, for
    the time-out does not hold for this change.
    """
    until = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _migrate(connection: Connection, scripts: ScriptDirectory, path: Path) -> None:
    """Bring the tables up to date, within the caller's transaction."""
    present = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if present is not None and present not in known:
        raise DatabaseNewer(path, present)
    if present == scripts.get_current_head():
        return
    with EnvironmentContext(
        Config(),
        scripts,
        # Alembic's own documentation of EnvironmentContext calls it so; there is no public name.
        fn=lambda now, _: scripts._upgrade_revs("head", now),  # noqa: SLF001 - as said above
    ) as environment:
        # SQLite changes tables in transactions; Alembic holds it for a database that cannot.
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
