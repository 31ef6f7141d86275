"""`overland restore --target-device`: an image goes back onto a block device."""

import os
from dataclasses import asdict
from typing import Any, Final

import click

from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import Point
from overland.agent.restore.device import TargetDevice, image_entry, restore_to_device
from overland.cli.outcome import confirm, show, size_text
from overland.ports.progress import Progress

__all__ = ["check_targets", "to_device"]

_OF_FOLDERS: Final = {"on_conflict": "refuse", "strip": "/", "resume": False, "owners": "ids"}


def check_targets(paths: tuple[str, ...], fields: dict[str, Any]) -> None:
    """Return if the options say one place to restore to, and nothing that this one does not do.

    Raises:
        UsageError: They do not.
    """
    if (fields["target"] is None) == (fields["target_device"] is None):
        raise click.UsageError("give either --target FOLDER or --target-device DEVICE")
    if fields["target_device"] is None:
        if fields["yes"]:
            raise click.UsageError("--yes is for --target-device alone")
        return
    if len(paths) != 1:
        raise click.UsageError("name the one image that is written to the device")
    for name, unset in _OF_FOLDERS.items():
        if fields[name] != unset:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} has no meaning for a device")


def to_device(
    point: Point,
    path: str,
    *,
    store: ChunkStore,
    progress: Progress,
    fields: dict[str, Any],
    as_json: bool,
) -> None:
    """Write an image onto the device, after the operator agreed.

    Raises:
        click.Abort: They did not; nothing was written.
    """
    tree, entry = image_entry(point, os.fsencode(path), store)
    device = TargetDevice(fields["target_device"])
    try:
        question = (
            f"Everything on {device.path} ({size_text(device.size_bytes)}) is replaced by {path} "
            f"({size_text(entry.size_bytes)})."
        )
        if not fields["yes"] and not confirm(question):
            raise click.Abort
        report = restore_to_device(
            tree, entry, store=store, device=device, progress=progress, verify=fields["verify"]
        )
    finally:
        device.close()
    text = (
        f"restored {path}, {size_text(report.size_bytes)}, to {device.path}: "
        f"{size_text(report.data_bytes)} of data, the rest of the device is zeros"
    )
    if report.verified_bytes:
        text += f"\n  {size_text(report.verified_bytes)} read back and verified"
    if report.changed_while_read:
        text += "\n  it had changed while it was read"
    show({"device": device.path, **asdict(report)}, text, as_json=as_json)
