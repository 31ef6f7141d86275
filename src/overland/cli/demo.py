"""The whole journey on this machine, with real input and the real commands.

`./dev demo` runs it.  Every step is a command line of `overland`, in a process of its own, as a
person would type it; all of them are kept in `commands.sh` of the demo's folder.  What is restored
is compared with the source by `overland.agent.compare`, which uses nothing of our data path.
"""

import argparse
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from overland.agent.compare import compare_trees
from overland.agent.run import WAITING
from overland.cli.journey import Journey, StepFailed
from overland.cli.outcome import count_text, rate_text, size_text

__all__ = ["main"]

_SOURCE: Final = "source-computer"
_COPY: Final = "copy-computer"
_CLOUD: Final = "cloud"
_STATION: Final = "station"
_POLICY: Final = "library"
_JOB: Final = "demo-import-1"
_SLACK_BYTES: Final = 2 << 20  # manifests on each drive, and the last pack that does not fit


@dataclass(frozen=True, slots=True)
class Proven:
    """A recovery point, and a copy of what the source was at that instant."""

    point_id: str
    label: str
    likeness: Path


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the journey and exit: 0 when every restored byte is the byte that was backed up."""
    options = _parser().parse_args(arguments)
    journey = Journey(_folder(options.folder))
    journey.title(f"Overland's main job, on this machine; everything is in {journey.folder}")
    code = 1
    try:
        code = _run(journey, options.source)
    except StepFailed as failed:
        journey.title(f"failed: {failed}")
    finally:
        keep = options.keep_serving and code == 0
        journey.close(keep_serving=keep)
    _look_around(journey, keep=keep)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument(
        "--source",
        type=Path,
        help="folder to back up; it is copied first and never changed "
        "(default: Python's standard library and documentation)",
    )
    parser.add_argument("--folder", type=Path, help="a new or empty folder for everything")
    parser.add_argument("--keep-serving", action="store_true", help="leave the cloud running")
    return parser


def _folder(named: Path | None) -> Path:
    if named is None:
        return Path(tempfile.mkdtemp(prefix="overland-demo-"))
    named.mkdir(parents=True, exist_ok=True)
    if any(named.iterdir()):
        sys.exit(f"{named} is not empty; name another folder")
    return named.absolute()


def _run(journey: Journey, named: Path | None) -> int:
    source = _copy_source(journey, named)
    account = _provider(journey)
    _register(journey, source, account)
    seeded = _first_copy(journey, source)
    drives = _prepare_and_ship(journey)
    mailed = _while_in_the_mail(journey, source)
    _datacenter(journey, drives)
    newest = _adopt_and_go_on(journey, source)
    journey.title("The proof: every point, restored from the vault alone")
    differences = sum(_prove(journey, proven) for proven in (seeded, mailed, newest))
    if differences:
        journey.title(f"failed: {differences} differences between restored and source")
        return 1
    journey.title("Every restored byte, name, mode, owner and time is the one that was backed up.")
    return 0


# -- what is backed up --------------------------------------------------------------------------


def _copy_source(journey: Journey, named: Path | None) -> Path:
    """Copy what is to be backed up, since the demo changes it on the way."""
    source = journey.folder / "source"
    source.mkdir()
    if named is None:
        for folder in _python_trees():
            (source / folder.name).mkdir()
            # Others' packages may be of any size, and are not the standard library.
            parts = [path for path in folder.iterdir() if path.name != "site-packages"]
            _copy(parts, source / folder.name)
    else:
        _copy_whole(named, source)
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    size_bytes = sum(path.stat().st_size for path in files)
    journey.say(_SOURCE, f"{len(files):,} files, {size_text(size_bytes)} to protect in {source}")
    return source


def _python_trees() -> list[Path]:
    """Return the standard library, and Python's documentation where it is installed."""
    documentation = [
        path
        for path in (Path(sys.base_prefix) / "share" / "doc", Path("/usr/share/doc/python3"))
        if path.is_dir()
    ]
    return [Path(sysconfig.get_path("stdlib")), *documentation[:1]]


def _copy(parts: list[Path], to: Path) -> None:
    if parts:
        _cp([str(path) for path in parts], to)


def _copy_whole(folder: Path, to: Path) -> None:
    if not folder.is_dir():
        sys.exit(f"{folder} is not a folder; choose another --source")
    _cp([f"{folder.absolute()}/."], to)


def _cp(parts: list[str], to: Path) -> None:
    """Copy with `cp -a`, which keeps owners, times, links, holes and attributes."""
    done = subprocess.run(["cp", "-a", "--", *parts, str(to)], check=False)
    if done.returncode != 0:
        sys.exit("the source could not be copied for the demo; choose another --source")


def _likeness(journey: Journey, source: Path, label: str) -> Path:
    copy = journey.folder / "likeness" / label
    copy.mkdir(parents=True)
    _copy_whole(source, copy)
    return copy


def _change(source: Path, *, day: int) -> int:
    """Do a day's work in the source: edit, add, rename, remove; return the bytes written."""
    files = sorted(path for path in source.rglob("*.py") if not path.is_symlink())
    edited = files[day :: max(1, len(files) // 20)]
    note = f"\n# edited on day {day}\n".encode()
    for path in edited:
        with path.open("ab") as file:
            file.write(note)
    (source / f"day-{day}.bin").write_bytes(secrets.token_bytes(1 << 20))
    (source / f"day-{day}.txt").write_text("new on this day\n" * 100, encoding="utf-8")
    if edited:
        edited[0].rename(edited[0].with_suffix(".renamed"))
        edited[-1].unlink()
    return len(edited) * len(note) + (1 << 20)


# -- the provider ---------------------------------------------------------------------------


def _provider(journey: Journey) -> dict[str, str]:
    journey.title("A provider's cloud, a customer's account")
    journey.run(
        _CLOUD,
        *("cloud", "init", "--dock"),
        "Overland import dock; 1 Harbour Road; Rotterdam; 3011 AA; Netherlands; +31 10 000 0000",
    )
    endpoints = journey.serve()
    journey.say(_CLOUD, f"serves at {endpoints['url']}, data plane at {endpoints['object_url']}")
    admin = journey.folder / "admin-token"
    journey.run(_CLOUD, "cloud", "tenant", "create", "harbour", "--out", admin)
    as_admin = ("--token-file", admin)
    made = journey.run(_CLOUD, "cloud", "subscription", "create", "production", *as_admin)
    journey.run(_CLOUD, "cloud", "storage-account", "create", "harbourdata", *as_admin)
    container = ("container", "create", "seeds", "--storage-account", "harbourdata")
    journey.run(_CLOUD, "cloud", *container, *as_admin)
    vault = journey.run(_CLOUD, "cloud", "vault", "create", "harbour-vault", *as_admin)
    vault_id = vault["properties"]["vaultId"]
    credentials = ("vault-credentials", vault_id, "--out", journey.folder / "vault-credentials")
    journey.run(_CLOUD, "cloud", *credentials, *as_admin)
    publish = ("publish-settings", "--out", journey.folder / "demo.publishsettings")
    journey.run(_CLOUD, "cloud", *publish, *as_admin)
    station = ("token", "create", "--role", "station", "--out", journey.folder / "station-token")
    journey.run(_CLOUD, "cloud", *station)
    journey.say(_CLOUD, "tenant, subscription, storage account, container and vault are made")
    return {"subscription": made["subscription_id"], "url": endpoints["url"]}


# -- the source computer --------------------------------------------------------------------


def _register(journey: Journey, source: Path, account: dict[str, str]) -> None:
    journey.title("The source computer: keys, registration, an offline policy")
    passphrase = journey.folder / "passphrase"
    passphrase.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    (journey.folder / "staging").mkdir()
    kit = ("--passphrase-file", passphrase, "--recovery-kit", journey.folder / "recovery-kit")
    journey.run(_SOURCE, "agent", "init", "--name", "harbour-files", *kit)
    credentials = ("--vault-credentials", journey.folder / "vault-credentials")
    registered = journey.run(_SOURCE, "agent", "register", *credentials)
    journey.say(_SOURCE, f"{registered['computer']} is registered with {registered['vault']}")
    journey.run(
        _SOURCE,
        *("policy", "create", _POLICY, "--source", source, "--offline"),
        *("--staging", journey.folder / "staging"),
        *("--publish-settings", journey.folder / "demo.publishsettings"),
        *("--job-name", _JOB, "--subscription", account["subscription"]),
        *("--storage-account", "harbourdata", "--container", "seeds"),
    )


def _first_copy(journey: Journey, source: Path) -> Proven:
    journey.title("The first copy goes to the staging location")
    ran = journey.run(_SOURCE, "backup", "now", _POLICY)
    counted = ran["outcome"]["made"]["statistics"]
    stored, read = counted["stored_bytes"], counted["source_bytes"]
    journey.say(
        _SOURCE,
        f"{size_text(read)} became {size_text(stored)} sealed in staging, "
        f"{read / max(stored, 1):.1f} : 1, {rate_text(read, seconds=ran['seconds'])}",
    )
    return Proven(
        ran["outcome"]["made"]["point_id"], "seeded", _likeness(journey, source, "seeded")
    )


def _while_in_the_mail(journey: Journey, source: Path) -> Proven:
    journey.title("While the drives are in the mail, work goes on, protected")
    _change(source, day=1)
    ran = journey.run(_SOURCE, "backup", "run-schedule", "--once", "--due", _POLICY)
    messages = ran["outcome"]["messages"]
    if WAITING not in messages:
        raise StepFailed(_SOURCE, ["backup", "run-schedule"], 1)
    for message in messages:
        journey.say(_SOURCE, message)
    mailed = _incremental(journey, ran, source, "in the mail")
    journey.say(_SOURCE, "restoring that point from vault and staging, today")
    _prove(journey, mailed)
    return mailed


def _incremental(
    journey: Journey,
    ran: Any,  # noqa: ANN401 - the JSON that a command printed
    source: Path,
    label: str,
) -> Proven:
    made = ran["outcome"]["made"]
    counted = made["statistics"]
    journey.say(
        _SOURCE,
        f"incremental point: {size_text(counted['new_bytes'])} changed of "
        f"{size_text(counted['source_bytes'])}, {size_text(counted['stored_bytes'])} over the "
        f"network in {ran['seconds']:.1f} s",
    )
    return Proven(made["point_id"], label, _likeness(journey, source, label.replace(" ", "-")))


def _adopt_and_go_on(journey: Journey, source: Path) -> Proven:
    journey.title("The next scheduled backup lets the vault adopt the seed")
    ran = journey.run(_SOURCE, "backup", "run-schedule", "--once", "--due", _POLICY)
    if ran["outcome"]["result"] != "adopted":
        raise StepFailed(_SOURCE, ["backup", "run-schedule"], 1)
    for message in ran["outcome"]["messages"]:
        journey.say(_SOURCE, message)
    _change(source, day=2)
    ran = journey.run(_SOURCE, "backup", "run-schedule", "--once", "--due", _POLICY)
    newest = _incremental(journey, ran, source, "newest")
    shutil.rmtree(journey.folder / "staging")
    journey.say(_SOURCE, "the staging location is emptied: it is not needed any more")
    return newest


# -- drives, parcel, datacenter -------------------------------------------------------------


def _prepare_and_ship(journey: Journey) -> list[Path]:
    journey.title("The copy computer: two drives, each too small alone")
    staging = journey.folder / "staging"
    staged_bytes = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    largest = max(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    capacity = staged_bytes // 2 + largest // 2 + _SLACK_BYTES
    drives = [journey.folder / "drives" / serial for serial in ("DEMO0001", "DEMO0002")]
    for path in drives:
        limit = ("--serial", path.name, "--capacity", str(capacity))
        journey.run(_COPY, "disk", "create-folder-drive", path, *limit)
    places = [word for path in drives for word in ("--drive", path)]
    settings = ("--publish-settings", journey.folder / "demo.publishsettings")
    prepared = journey.run(
        _COPY, "disk", "prepare", "--staging", staging, *settings, *places, "--yes"
    )
    for drive in prepared["drives"]:
        journey.say(
            _COPY,
            f"drive {drive['serial']}: {count_text(drive['objects'], 'object')}, "
            f"{size_text(drive['bytes'])}, read back and verified",
        )
    address = ", ".join(prepared["ship_to"].values())
    journey.say(_COPY, f"import job {prepared['job']} is created; ship to: {address}")
    journey.run(
        _COPY,
        *("disk", "ship", "--carrier", "FedEx", "--tracking-number", "794600000001"),
        *("--return-name", "Ada Quist", "--return-street", "12 Quay Lane"),
        *("--return-city", "Aarhus", "--return-postal-code", "8000"),
        *("--return-country", "Denmark", "--return-phone", "+45 00 00 00 00"),
        *("--return-email", "disks@example.org", "--return-carrier", "FedEx"),
        *("--return-account", "000111222", "--yes"),
    )
    journey.say(_COPY, "shipped: FedEx 794600000001")
    return [Path(drive["path"]) for drive in prepared["drives"]]  # a small source needs only one


def _datacenter(journey: Journey, drives: list[Path]) -> None:
    journey.title("The datacenter: the parcel arrives")
    endpoints = journey.endpoints
    authority = journey.folder / _CLOUD / "cloud" / "ca.pem"
    cloud = ("--cloud-url", endpoints["url"], "--ca-file", authority)
    token = ("--token-file", journey.folder / "station-token")
    journey.run(_STATION, "station", "init", *cloud, *token)
    parcel = ("--tracking-number", "794600000001", "--carrier", "FedEx")
    places = [word for path in drives for word in ("--drive", path)]
    received = journey.run(_STATION, "station", "receive", *parcel, *places)
    for drive in received["drives"]:
        journey.say(_STATION, f"drive {drive['serial']}: {drive['outcome']}")
    ingested = journey.run(_STATION, "station", "ingest", "--all")
    for drive in ingested:
        journey.say(
            _STATION,
            f"drive {drive['serial']}: {drive['result']}, "
            f"{size_text(drive['landed_bytes'])} verified and uploaded",
        )
    journey.run(
        _STATION,
        *("station", "return", "--job", _JOB, "--carrier", "FedEx"),
        *("--tracking-number", "794600000002"),
    )
    journey.say(_STATION, "drives on their way back: FedEx 794600000002")


# -- the proof ------------------------------------------------------------------------------


def _prove(journey: Journey, proven: Proven) -> int:
    """Restore a point and compare it with the likeness; return how many differences there are."""
    target = journey.folder / "restored" / f"{proven.label.replace(' ', '-')}-{journey.tick()}"
    source = journey.folder / "source"
    ran = journey.run(
        _SOURCE, "restore", proven.point_id, "--target", target, "--strip", source, "--verify"
    )
    comparison = compare_trees(proven.likeness, target)
    for difference in comparison.differences[:20]:
        journey.say(_SOURCE, f"DIFFERENT: {difference}")
    verdict = "identical" if not comparison.differences else "DIFFERENT"
    places = ", ".join(
        f"{size_text(read)} from {place}" for place, read in ran["served_bytes"].items() if read
    )
    journey.say(
        _SOURCE,
        f"{proven.label}: {ran['files']:,} files, {size_text(ran['size_bytes'])} restored "
        f"({places}): {verdict}",
    )
    return len(comparison.differences)


def _look_around(journey: Journey, *, keep: bool) -> None:
    if keep:
        journey.title(f"The cloud still serves; end it with: kill {journey.cloud_pid}")
    journey.title(f"Look around in {journey.folder}")
    home = journey.folder / _SOURCE
    for line in (
        f"cat '{journey.folder}/commands.sh'        # every command, ready to be typed again",
        f"OVERLAND_HOME='{home}' ./dev run -- points list --from '{journey.vault_folder()}'",
        f"OVERLAND_HOME='{home}' ./dev run -- points ls newest / --from '{journey.vault_folder()}'",
        f"ls -R '{journey.folder}/drives' | head -40        # what travelled",
        f"rm -r '{journey.folder}'        # when you have seen enough",
    ):
        journey.plain(line)


if __name__ == "__main__":
    main()
