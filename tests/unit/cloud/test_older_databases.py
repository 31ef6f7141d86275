"""What was in a cloud's tables before people had names in it works as it did."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from overland.adapters import database
from overland.adapters.database import open_database
from overland.cloud import identity
from overland.cloud.identity import Role

TENANT = "11111111-1111-4111-8111-111111111111"
TOKEN = "22222222-2222-4222-8222-222222222222"
SECRET = "s" * 52


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Return a database as the version before applications and people left it."""
    migrations = tmp_path / "migrations"
    shutil.copytree(database._MIGRATIONS, migrations)
    for each in (migrations / "cloud" / "versions").glob("*.py"):
        if each.name[:4] > "0005":
            each.unlink()
    made = open_database(tmp_path / "cloud.db", "cloud", migrations=migrations)
    row = {
        "id": TOKEN,
        "sha": hashlib.sha256(SECRET.encode()).hexdigest(),
        "tenant": TENANT,
        "made": "2027-01-01 00:00:00.000000",
        "over": "2028-01-01 00:00:00.000000",
    }
    with made.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO tenants (tenant_id, name, created_at) VALUES (:tenant, 'old', :made)"
            ),
            row,
        )
        connection.execute(
            text(
                "INSERT INTO tokens (token_id, secret_sha256, role, created_at, expires_at,"
                " tenant_id) VALUES (:id, :sha, 'admin', :made, :over, :tenant)"
            ),
            row,
        )
    made.dispose()
    return tmp_path / "cloud.db"


def test_a_token_of_an_earlier_version_is_good_and_of_an_unknown_issuer(older: Path) -> None:
    now = open_database(older, "cloud")
    at = datetime(2027, 6, 1, tzinfo=UTC)
    with now.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM users")).scalar_one() == 0
        found = identity.authenticate(connection, f"ov1_{TOKEN}_{SECRET}", at=at)
        assert (found.role, found.tenant_id) == (Role.ADMIN, TENANT)
        (record,) = identity.list_tokens(connection, tenant_id=TENANT)
        assert record.issued_by is None
        assert identity.revoke_issued(connection, "user:somebody", at=at) == 0
    now.dispose()
