"""The packing list and the label of a parcel, as files beside the local record."""

from pathlib import Path

from overland.adapters.labels import PdfPrinter
from overland.adapters.posix import PosixFiles
from overland.cli.copycomputer import CopyComputer
from overland.diskprep.labels import label_text, packing_sheet, shipping_sheet
from overland.diskprep.record import Preparation

__all__ = ["write_labels"]


def write_labels(computer: CopyComputer, record: Preparation) -> list[Path]:
    """Write what is printed for the parcel and return the files: PDF where possible, and text."""
    assert record.job is not None, "there is an address to print"
    folder = computer.folder / record.folder
    files, printer = PosixFiles(folder), PdfPrinter()
    written = []
    sheets = {"packing-list": packing_sheet(record), "shipping-label": shipping_sheet(record)}
    for name, sheet in sheets.items():
        pdf = printer.pdf(sheet)
        if pdf is not None:
            files.write(f"{name}.pdf", pdf)
            written.append(folder / f"{name}.pdf")
        if name != "packing-list":  # that one was written with the job
            files.write(f"{name}.txt", label_text(sheet).encode())
        written.append(folder / f"{name}.txt")
    return written
