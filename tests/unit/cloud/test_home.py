"""The cloud's home folder, and its tables made by migrations."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Boolean, Connection, DateTime, Integer, MetaData, insert, inspect, select
from tests.support.simdisk import SimDisk

from overland.adapters import database as database_module
from overland.adapters.database import open_database
from overland.cloud import tables as cloud_tables
from overland.cloud.home import CloudHome, CloudNotInitialised, Endpoints, Settings
from overland.cloud.identity import Role, authenticate
from overland.cloud.locations import Dock, dock_from_text
from overland.cloud.refusals import Invalid, TokenInvalid
from overland.jobs import tables as job_tables
from overland.vault import tables as vault_tables

AT = datetime(2027, 3, 1, tzinfo=UTC)


def test_migrations_make_exactly_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    wanted = MetaData()
    for metadata in (cloud_tables.metadata, job_tables.metadata, vault_tables.metadata):
        for table in metadata.sorted_tables:
            table.to_metadata(wanted)
    database = open_database(tmp_path / "cloud.db", "cloud")
    try:
        with database.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, wanted) == []
    finally:
        database.dispose()


def test_what_was_stored_before_a_migration_is_there_after_it(tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    shutil.copytree(Path(database_module.__file__).parent / "migrations", older)
    for version in (older / "cloud" / "versions").glob("*.py"):
        if version.name >= "0003":
            version.unlink()
    database = open_database(tmp_path / "cloud.db", "cloud", migrations=older)
    with database.begin() as connection:
        made = MetaData()
        made.reflect(connection)
        _fill(connection, made, "seeds", "import_jobs", "tracking_numbers", "points")
    database.dispose()
    database = open_database(tmp_path / "cloud.db", "cloud")
    try:
        with database.connect() as connection:
            seed = connection.execute(select(job_tables.seeds)).mappings().one()
            point = connection.execute(select(vault_tables.points)).mappings().one()
            number = connection.execute(select(job_tables.tracking_numbers)).mappings().one()
        key = inspect(database).get_pk_constraint("tracking_numbers")["constrained_columns"]
    finally:
        database.dispose()
    assert (seed["seed_id"], seed["is_relinked"]) == ("1", False)
    assert (number["tracking_key"], number["job_id"]) == ("1", "1")
    assert (point["point_id"], point["is_held"], point["is_lost"]) == ("1", False, False)
    assert (point["marked_at"], point["reclaimed_at"]) == (None, None)
    assert key == ["tracking_key", "job_id"]


def _fill(connection: Connection, tables: MetaData, *names: str) -> None:
    """Store one row in each table, of values that are all a kind of 1."""
    for name in names:
        table = tables.tables[name]
        row = {
            column.name: AT.replace(tzinfo=None) if isinstance(column.type, DateTime) else "1"
            for column in table.columns
            if not isinstance(column.type, Integer | Boolean)
        }
        row |= {c.name: 0 for c in table.columns if isinstance(c.type, Integer | Boolean)}  # type: ignore[misc] # a column's type is untyped
        connection.execute(insert(table).values(**row))


def test_settings_are_there_once_the_root_token_is(tmp_path: Path) -> None:
    home = CloudHome(SimDisk())
    with pytest.raises(CloudNotInitialised):
        home.settings()
    dock = dock_from_text("Dock; 1 Dock Road; Dublin; D22; Ireland")
    home.save_settings(Settings(dock=dock))
    with pytest.raises(CloudNotInitialised):
        home.settings()
    database = open_database(tmp_path / "cloud.db", "cloud")
    with database.begin() as connection:
        home.new_root_token(connection, at=AT, random=os.urandom)
    database.dispose()
    assert home.settings() == Settings(dock=dock)


def test_a_new_root_token_ends_the_old_one(tmp_path: Path) -> None:
    home = CloudHome(SimDisk())
    database = open_database(tmp_path / "cloud.db", "cloud")
    with database.begin() as connection:
        home.new_root_token(connection, at=AT, random=os.urandom)
        first = home.root_token().reveal().decode()
        home.new_root_token(connection, at=AT, random=os.urandom)
        second = home.root_token().reveal().decode()
        assert authenticate(connection, second, at=AT).role is Role.ROOT
        with pytest.raises(TokenInvalid):
            authenticate(connection, first, at=AT)
    database.dispose()


def test_the_grant_key_is_made_once() -> None:
    home = CloudHome(SimDisk())
    assert home.grant_key(os.urandom).reveal() == home.grant_key(os.urandom).reveal()


def test_endpoints_are_there_while_the_cloud_serves() -> None:
    home, where = CloudHome(SimDisk()), Endpoints(url="u", object_url="o", ca="c")
    assert home.endpoints() is None
    home.save_endpoints(where)
    assert home.endpoints() == where
    home.save_endpoints(None)
    assert home.endpoints() is None


def test_a_dock_is_read_from_one_line() -> None:
    assert dock_from_text("Dock; 1 Dock Road; Dublin; D22; Ireland; +353 1") == Dock(
        recipient="Dock",
        street="1 Dock Road",
        city="Dublin",
        postal_code="D22",
        country="Ireland",
        phone="+353 1",
    )
    for text in ("", "Dock; 1 Dock Road", "Dock;;Dublin;D22;Ireland", "a;b;c;d;e;f;g"):
        with pytest.raises(Invalid):
            dock_from_text(text)
