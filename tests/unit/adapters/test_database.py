import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from overland.adapters.database import DatabaseNewer, open_database

FIRST = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

def upgrade():
    op.create_table("drives", sa.Column("serial", sa.String(40), primary_key=True))
    op.create_table(
        "events",
        sa.Column("event_id", sa.Integer, primary_key=True),
        sa.Column("serial", sa.String(40), sa.ForeignKey("drives.serial"), nullable=False),
    )
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.add_column("drives", sa.Column("state", sa.String(20), server_default="Specified"))
"""
BROKEN = """
from alembic import op

revision, down_revision = "0003", "0002"

def upgrade():
    op.drop_table("events")
    raise RuntimeError("power cut")
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    versions = tmp_path / "migrations" / "station" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_drives.py").write_text(FIRST)
    return tmp_path / "migrations"


def add(migrations: Path, name: str, migration: str) -> None:
    (migrations / "station" / "versions" / name).write_text(migration)


def test_a_new_file_has_the_tables_and_what_is_committed_stays(
    tmp_path: Path, migrations: Path
) -> None:
    path = tmp_path / "station.sqlite"
    database = open_database(path, "station", migrations=migrations)
    with database.begin() as connection:
        connection.execute(text("INSERT INTO drives VALUES ('D1')"))
    database.dispose()
    again = open_database(path, "station", migrations=migrations)
    with again.connect() as connection:
        assert connection.execute(text("SELECT serial FROM drives")).scalars().all() == ["D1"]
    again.dispose()
    assert path.stat().st_mode & 0o077 == 0


def test_an_older_file_is_brought_up_to_date_with_its_rows(
    tmp_path: Path, migrations: Path
) -> None:
    path = tmp_path / "station.sqlite"
    database = open_database(path, "station", migrations=migrations)
    with database.begin() as connection:
        connection.execute(text("INSERT INTO drives VALUES ('D1')"))
    database.dispose()
    add(migrations, "0002_states.py", SECOND)
    database = open_database(path, "station", migrations=migrations)
    with database.connect() as connection:
        assert connection.execute(text("SELECT * FROM drives")).all() == [("D1", "Specified")]
    database.dispose()


def test_a_migration_that_breaks_off_changes_nothing(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "station.sqlite"
    open_database(path, "station", migrations=migrations).dispose()
    add(migrations, "0002_states.py", SECOND)
    add(migrations, "0003_broken.py", BROKEN)
    with pytest.raises(RuntimeError, match="power cut"):
        open_database(path, "station", migrations=migrations)
    connection = sqlite3.connect(path)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(drives)")]
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert columns == ["serial"]
    assert "events" in tables


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "station.sqlite"
    add(migrations, "0002_states.py", SECOND)
    open_database(path, "station", migrations=migrations).dispose()
    (migrations / "station" / "versions" / "0002_states.py").unlink()
    with pytest.raises(DatabaseNewer) as refused:
        open_database(path, "station", migrations=migrations)
    assert refused.value.revision == "0002"


def test_a_row_that_refers_to_nothing_is_refused(tmp_path: Path, migrations: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", "station", migrations=migrations)
    with pytest.raises(IntegrityError), database.begin() as connection:
        connection.execute(text("INSERT INTO events VALUES (1, 'no such drive')"))
    database.dispose()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path, migrations: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", "station", migrations=migrations)

    def fail() -> None:
        with database.begin() as connection:
            connection.execute(text("INSERT INTO drives VALUES ('D1')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM drives")).scalar() == 0
    database.dispose()


def test_a_reader_sees_one_instant_and_does_not_hold_up_a_writer(
    tmp_path: Path, migrations: Path
) -> None:
    database = open_database(tmp_path / "a.sqlite", "station", migrations=migrations)
    with database.connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM drives")).scalar() == 0
        with database.begin() as writer:
            writer.execute(text("INSERT INTO drives VALUES ('D1')"))
        assert reader.execute(text("SELECT count(*) FROM drives")).scalar() == 0
    with database.connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM drives")).scalar() == 1
    database.dispose()


def test_writers_that_read_first_take_turns(tmp_path: Path, migrations: Path) -> None:
    database = open_database(tmp_path / "a.sqlite", "station", migrations=migrations)

    def add_drives() -> None:
        for _ in range(20):
            with database.begin() as connection:
                count = connection.execute(text("SELECT count(*) FROM drives")).scalar()
                connection.execute(text("INSERT INTO drives VALUES (:s)"), {"s": f"D{count}"})

    threads = [threading.Thread(target=add_drives) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM drives")).scalar() == 80
    database.dispose()


def test_two_may_open_a_new_file_at_the_same_time(tmp_path: Path, migrations: Path) -> None:
    opened = []

    def open_it() -> None:
        opened.append(open_database(tmp_path / "a.sqlite", "station", migrations=migrations))

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for database in opened:
        database.dispose()
