"""`overland points ls`: the entries of a folder, however many, in the order of their names."""

import json
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.support.backed_up import PASSPHRASE, BackedUp

from overland.cli.listing import show_rows
from overland.cli.main import overland
from overland.cli.outcome import Exit
from overland.errors import ObjectCorrupt


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackedUp:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    made = BackedUp(tmp_path)
    (made.source / "many").mkdir(parents=True)
    for number in range(2600):
        (made.source / "many" / f"file {number:05d} {'x' * 60}").touch()
    for name in (b"A", b"a", b"a.b", b"a0", b"\xff", "é".encode()):
        (made.source / os.fsdecode(b"names-" + name)).write_bytes(b"x")
    (made.source / "empty").mkdir()
    return made


def listed(world: BackedUp, *words: str, status: Exit = Exit.OK) -> Result:
    point, passphrase = world.results[-1].point_id, world.staging.parent / "passphrase"
    place = ("--from", str(world.staging), "--passphrase-file", str(passphrase))
    path, *more = words
    arguments = ["points", "ls", point, str(world.source / path), *place, *more]
    ended = CliRunner().invoke(overland, arguments)
    assert ended.exit_code == status, ended.output
    return ended


def names(rows: list[dict[str, str]], folder: Path) -> list[str]:
    return [row["path"].removeprefix(f"{folder}/") for row in rows]


def test_all_entries_come_once_and_sorted(world: BackedUp) -> None:
    world.back_up()
    ended = listed(world, "many", "--json")
    found = names(json.loads(ended.stdout), world.source / "many")
    assert found == sorted(path.name for path in (world.source / "many").iterdir())
    lines = listed(world, "many").stdout.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == found


def test_the_document_is_written_as_every_other_result(world: BackedUp) -> None:
    world.back_up()
    text = listed(world, "many", "--json").stdout
    again = msgspec.json.format(msgspec.json.encode(json.loads(text))).decode()
    assert text == again + "\n"
    assert listed(world, "empty", "--json").stdout == "[]\n"
    assert listed(world, "empty").stdout == ""


def test_names_are_sorted_as_bytes_with_folders_among_them_and_what_is_below_behind(
    world: BackedUp,
) -> None:
    world.back_up()
    found = names(json.loads(listed(world, "", "--json").stdout), world.source)
    assert found == [
        "empty",
        "many",
        *("names-A", "names-a", "names-a.b", "names-a0", "names-é", "names-\\xff"),
    ]
    everything = names(json.loads(listed(world, "", "-r", "--json").stdout), world.source)
    below = [
        f"many/{name}" for name in sorted(path.name for path in (world.source / "many").iterdir())
    ]
    assert everything == [*found[:2], *below, *found[2:]]


def test_one_file_of_many_is_listed_as_itself(world: BackedUp) -> None:
    world.back_up()
    name = f"many/file 02599 {'x' * 60}"
    assert names(json.loads(listed(world, name, "--json").stdout), world.source) == [name]
    assert "not in this recovery point" in listed(world, "many/no", status=Exit.REFUSED).stderr


def test_an_error_after_the_first_row_still_leaves_one_document(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    def rows() -> object:
        yield from ({"path": "x"} for _ in range(2000))
        raise ObjectCorrupt("packs/x", check="a segment")

    with pytest.raises(ObjectCorrupt):
        show_rows(rows(), as_json=True)  # type: ignore[arg-type] # a generator of rows
    assert capfdbinary.readouterr().out == b"", "the error is the document"


@pytest.mark.parametrize("as_json", [False, True])
def test_memory_does_not_grow_with_the_rows(
    *, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(count: int) -> int:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
            monkeypatch.setattr("sys.stdout", nowhere)
            tracemalloc.start()
            try:
                show_rows(({"path": f"/a/{n:09d}"} for n in range(count)), as_json=as_json)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    peak(1000)
    assert peak(100_000) < 1.5 * peak(5_000)
