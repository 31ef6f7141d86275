import io

from rich.console import Console

from overland.adapters.progress import RichProgress
from overland.ports.progress import NullProgress, Progress


def drawn(*, is_terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=120, color_system=None)
    progress: Progress = RichProgress(console)
    progress.start("copying", 2 << 20, 3)
    progress.advance(bytes=1 << 20, count=1)
    progress.advance(bytes=1 << 20, count=2)
    progress.finish()
    progress.finish()
    return out.getvalue()


def test_a_terminal_shows_the_phase_the_bytes_and_the_count() -> None:
    text = drawn(is_terminal=True)
    assert "copying" in text
    assert "3/3" in text
    assert "2.0/2.0 MiB" in text


def test_a_log_stays_quiet() -> None:
    assert drawn(is_terminal=False) == ""


def test_a_phase_without_known_totals_counts_on() -> None:
    out = io.StringIO()
    progress = RichProgress(Console(file=out, force_terminal=True, width=120, color_system=None))
    progress.start("scanning", None, None)
    progress.advance(count=7)
    progress.start("sealing", 10, None)
    progress.finish()
    assert "scanning" in out.getvalue()
    assert "7" in out.getvalue()


def test_null_progress_takes_everything() -> None:
    progress: Progress = NullProgress()
    progress.start("copying", None, None)
    progress.advance(1, 1)
    progress.finish()
