"""Packing list and label: what a person reads and what a scanner reads is the import job."""

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pypdfium2  # type: ignore[import-untyped] # it ships no types
import pytest
import zxingcpp
from tests.support.copyscene import JOB, SHIPPING_WORDS, Scene, at_copy_computer
from tests.support.faulty import FaultPlan
from tests.support.faulty_ports import FaultyPrinter

from overland.adapters import labels
from overland.adapters.labels import PdfPrinter
from overland.cli.outcome import Exit
from overland.ports.labels import Sheet


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with at_copy_computer(tmp_path, monkeypatch) as made:
        yield made


def shipped(scene: Scene) -> Path:
    """Prepare and ship; return the folder of the record."""
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK
    assert scene.disk("ship", *SHIPPING_WORDS, "--yes").exit_code == Exit.OK
    [record] = (scene.folder / "copy" / "disk-preparation").glob("*/record.json")
    return record.parent


def read(content: bytes) -> tuple[str, list[str]]:
    """Return the text of a PDF, and what a scanner reads on its first page as it is printed."""
    document = pypdfium2.PdfDocument(content)
    try:
        text = "\n".join(page.get_textpage().get_text_range() for page in document)
        image = document[0].render(scale=200 / 72).to_numpy()
        return text, [found.text for found in zxingcpp.read_barcodes(image)]
    finally:
        document.close()


@pytest.mark.requirement("R85", "R90")
def test_list_and_label_name_the_job_its_drives_and_the_address(scene: Scene) -> None:
    folder = shipped(scene)
    record = json.loads((folder / "record.json").read_bytes())
    hashes = [drive["manifest_hash"] for drive in record["drives"]]

    listed, codes = read((folder / "packing-list.pdf").read_bytes())
    for text in (JOB, "1. D1", "2. D2", *hashes, "Example Import Dock", "all in one parcel"):
        assert text in listed
    label, same = read((folder / "shipping-label.pdf").read_bytes())
    for text in ("1 Dock Road", "Ada Quist", "8000 Aarhus", JOB, "2: D1, D2", "FedEx 000123456789"):
        assert text in label

    assert codes == same
    [code] = codes
    fields = parse_qs(urlsplit(code).query)
    assert urlsplit(code)[:3] == ("overland", "", "import-job")
    assert fields == {
        "name": [JOB],
        "seed": [record["seed_id"]],
        "drive": ["D1", "D2"],
        "tracking": ["000123456789"],
    }


def test_they_are_written_again_on_request(scene: Scene) -> None:
    folder = shipped(scene)
    names = ["packing-list.pdf", "packing-list.txt", "shipping-label.pdf", "shipping-label.txt"]
    before = {name: (folder / name).read_bytes() for name in names}
    (folder / "shipping-label.pdf").unlink()

    done = scene.disk("label", "--json")

    assert done.exit_code == Exit.OK, done.output
    assert [Path(path).name for path in json.loads(done.stdout)["files"]] == names
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_before_there_is_a_job_there_is_no_label(scene: Scene) -> None:
    scene.is_offline = True
    scene.prepare(*scene.both(), "--yes")
    scene.is_offline = False

    done = scene.disk("label")

    assert done.exit_code == Exit.REFUSED
    assert "[no-job-yet]" in done.stderr


def test_without_the_extra_they_are_text(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".", maxsplit=1)[0] in {"reportlab", "segno"}:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    folder = shipped(scene)

    assert not list(folder.glob("*.pdf"))
    text = (folder / "shipping-label.txt").read_text(encoding="utf-8")
    assert "1 Dock Road" in text
    assert "overland:import-job?name=harbour-import-07" in text


@pytest.mark.parametrize("has_font", [True, False], ids=["system-font", "own-font"])
def test_letters_that_cannot_be_printed_are_told_and_never_left_out_silently(
    monkeypatch: pytest.MonkeyPatch, *, has_font: bool
) -> None:
    if not has_font:
        monkeypatch.setattr(labels, "_FONTS", ())
    sheet = Sheet(title="To Łódź", lines=("Gdańsk", "  東京"), code="overland:import-job?name=a")

    content = PdfPrinter().pdf(sheet)

    assert content is not None
    text, codes = read(content)
    assert "stands for letters" in text
    assert "東" not in text
    assert codes == [sheet.code]


def test_a_long_list_goes_on_on_the_next_page_and_long_lines_are_cut() -> None:
    lines = tuple(f"  {number}. {'drive ' * 30}{number}" for number in range(60))
    content = PdfPrinter().pdf(Sheet(title="Packing list", lines=lines, code="x"))

    assert content is not None
    document = pypdfium2.PdfDocument(content)
    pages = len(document)
    document.close()
    assert pages > 1
    text, _ = read(content)
    for number in (0, 59):
        assert f"{number}. drive" in text
        assert f"drive {number}" in text.replace("\r\n", " ").replace("\n", " ")


def test_a_printer_that_fails_costs_the_pdf_and_not_the_shipment(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FaultyPrinter(PdfPrinter(), FaultPlan(faults=("error",)))
    monkeypatch.setattr("overland.cli.disklabels.PdfPrinter", lambda: broken)
    names = {path.name for path in shipped(scene).iterdir()}
    assert {"shipping-label.txt", "packing-list.txt"} <= names
    assert not {name for name in names if name.endswith(".pdf")}
