from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from overland.adapters.database import open_database
from overland.vault import tables


def test_the_migrations_make_the_tables_that_are_defined(tmp_path: Path) -> None:
    def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in tables.metadata.tables

    database = open_database(tmp_path / "cloud.db", "cloud")
    with database.connect() as connection:
        options = {"compare_type": True, "include_object": is_ours}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    database.dispose()
