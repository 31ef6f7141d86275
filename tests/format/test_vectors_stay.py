"""The vectors are those that the writers of today make, and are only ever added to."""

from pathlib import Path

import pytest
from tests.format.make_vectors import VECTORS, vectors, write_vectors


def test_todays_writers_make_the_golden_bytes() -> None:
    made = dict(vectors())
    kept = {str(p.relative_to(VECTORS)): p.read_bytes() for p in VECTORS.rglob("*") if p.is_file()}
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_the_maker_never_replaces_a_vector(tmp_path: Path) -> None:
    first = tmp_path / "values.json"
    first.write_bytes(b"as it was")
    with pytest.raises(SystemExit, match="never changes"):
        write_vectors(tmp_path)
    assert first.read_bytes() == b"as it was"
