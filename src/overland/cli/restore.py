"""`overland points` and `overland restore`: what there is, and how it comes back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from stat import filemode
from typing import Any, Final

import click

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point, list_points, open_point
from overland.agent.points.tree import PointTree
from overland.agent.restore.report import RestoreOptions, RestoreReport
from overland.agent.restore.run import restore as restore_point
from overland.cli.completion import complete_path
from overland.cli.listing import show_rows
from overland.cli.machine import AgentMachine, open_agent
from overland.cli.outcome import Commands, count_text, json_option, note, show, size_text
from overland.cli.places import open_place, place_options
from overland.cli.pointmarks import delete, known_points, mark_fields, mark_text, undelete
from overland.cli.refusals import PointUnclear
from overland.cli.restoredevice import check_targets, to_device
from overland.format.point import PointPublic, PointRoot
from overland.format.tree import Entry
from overland.values import PointId, canonical_uuid, path_text

__all__ = ["points", "restore"]

_KIND_BITS: Final = {"file": 0o100000, "folder": 0o040000, "symlink": 0o120000, "fifo": 0o010000}
_NEWEST: Final = "newest"


@click.group(cls=Commands)
def points() -> None:
    """List recovery points and what is in them.

    POINT is a recovery point's id, the beginning of one, or `newest`.
    """


points.add_command(delete)
points.add_command(undelete)


@contextmanager
def _reading(fields: dict[str, Any]) -> Iterator[tuple[AgentMachine, ChunkStore]]:
    with open_agent() as machine:
        objects, keys = open_place(
            machine,
            fields["folders"],
            passphrase_file=fields["passphrase_file"],
            recovery_kit=fields["recovery_kit"],
        )
        yield machine, ChunkStore(objects, keys)


@points.command("list")
@place_options
@json_option
def list_command(*, as_json: bool, **fields: Any) -> None:
    """List recovery points, oldest first; each is proven by its signature."""
    with _reading(fields) as (machine, store):
        listing = list_points(store.objects, store.keys)
        known = {} if fields["folders"] else known_points(machine)
    for name in listing.damaged:
        note(f"warning: {name} is damaged and left out")
    for name in listing.unproven:
        note(
            f"warning: {name} is left out: the key change that tells whether it counts is not "
            "here; name another place too, such as the vault"
        )
    rows = [
        {
            "point_id": public.point_id,
            "created_at": public.created_at,
            "kind": public.kind,
            "base": public.base,
            "objects": len(public.objects),
            "size_bytes": sum(item.size_bytes for item in public.objects),
            **mark_fields(known.get(public.point_id)),
        }
        for public in listing.points
    ]
    text = "\n".join(
        _point_line(public) + mark_text(known.get(public.point_id)) for public in listing.points
    )
    show(rows, text or "there is no recovery point here yet", as_json=as_json)


def _point_line(public: PointPublic) -> str:
    size = size_text(sum(item.size_bytes for item in public.objects))
    return f"{public.point_id}  {public.created_at:%Y-%m-%d %H:%M:%S} UTC  {public.kind:<11} {size}"


@points.command("show")
@click.argument("point")
@place_options
@json_option
def show_command(point: str, *, as_json: bool, **fields: Any) -> None:
    """Show one recovery point: where it is from, what is in it, and what was left out."""
    with _reading(fields) as (_, store):
        opened = _open(store, point)
    public, root = opened.public, opened.root
    counted = root.statistics
    lines = [
        _point_line(public),
        f"host       {root.host}",
        f"policy     {root.policy}",
        f"sources    {', '.join(path_text(one.path) for one in root.roots)}",
        f"content    {count_text(counted.files, 'file')}, {size_text(counted.source_bytes)}",
        f"new        {size_text(counted.new_bytes)}, stored {size_text(counted.stored_bytes)}",
        f"changed    {count_text(counted.changed_while_read, 'file')} while read",
        f"skipped    {counted.skipped}",
        *(f"  '{path_text(one.path)}': {one.reason}" for one in root.skipped),
        *(f"left out   {rule}" for rule in _rules(root)),
    ]
    value = {
        "point_id": public.point_id,
        "created_at": public.created_at,
        "kind": public.kind,
        "base": public.base,
        "seed_id": public.seed_id,
        "host": root.host,
        "policy": root.policy,
        "sources": [path_text(one.path) for one in root.roots],
        "statistics": _counts(counted),
        "skipped": [{"path": path_text(one.path), "reason": one.reason} for one in root.skipped],
        "include": root.include,
        "exclude": root.exclude,
        "exclude_caches": root.left_out.caches,
        "exclude_if_present": [path_text(name) for name in root.left_out.if_present],
        "exclude_larger_than_bytes": root.left_out.larger_than_bytes,
    }
    show(value, "\n".join(lines), as_json=as_json)


def _rules(root: PointRoot) -> list[str]:
    """Return the rules of the policy that left something out, or may have."""
    found = []
    if root.include:
        found.append(f"all but {', '.join(root.include)}")
    if root.exclude:
        found.append(f"by name: {', '.join(root.exclude)}")
    if root.left_out.caches:
        found.append("what lies beside a CACHEDIR.TAG (--exclude-caches)")
    found += [
        f"what lies beside an entry {path_text(name)} (--exclude-if-present)"
        for name in root.left_out.if_present
    ]
    if root.left_out.larger_than_bytes is not None:
        size = size_text(root.left_out.larger_than_bytes)
        found.append(f"files larger than {size} (--exclude-larger-than)")
    return found


def _counts(counted: Any) -> dict[str, int]:  # noqa: ANN401 - a struct of counts
    return {name: getattr(counted, name) for name in counted.__struct_fields__}


@points.command()
@click.argument("point")
@click.argument("path", default="/")
@click.option("-r", "--recursive", is_flag=True, help="And everything below.")
@place_options
@json_option
def ls(point: str, path: str, *, recursive: bool, as_json: bool, **fields: Any) -> None:
    """List what PATH of a recovery point holds."""
    with _reading(fields) as (_, store):
        store.open_index()
        tree = PointTree(_open(store, point), store)
        found = tree.list_folder(os.fsencode(path), recursive=recursive)
        shown = _entry_row if as_json else _entry_line
        show_rows((shown(where, entry) for where, entry in found), as_json=as_json)


def _entry_row(path: bytes, entry: Entry) -> dict[str, object]:
    return {
        "path": path_text(path),
        "kind": entry.kind,
        "mode": entry.mode,
        "size_bytes": entry.size_bytes,
        "mtime_ns": entry.mtime_ns,
    }


def _entry_line(path: bytes, entry: Entry) -> str:
    mode = filemode(entry.mode | _KIND_BITS[entry.kind])
    owner = f"{entry.user or entry.uid}:{entry.group or entry.gid}"
    seconds = min(max(entry.mtime_ns // 1_000_000_000, 0), 253_402_300_799)
    at = datetime.fromtimestamp(seconds, tz=UTC)
    target = f" -> {path_text(entry.target)}" if entry.target else ""
    return (
        f"{mode} {owner:<16} {entry.size_bytes:>14} {at:%Y-%m-%d %H:%M} {path_text(path)}{target}"
    )


def _open(store: ChunkStore, point: str) -> Point:
    return open_point(store.objects, store.keys, _point_id(store, point))


def _point_id(store: ChunkStore, text: str) -> PointId:
    try:
        return PointId(canonical_uuid(text))
    except ValueError:
        known = [public.point_id for public in list_points(store.objects, store.keys).points]
    if text == _NEWEST and known:
        return known[-1]
    matching = [point_id for point_id in known if point_id.startswith(text.lower())]
    if len(matching) != 1:
        raise PointUnclear(text, matches=len(matching))
    return matching[0]


@click.command(cls=click.Command)
@click.argument("point")
@click.argument("paths", nargs=-1)
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    help="Folder to restore to; made if it is absent.",
)
@click.option(
    "--target-device",
    metavar="DEVICE",
    shell_complete=complete_path,
    help="Block device to write one image to, in place of everything on it.",
)
@click.option("--yes", is_flag=True, help="Overwrite the device without asking.")
@click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "overwrite", "keep-both", "skip"]),
    default="refuse",
    show_default=True,
    help="What becomes of names that are taken in the target.",
)
@click.option(
    "--strip",
    default="/",
    show_default=True,
    help="What is below this folder comes directly into the target.",
)
@click.option("--resume", is_flag=True, help="Leave what an interrupted restore finished.")
@click.option("--verify", is_flag=True, help="Read back and compare everything that was written.")
@click.option(
    "--owners",
    type=click.Choice(["ids", "names", "none"]),
    default="ids",
    show_default=True,
    help="Whose the restored files become.",
)
@place_options
@json_option
def restore(point: str, paths: tuple[str, ...], *, as_json: bool, **fields: Any) -> None:
    """Restore POINT, or only PATHS of it, to a target folder, or an image to a device.

    POINT is a recovery point's id, the beginning of one, or `newest`.  Nothing in the target is
    overwritten unless --on-conflict says so.  Before the vault has adopted the seed, packs are
    read from the staging location; --from names drives or other folders to read from.
    """
    check_targets(paths, fields)
    with _reading(fields) as (machine, store):
        if paths and fields["target"]:
            store.open_index()
        else:
            store.load_index()
        if fields["target"] is None:
            opened = _open(store, point)
            to_device(
                opened, paths[0], store=store, progress=machine.meter, fields=fields,
                as_json=as_json,
            )  # fmt: skip
            return
        report = restore_point(
            _open(store, point),
            store=store,
            target=os.fsencode(fields["target"]),
            progress=machine.meter,
            paths=[os.fsencode(path) for path in paths],
            options=RestoreOptions(
                on_conflict=fields["on_conflict"],
                resume=fields["resume"],
                verify=fields["verify"],
                owners=fields["owners"],
                strip=os.fsencode(fields["strip"]),
            ),
        )
    show(_report(report), _report_text(report, fields["target"]), as_json=as_json)


def _report(report: RestoreReport) -> dict[str, object]:
    return {
        "files": report.files,
        "folders": report.folders,
        "symlinks": report.symlinks,
        "fifos": report.fifos,
        "hard_links": report.hard_links,
        "size_bytes": report.size_bytes,
        "already_there": report.already_there,
        "skipped": report.skipped,
        "changed_while_read": report.changed_while_read,
        "verified_bytes": report.verified_bytes,
        "not_put_back": [
            {"path": path_text(one.path), "what": one.what, "reason": one.reason}
            for one in report.shortfalls
        ],
        "served_bytes": {label: served.size_bytes for label, served in report.served.items()},
    }


def _report_text(report: RestoreReport, target: Path) -> str:
    lines = [
        f"restored {count_text(report.files, 'file')}, {size_text(report.size_bytes)}, to {target}",
        *(
            f"  {size_text(served.size_bytes)} read from {label}"
            for label, served in report.served.items()
            if served.size_bytes
        ),
    ]
    if report.verified_bytes:
        lines.append(f"  {size_text(report.verified_bytes)} read back and verified")
    if report.changed_while_read:
        lines.append(
            f"  {count_text(report.changed_while_read, 'file')} had changed while they were read"
        )
    lines += [
        f"  not put back: {one.what} of '{path_text(one.path)}': {one.reason}"
        for one in report.shortfalls[:20]
    ]
    return "\n".join(lines)
