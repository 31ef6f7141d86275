import io

from rich.console import Console

from overland.adapters.progress import RichProgress
from overland.ports.progress import NullProgress, Progress, ProgressLines


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


def test_work_side_by_side_has_a_line_each() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    lines: ProgressLines = RichProgress(console)
    first, second = lines.line(), lines.line()
    first.start("copying D1", 4 << 20, 4)
    second.start("reading back D2", 2 << 20, 2)
    first.advance(bytes=1 << 20, count=1)
    first.advance(bytes=1 << 20, count=1)
    first.finish()
    second.advance(bytes=2 << 20, count=2)
    second.finish()

    text = out.getvalue()
    one, _, other = text[text.rindex("copying D1") :].partition("reading back D2")
    assert "2.0/4.0 MiB" in one
    assert "2/4" in one
    assert "2/2" in other


def test_a_new_phase_after_all_lines_ended_is_drawn_too() -> None:
    out = io.StringIO()
    line = RichProgress(Console(file=out, force_terminal=True, width=120)).line()
    for phase in ("copying", "reading back"):
        line.start(phase, 10, 1)
        line.finish()
    assert "reading back" in out.getvalue()


def test_lines_stay_quiet_in_a_log() -> None:
    out = io.StringIO()
    line = RichProgress(Console(file=out, force_terminal=False)).line()
    line.start("copying", 10, 1)
    line.advance(bytes=1)
    line.finish()
    assert out.getvalue() == ""
