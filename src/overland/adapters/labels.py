"""Sheets as PDF, by reportlab and segno; they are the extra `labels` and may be absent."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from overland.ports.labels import Printer, Sheet

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

__all__ = ["PdfPrinter"]

_MM: Final = 72 / 25.4
_WIDTH: Final = 210 * _MM  # A4; printers scale it to their paper
_HEIGHT: Final = 297 * _MM
_MARGIN: Final = 18 * _MM
_CODE: Final = 42 * _MM
_QUIET: Final = 4  # modules of white around a QR code (ISO/IEC 18004 §5.3.8)
_FONT: Final = "Overland"
_FONTS: Final = (
    # Covers Latin, Greek, Cyrillic and more; where it is absent, reportlab's own covers Latin.
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"),
    Path("/usr/share/fonts/dejavu-sans-mono-fonts/DejaVuSansMono.ttf"),
    Path("/usr/share/fonts/TTF/DejaVuSansMono.ttf"),
)
_MISSING: Final = "?"


class PdfPrinter(Printer):
    """Makes A4 pages.  Letters that no font here has become question marks, and a line says so."""

    @override
    def pdf(self, sheet: Sheet) -> bytes | None:
        """Return the sheet as PDF; see the port."""
        try:
            import reportlab.pdfgen.canvas  # noqa: PLC0415 - an extra, and slow to load
            import segno  # noqa: PLC0415 - the same
        except ImportError:
            return None
        out = io.BytesIO()
        canvas = reportlab.pdfgen.canvas.Canvas(out, pagesize=(_WIDTH, _HEIGHT), invariant=True)
        canvas.setTitle(sheet.title)
        matrix = [list(row) for row in segno.make(sheet.code, micro=False, error="m").matrix]
        _Page(canvas, _font()).draw(sheet, matrix)
        canvas.save()
        return out.getvalue()


class _Page:
    def __init__(self, canvas: "Canvas", glyphs: frozenset[int] | None) -> None:
        self._canvas, self._glyphs = canvas, glyphs
        self._y = _HEIGHT - _MARGIN
        self._is_whole = True

    def draw(self, sheet: Sheet, matrix: list[list[int]]) -> None:
        """Draw a sheet: the code at the top right of the first page, title and lines from the left.

        What one page does not hold goes on the next.  `matrix` has the code's modules by rows, top
        left first, true where they are dark.
        """
        self._draw_code(matrix)
        size = 15 if sheet.is_label else 10
        below_code = _HEIGHT - _MARGIN - _CODE
        narrow = _WIDTH - 3 * _MARGIN - _CODE
        for text, points in [
            (sheet.title, size + 4),
            ("", size),
            *((x, size) for x in sheet.lines),
        ]:
            beside = self._y > below_code - points
            width = narrow if beside else _WIDTH - 2 * _MARGIN
            for line in _wrapped(text, width_chars=int(width / (points * 0.602))):
                self._write(line, points)
        if not self._is_whole:
            self._write(f"{_MISSING} stands for letters that this computer cannot print;", 9)
            self._write("the text file beside this one has them", 9)

    def _write(self, text: str, points: int) -> None:
        if self._y < _MARGIN + points:
            self._canvas.showPage()
            self._y = _HEIGHT - _MARGIN
        self._y -= points * 1.35
        self._canvas.setFont(_FONT, points)
        self._canvas.drawString(_MARGIN, self._y, self._printable(text))

    def _printable(self, text: str) -> str:
        if self._glyphs is None:
            return text
        shown = "".join(each if ord(each) in self._glyphs else _MISSING for each in text)
        self._is_whole = self._is_whole and shown == text
        return shown

    def _draw_code(self, matrix: list[list[int]]) -> None:
        module = _CODE / (len(matrix) + 2 * _QUIET)
        left, top = _WIDTH - _MARGIN - _CODE, _HEIGHT - _MARGIN
        for row, bits in enumerate(matrix):
            for column, bit in enumerate(bits):
                if bit:
                    x = left + (column + _QUIET) * module
                    y = top - (row + _QUIET + 1) * module
                    self._canvas.rect(x, y, module, module, stroke=0, fill=1)


def _font() -> frozenset[int] | None:
    """Register the font and return what letters it has."""
    import reportlab  # noqa: PLC0415 - an extra
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415 - an extra
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415 - an extra

    own = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
    font = TTFont(_FONT, str(next((path for path in _FONTS if path.is_file()), own)))
    pdfmetrics.registerFont(font)
    return frozenset(font.face.charToGlyph)


def _wrapped(text: str, *, width_chars: int) -> list[str]:
    """Cut a line where the page ends; an indent is kept."""
    indent = text[: len(text) - len(text.lstrip())]
    lines = []
    while len(text) > width_chars:
        at = text.rfind(" ", len(indent) + 1, width_chars + 1)
        cut = at if at > 0 else width_chars
        lines.append(text[:cut])
        text = indent + "  " + text[cut:].lstrip()
    return [*lines, text]
