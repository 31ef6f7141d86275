"""The packing list and the label of a parcel, as files beside the local record."""

from pathlib import Path

from overland.adapters.labels import PdfPrinter
from overland.adapters.posix import PosixFiles
from overland.cli.copycomputer import CopyComputer
from overland.cli.outcome import note
from overland.diskprep.labels import label_text, packing_sheet, shipping_sheet
from overland.diskprep.record import Preparation
from overland.ports.labels import Printer, Sheet

__all__ = ["write_labels"]


def write_labels(
    computer: CopyComputer, record: Preparation, *, printer: Printer | None = None
) -> list[Path]:
    """Write what is printed for the parcel and return the files: PDF where possible, and text.

    The text comes first, and a printer that fails costs the PDF alone: the import job exists, and
    what follows it must not wait for a font.

    Args:
        computer: Has the folder of the local record.
        record: Of an import job.
        printer: Makes PDF; None for our own.

    Raises:
        OutOfSpace, OSError: The files cannot be written.
    """
    assert record.job is not None, "there is an address to print"
    folder = computer.folder / record.folder
    files, printer = PosixFiles(folder), printer or PdfPrinter()
    written = []
    sheets = {"packing-list": packing_sheet(record), "shipping-label": shipping_sheet(record)}
    for name, sheet in sheets.items():
        if name != "packing-list":  # that one was written with the job
            files.write(f"{name}.txt", label_text(sheet).encode())
        pdf = _pdf(printer, sheet)
        if pdf is not None:
            files.write(f"{name}.pdf", pdf)
            written.append(folder / f"{name}.pdf")
        written.append(folder / f"{name}.txt")
    return written


def _pdf(printer: Printer, sheet: Sheet) -> bytes | None:
    try:
        return printer.pdf(sheet)
    except OSError as error:
        note(f"there is no PDF of {sheet.title}, only text: {error}")
        return None
