"""Where a restore reads from: the vault, the staging location, drives, any folder of objects."""

from collections.abc import Sequence
from pathlib import Path

import click

from overland.adapters.posix import PosixFiles
from overland.agent.points.reading import ReadKeys, open_keys
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.cli.machine import AgentMachine, folder_objects
from overland.cli.outcome import note
from overland.cli.refusals import NotAFolder, NothingToRead
from overland.cli.secrets import read_passphrase
from overland.errors import TransientError
from overland.ports.objects import Objects
from overland.values import SeedId, canonical_uuid

__all__ = ["Layer", "Place", "open_layers", "open_place", "place_options", "read_keys"]

Place = tuple[LayeredObjects, ReadKeys]
Layer = tuple[str, Objects]


def open_place(
    machine: AgentMachine,
    folders: Sequence[Path],
    *,
    passphrase_file: Path | None,
    recovery_kit: Path | None,
) -> Place:
    """Return what to read from, best first, and the keys to read it with.

    Without `folders` this computer's vault is read, and the staging locations of its policies;
    with them, they alone.  The keys are this computer's own, unless a passphrase or a recovery
    kit is named.

    Raises:
        NotAFolder, NothingToRead: A folder holds no repository, or there is nothing to read from.
    """
    objects = LayeredObjects(open_layers(machine, folders))
    return objects, read_keys(machine, objects, passphrase_file, recovery_kit)


def open_layers(machine: AgentMachine, folders: Sequence[Path]) -> list[Layer]:
    """Return the places to read from with their labels, best first; see `open_place`.

    Raises:
        NotAFolder, NothingToRead: A folder holds no repository, or there is nothing to read from.
    """
    layers = [layer for folder in folders for layer in _in_folder(folder)]
    if not folders:
        layers = [*_vault(machine), *_staging(machine)]
    if not layers:
        raise NothingToRead("there is nothing to read from")
    return layers


def _in_folder(folder: Path) -> list[Layer]:
    if not folder.is_dir():
        raise NotAFolder(folder)
    seeds = _seeds(folder)
    if seeds:
        files = PosixFiles(folder)
        return [(f"{folder}/seed-{seed}", SeedFolderObjects(files, seed)) for seed in seeds]
    if (folder / "points").is_dir() or (folder / "packs").is_dir():
        return [(str(folder), folder_objects(folder))]
    raise NothingToRead(f"{folder} holds neither a seed nor a repository")


def _seeds(folder: Path) -> list[SeedId]:
    found = []
    for path in sorted(folder.glob("seed-*")):
        try:
            found.append(SeedId(canonical_uuid(path.name.removeprefix("seed-"))))
        except ValueError:
            continue
    return found


def _vault(machine: AgentMachine) -> list[Layer]:
    if not machine.home.is_registered():
        return []
    try:
        return [("vault", machine.vault())]
    except TransientError as error:
        note(f"warning: the vault does not answer, reading what is here: {error}")
        return []


def _staging(machine: AgentMachine) -> list[Layer]:
    layers: dict[str, Objects] = {}
    for name in machine.policies.names():
        offline = machine.policies.load(name).offline
        seed_id = machine.policies.progress(name).seed_id
        if offline is None or seed_id is None or not Path(offline.staging_location).is_dir():
            continue
        files = PosixFiles(Path(offline.staging_location))
        layers[f"staging {seed_id}"] = SeedFolderObjects(files, SeedId(seed_id))
    return list(layers.items())


def read_keys(
    machine: AgentMachine,
    objects: LayeredObjects,
    passphrase_file: Path | None,
    recovery_kit: Path | None,
) -> ReadKeys:
    """Return this computer's own keys, or those that a passphrase or a recovery kit opens.

    Raises:
        NoKeyring, PassphraseWrong, RecoveryKitWrong, KeyringDamaged: As `open_keys`.
    """
    if recovery_kit is not None:
        return open_keys(objects, recovery_kit=recovery_kit.read_text(encoding="utf-8").strip())
    if passphrase_file is None and machine.home.is_initialised():
        keys = machine.keys()
        return ReadKeys.of(keys.document, keys.master, at_hand=[objects, machine.home.files])
    return open_keys(objects, passphrase=read_passphrase(passphrase_file, twice=False))


def place_options(function: click.decorators.FC) -> click.decorators.FC:
    """Add the options that `open_place` takes to a command."""
    for option in (
        click.option(
            "--recovery-kit",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="File with the recovery kit, in place of the passphrase.",
        ),
        click.option(
            "--passphrase-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="File with the passphrase; not needed on the source computer itself.",
        ),
        click.option(
            "--from",
            "folders",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Read from this drive, staging location or folder instead; may be repeated.",
        ),
    ):
        function = option(function)
    return function
