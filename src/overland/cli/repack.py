"""`overland repack`: free the room of chunks that no recovery point needs."""

from typing import Final

import click
from typing_extensions import override

from overland.agent.repack.run import RepackReport
from overland.agent.repack.run import repack as replace_packs
from overland.cli.machine import open_agent
from overland.cli.outcome import count_text, json_option, show, size_text

__all__ = ["repack"]

_MIN_LIVE_PERCENT: Final = 70


class _Percent(click.ParamType[float]):
    name = "percent"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return a share from 0 to 1, of `70%` or `70`."""
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is not a percentage", param, ctx)
        if not 0 <= percent <= 100:
            self.fail(f"{value!r} is not between 0% and 100%", param, ctx)
        return percent / 100


@click.command("repack", cls=click.Command)
@click.argument("policy", required=False)
@click.option(
    "--min-live",
    type=_Percent(),
    default=f"{_MIN_LIVE_PERCENT}%",
    show_default=True,
    help="Replace packs of which less than this share is needed.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be replaced.")
@json_option
def repack(*, policy: str | None, min_live: float, dry_run: bool, as_json: bool) -> None:
    """Copy what is needed out of packs that hardly are, so that the cloud can delete these.

    Deleting recovery points frees whole packs only.  This takes the chunks that any recovery
    point still needs out of the others, puts them into new packs, and lets the old ones go.
    Without POLICY all policies are looked at.  Killed at any moment, run it again.  The room is
    free when the time of grace for deleted objects is over.
    """
    with open_agent(exclusive=True) as machine:
        if policy is not None:
            machine.policies.load(policy)
        report = replace_packs(
            machine.workshop(), policy=policy, min_live=min_live, dry_run=dry_run
        )
    show(_value(report), _text(report, dry_run=dry_run), as_json=as_json)


def _value(report: RepackReport) -> dict[str, object]:
    return {
        "packs": report.packs,
        "living_bytes": report.living_bytes,
        "packs_replaced": report.packs_replaced,
        "replaced_bytes": report.replaced_bytes,
        "copied_bytes": report.copied_bytes,
        "new_packs": report.new_packs,
        "points": report.points,
        "replacement_id": report.replacement_id,
    }


def _text(report: RepackReport, *, dry_run: bool) -> str:
    seen = f"{count_text(report.packs, 'pack')} looked at"
    if not report.packs_replaced:
        return f"{seen}; all are needed enough, nothing to do"
    going = f"{count_text(report.packs_replaced, 'pack')} ({size_text(report.replaced_bytes)})"
    if dry_run:
        return f"{seen}; {going} would be replaced"
    return (
        f"{seen}; {going} replaced by {report.new_packs:,} ({size_text(report.copied_bytes)}); "
        f"{size_text(report.freed_bytes)} will be free after the time of grace"
    )
