"""The operator of the copy computer, answering from options and, at a terminal, in person."""

from collections.abc import Sequence
from pathlib import Path

from overland.cli.drivenames import attached_drives, drive_path
from overland.cli.outcome import ask, confirm, count_text, is_interactive, note, size_text
from overland.diskprep.questions import DrivePlan, Remaining
from overland.diskprep.refusals import DriveNotBlank
from overland.errors import RefusedError
from overland.ports.volume import Content
from overland.seeding.staging import FoundSeed

__all__ = ["TerminalQuestions"]

_FOUND: dict[Content, str] = {
    "blank": "nothing",
    "overland": "a drive of Overland that does not belong to this work",
    "foreign": "data",
}


class TerminalQuestions:
    """`Questions`: drives and consent from the command line first, then from the terminal."""

    def __init__(self, *, drives: Sequence[str], erase: Sequence[str], consent: bool) -> None:
        self._drives, self._erase, self._consent = list(drives), frozenset(erase), consent
        self._kept_away: tuple[str, ...] = ()

    def never_offer(self, *paths: str) -> None:
        """Leave drives that hold one of these paths out of what is offered (R80)."""
        self._kept_away = paths

    def unused_drives(self) -> list[str]:
        """Return the paths that were named and not needed; those drives were not touched."""
        return list(self._drives)

    def choose_seed(self, seeds: Sequence[FoundSeed]) -> str:
        """Let the operator choose by number; see the port."""
        for number, seed in enumerate(seeds, start=1):
            record = seed.record
            assert record is not None, "only complete seeds are offered"
            note(
                f"  {number}. import job {record.job_name}, from {record.source_computer}, "
                f"policy {record.policy}, {record.created_at:%Y-%m-%d}, seed {seed.seed_id}"
            )
        while True:
            answer = ask("Which of them are these drives for", option="--job or --seed")
            if answer.isdecimal() and 1 <= int(answer) <= len(seeds):
                return seeds[int(answer) - 1].seed_id
            note(f"answer with a number from 1 to {len(seeds)}")

    def named_drive(self) -> str | None:
        """Take the next drive of the command line; see the port."""
        return drive_path(self._drives.pop(0)) if self._drives else None

    def next_drive(self, remaining: Remaining) -> str | None:
        """Ask at a terminal; a script has named all its drives; see the port."""
        if not is_interactive():
            return None
        note(
            f"{count_text(remaining.object_count, 'object')} "
            f"({size_text(remaining.object_bytes)}) to be put on drives; "
            f"{count_text(remaining.finished_drives, 'drive')} finished"
        )
        self._offer()
        typed = ask("Next drive, by path or by name without colon (- to stop)", option="--drive")
        return None if typed == "-" else drive_path(typed)

    def _offer(self) -> None:
        for drive in attached_drives():
            if not drive.is_system() and not any(map(drive.holds, self._kept_away)):
                capacity = size_text(drive.capacity_bytes)
                note(f"  {Path(drive.path).name}: drive {drive.serial}, {capacity}, {drive.path}")

    def try_another(self, refusal: RefusedError) -> bool:
        """Ask again at a terminal; a script is told; see the port."""
        if not is_interactive():
            return False
        note(f"refused: {refusal} [{refusal.code}]")
        return True

    def may_erase(self, plan: DrivePlan) -> bool:
        """Ask for consent, and for the serial number where data would be lost; see the port."""
        note(
            f"drive {plan.serial} at {plan.path}, {size_text(plan.capacity_bytes)}: "
            f"{count_text(plan.object_count, 'object')}, {size_text(plan.object_bytes)}"
        )
        if plan.content == "blank":
            return self._consent or confirm(f"Fill drive {plan.serial}?")
        if plan.serial in self._erase:
            return True
        if not is_interactive():
            raise DriveNotBlank(plan.serial, found=_FOUND[plan.content])
        note(f"drive {plan.serial} holds {_FOUND[plan.content]}, which would be lost")
        typed = ask(f"To erase it, type its serial number {plan.serial}", option="--erase")
        return typed == plan.serial

    def tell(self, text: str) -> None:
        """Write a line for the operator; see the port."""
        note(text)
