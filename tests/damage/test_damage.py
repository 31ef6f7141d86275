"""The damage catalogue: each field of each kind of file, changed, cut, swapped and replayed.

What reads a file says so with the code of `table.json`, and everything else restores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.damage.carried import carried_kinds
from tests.damage.kinds import Kind, code_of, local_kinds, vault_kinds
from tests.damage.page import PAGE, page
from tests.damage.samples import Owned, damaged
from tests.damage.table import OBJECTS, TABLE
from tests.support.torture import fast_folder

from overland.adapters.folderobjects import FolderObjects
from overland.agent.check.run import check
from overland.ports.progress import NullProgress
from overland.values import PointId

CASES = [
    (kind, field, how)
    for kind, row in TABLE.items()
    for field in row["fields"]
    for how in ("changed", "cut")
]
WHOLE = [
    (kind, how)
    for kind, row in TABLE.items()
    for how in ("another", "older")
    if row[how] is not None
]


@dataclass
class Samples:
    """Everything that is damaged here; made once."""

    mine: Owned
    kinds: dict[str, Kind]


@pytest.fixture(scope="module")
def samples() -> Iterator[Samples]:
    with fast_folder() as folder:
        mine, theirs = Owned(folder / "mine", 1), Owned(folder / "theirs", 2)
        kinds = [*vault_kinds(mine, theirs), *local_kinds(), *carried_kinds()]
        yield Samples(mine, {kind.name: kind for kind in kinds})


def bytes_of(kind: Kind, field: str, how: str) -> bytes:
    return damaged(kind.data, "flip" if how == "changed" else how, kind.fields[field])


def test_the_table_has_every_kind_and_every_field(samples: Samples) -> None:
    assert {name: list(kind.fields) for name, kind in samples.kinds.items()} == {
        name: list(row["fields"]) for name, row in TABLE.items()
    }


def test_whole_files_are_read(samples: Samples) -> None:
    assert {code_of(kind, kind.data) for kind in samples.kinds.values()} == {"nothing"}


@pytest.mark.parametrize(("name", "field", "how"), CASES)
def test_damage_has_its_own_error(samples: Samples, name: str, field: str, how: str) -> None:
    kind = samples.kinds[name]
    expected = TABLE[name]["fields"][field][how == "cut"]
    assert code_of(kind, bytes_of(kind, field, how)) == expected


@pytest.mark.parametrize(("name", "how"), WHOLE)
def test_a_whole_file_in_the_wrong_place_has_its_own_error(
    samples: Samples, name: str, how: str
) -> None:
    kind = samples.kinds[name]
    data = kind.theirs if how == "another" else kind.older
    assert data is not None
    assert data != kind.data
    expected = TABLE[name]["another"] if how == "another" else TABLE[name]["older"]
    assert code_of(kind, data) == expected


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("how", ["changed", "cut", "another", "older", "absent"])
def test_everything_else_restores(samples: Samples, name: str, how: str) -> None:
    """`check` names the object and no other, with keys and without, and the rest is whole."""
    kind, owned = samples.kinds[name], samples.mine
    other = {"another": kind.theirs, "older": kind.older}
    if how in {"changed", "cut"}:
        for field in kind.fields:
            _else_restores(owned, kind, bytes_of(kind, field, how))
    elif how == "absent" or other[how] is not None:
        _else_restores(owned, kind, other.get(how))


def _else_restores(owned: Owned, kind: Kind, data: bytes | None) -> None:
    vaulted, name = owned.vaulted, owned.names[kind.name]
    vaulted.disk.delete(name)
    if data is not None:
        vaulted.disk.write(name, data)
    try:
        _check_names(owned, name, is_there=data is not None)
        needs_it = kind.name in {"pack", "recovery point"}
        vaulted.assert_all_restorable(but=[owned.last] if needs_it else [])
    finally:
        vaulted.disk.write(name, kind.data)
    if kind.name in {"pack", "index file", "key change"} and data is not None:
        _heals(owned, kind, data)


def _check_names(owned: Owned, name: str, *, is_there: bool) -> None:
    vaulted = owned.vaulted
    for keys in (vaulted.keys, None):
        report = check(
            vaulted.vault,
            progress=NullProgress(),
            keys=keys,
            signatures=vaulted.keys.signatures,
            reclaimed=vaulted.keeper.deleted,
            workers=1,
        )
        corrupt = {finding.name for finding in report.findings if finding.kind == "corrupt"}
        assert corrupt <= {name}
        # The MAC of a keyring proves it, to the owner alone.
        assert corrupt or not is_there or (keys is None and name.startswith("keys/"))
        whole = {point for point, is_whole in report.restorable.items() if is_whole}
        assert whole >= set(_others(owned))


def _others(owned: Owned) -> list[PointId]:
    return [point for point in owned.vaulted.keeper.living() if point != owned.last]


def _heals(owned: Owned, kind: Kind, data: bytes) -> None:
    """The vault takes the right bytes in the place of the wrong ones."""
    vaulted, name = owned.vaulted, owned.names[kind.name]
    vaulted.disk.write(name, data)
    digest = name.rpartition("/")[2].partition(".")[0][-64:]
    store = FolderObjects(vaulted.disk)
    store.put(name, [kind.data], size_bytes=len(kind.data), sha256=digest)
    assert vaulted.disk.read(name) == kind.data


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text("utf-8") == page(), "run .venv/bin/python -m tests.damage.page"


# -- hints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 0.02, 0.3, 0.6, 0.9, 1])
@pytest.mark.parametrize("how", ["changed", "cut", "another", "older", "absent"])
def test_damaged_hints_cost_time_and_nothing_else(tmp_path: Path, how: str, place: float) -> None:
    """Chunk index, change cache, mark of a run and journal: the next point is whole."""
    owned = Owned(tmp_path / "mine", 1)
    vaulted = owned.vaulted
    older = {info.name: vaulted.state.read(info.name) for info in vaulted.state.names()}
    (vaulted.source / "newest").write_bytes(b"newest" * 5000)
    vaulted.back_up()
    vaulted.state.write("rewritten/" + "0" * 64, b"put by an attempt\n")
    theirs = Owned(tmp_path / "theirs", 2).vaulted.state
    for info in list(vaulted.state.names()):
        name, data = info.name, vaulted.state.read(info.name)
        at = min(int(place * len(data)), len(data) - 1)
        vaulted.state.delete(name)
        if how == "another":
            same = [each.name for each in theirs.names(name.partition("/")[0])]
            if same:
                vaulted.state.write(name, theirs.read(same[0]))
        elif how == "older" and name in older:
            vaulted.state.write(name, older[name])
        elif how in {"changed", "cut"}:
            vaulted.state.write(name, damaged(data, how.replace("changed", "flip"), (at, 1)))
    vaulted.restart()
    (vaulted.source / "after").write_bytes(b"after" * 5000)
    for policy in ("documents", "other"):
        vaulted.back_up(policy)
    vaulted.repack(min_live=0.5)
    vaulted.assert_all_restorable()
    assert vaulted.check().is_whole
