"""The stored form of what a station knows: table definitions only.

`adapters/migrations/station` makes these tables; a test holds both equal.  Instants are text in
ISO 8601, since no query compares them.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = ["drives", "import_objects", "imports", "metadata", "parcels"]

metadata: Final = MetaData()

_ID: Final = String(36)
_SERIAL: Final = String(64)

parcels: Final = Table(
    "parcels",
    metadata,
    Column("parcel_id", _ID, primary_key=True),
    Column("tracking_number", String(64), nullable=False),
    Column("carrier", Text, nullable=False),
    Column("job_id", _ID),
    Column("received_at", String(40), nullable=False),
    Column("flags", JSON, nullable=False),
)

drives: Final = Table(
    "drives",
    metadata,
    Column("serial", _SERIAL, primary_key=True),
    Column("parcel_id", _ID, nullable=False),
    Column("parcel_job_id", _ID),
    Column("outcome", String(32), nullable=False),
    Column("path", Text),
    Column("received_at", String(40), nullable=False),
    Column("returned_at", String(40)),
)

imports: Final = Table(
    "imports",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("serial", _SERIAL, primary_key=True),
    Column("path", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("total_objects", Integer, nullable=False),
    Column("total_bytes", BigInteger, nullable=False),
    Column("manifest_bytes", BigInteger, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("failure", String(40)),
    Column("failure_reason", Text),
    Column("ended_at", String(40)),
    Column("stop_family", String(16)),
    Column("stop_code", String(64)),
    Column("stop_message", Text),
)

import_objects: Final = Table(
    "import_objects",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("serial", _SERIAL, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("verdict", String(32)),
    Column("parts", LargeBinary),
    Column("place", Text),
    Column("disposition", String(16)),
    Column("metadata_status", String(16)),
    Column("properties_status", String(16)),
    Index("import_objects_by_verdict", "job_id", "serial", "verdict"),
)
