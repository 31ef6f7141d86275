"""The world in which drives are measured: a cloud, a staged seed, fresh drives, plain tools."""

import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog
from bench.plaintools import (
    COPY,
    READ,
    Run,
    forget,
    in_process,
    side_by_side,
    timed,
    write_store,
)

from overland.adapters.engine import DbosEngine
from overland.adapters.volumes import create_folder_volume
from overland.cli.copycomputer import open_copy_computer
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.journey import Journey
from overland.cli.stationcomputer import open_station
from overland.diskprep.prepare import choose_seed, prepare_drives
from overland.station.ingest import DRIVES_AT_ONCE
from overland.station.items import Item, Verdict
from overland.station.transfer import Transfer

__all__ = ["World"]

_SLACK_BYTES: Final = 8 << 20  # manifests, and the last pack that does not fit
_JOB: Final = "bench-import"
_DOCK: Final = "Bench dock; 1 Harbour Road; Rotterdam; 3011 AA; Netherlands; +31 10 000 0000"


# -- ours, each in a process of its own ---------------------------------------------------------


def _prepare(home: str, staging: str, drives: Sequence[str]) -> Run:
    os.environ["OVERLAND_HOME"] = home
    questions = TerminalQuestions(drives=drives, erase=(), consent=True)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        seed = choose_seed(computer.staging(staging), questions)
        return timed(lambda: prepare_drives(seed, bench, staging=staging))


def _ingest(home: str) -> Run:
    import dbos  # noqa: F401, PLC0415 - a second of start that no byte is to blame for

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    os.environ["OVERLAND_HOME"] = home
    with open_station(None) as machine:
        importer = machine.ingest()
        choices = importer.choose(job=None, paths=())
        results = list[str]()

        def bring_in() -> None:
            results.extend(each.result for each in importer.run(choices))

        moved = _noting_moves()
        run = timed(bring_in)
        assert results
        assert set(results) == {"completed"}, results
        return replace(run, moving_s=max(moved) - min(moved))


def _launch_once(home: str) -> Run:
    """Open the station's engine for the first time: that one time it waits for its queue."""
    engine = DbosEngine(Path(home) / "station" / "engine.db", "station", workers=DRIVES_AT_ONCE)

    def launch() -> None:
        engine.launch()
        engine.close()

    return timed(launch)


def _noting_moves() -> list[float]:
    """Return what will have the instants at which objects begin and end; once per process."""
    moved, move = list[float](), Transfer.move

    def noting(transfer: Transfer, item: Item, **options: Any) -> Verdict:
        moved.append(time.monotonic())
        try:
            return move(transfer, item, **options)
        finally:
            moved.append(time.monotonic())

    setattr(Transfer, "move", noting)  # noqa: B010 - its options are passed on as they come
    return moved


# -- the world ----------------------------------------------------------------------------------


class World:
    """A cloud, a staged seed, and fresh drives for each run."""

    def __init__(
        self,
        folder: Path,
        *,
        size_mib: int,
        drives: int,
        drives_folder: Path | None = None,
        store_folder: Path | None = None,
    ) -> None:
        """Stage a seed in `folder`; for ingest, drives and store may lie on other devices."""
        self.folder, self._drives = folder, drives
        self._shipped = (drives_folder or folder) / "shipped"
        self._store = store_folder or folder
        self._last_ingest = Run(0.0, 0.0)
        self.journey = Journey(folder)
        try:
            self._stage(size_mib)
        except BaseException:
            self.journey.close(keep_serving=False)
            raise

    @property
    def staging(self) -> Path:
        """The staging location."""
        return self.folder / "staging"

    def objects(self) -> list[Path]:
        """Return the staged objects."""
        suffixes = {".pack", ".index", ".point", ".keyring"}
        return [path for path in self.staging.rglob("*.*") if path.suffix in suffixes]

    def size_bytes(self) -> int:
        """Return how much the objects are in all."""
        return sum(path.stat().st_size for path in self.objects())

    def blank(self, folder: Path, count: int) -> list[Path]:
        """Return fresh drives that hold the seed together."""
        shutil.rmtree(folder, ignore_errors=True)
        largest = max(path.stat().st_size for path in self.objects())
        capacity = self.size_bytes() // count + (largest + _SLACK_BYTES if count > 1 else 1 << 40)
        made = [folder / f"BENCH{number}" for number in range(count)]
        for path in made:
            create_folder_volume(path, serial=path.name, capacity_bytes=capacity)
        return made

    def prepare(self, count: int) -> Run:
        """Prepare drives, with a new record each time."""
        drives = [str(path) for path in self.blank(self.folder / "drives", count)]
        home = self.folder / "bench-copy-computer"
        shutil.rmtree(home, ignore_errors=True)
        forget(self.objects())
        run = in_process(_prepare, str(home), str(self.staging), drives)
        shutil.rmtree(self.folder / "drives")
        return run

    def plain_copy(self, script: str, count: int) -> Run:
        """Run a script over as many drives side by side, each with its share of the objects."""
        objects = self.objects()
        lanes = []
        for number in range(count):
            drive = self.folder / "plain" / str(number)
            drive.mkdir(parents=True)
            lanes.append([str(drive), *map(str, objects[number::count])])
        forget(objects)
        run = side_by_side(script, lanes)
        shutil.rmtree(self.folder / "plain")
        return run

    def ship(self) -> None:
        """Fill the drives for real, and send them to the station."""
        paths = self.blank(self._shipped, self._drives)
        places = [word for path in paths for word in ("--drive", path)]
        settings = ("--publish-settings", self.folder / "bench.publishsettings")
        run = self.journey.run
        run("copy", "disk", "prepare", "--staging", self.staging, *settings, *places, "--yes")
        run(
            "copy",
            *("disk", "ship", "--carrier", "FedEx", "--tracking-number", "794600000001", "--yes"),
            *("--return-name", "Ada Quist", "--return-street", "12 Quay Lane"),
            *("--return-city", "Aarhus", "--return-postal-code", "8000"),
            *("--return-country", "Denmark", "--return-phone", "+45 00 00 00 00"),
            *("--return-email", "disks@example.org", "--return-carrier", "FedEx"),
            *("--return-account", "000111222"),
        )
        self._station_init()
        parcel = ("--tracking-number", "794600000001", "--carrier", "FedEx")
        run("station", "station", "receive", *parcel, *places)
        self.journey.close(keep_serving=False)
        in_process(_launch_once, str(self.folder / "station"))
        shutil.rmtree(self.staging)
        for machine in ("cloud", "station"):
            shutil.copytree(self.folder / machine, self.folder / "before" / machine)

    def shipped(self) -> list[list[Path]]:
        """Return the objects of each drive."""
        return [sorted(p.rglob("*.pack")) for p in sorted(self._shipped.iterdir())]

    def ingest(self, *, over_socket: bool) -> Run:
        """Bring the drives in, from the same state each time; the cloud's time counts too."""
        for machine in ("cloud", "station"):
            shutil.rmtree(self.folder / machine)
            shutil.copytree(self.folder / "before" / machine, self.folder / machine)
        self._put_store_in_place()
        local = ("--object-socket", self.folder / "objects.sock") if over_socket else ()
        self.journey.serve(*local)
        self._station_init(*local)  # the cloud has another port each time
        forget([path for drive in self.shipped() for path in drive])
        cloud = Path(f"/proc/{self.journey.cloud_pid}/stat")
        before = _ticks(cloud)
        run = in_process(_ingest, str(self.folder / "station"))
        cloud_s = _ticks(cloud) - before
        self.journey.close(keep_serving=False)
        self._last_ingest = replace(run, cpu_s=run.cpu_s + cloud_s)
        return self._last_ingest

    def moving(self) -> Run:
        """Return the part of the last ingest in which objects moved."""
        return Run(self._last_ingest.moving_s, 0.0)

    def read_drives(self) -> Run:
        """Read what the drives hold, past the page cache, all drives at once."""
        return side_by_side(READ, [[str(path) for path in drive] for drive in self.shipped()])

    def write_store(self) -> Run:
        """Write as much as the drives hold, past the page cache."""
        folder = self._store / "plain"
        folder.mkdir()
        lanes = [[path.stat().st_size for path in drive] for drive in self.shipped()]
        run = in_process(write_store, str(folder), lanes)
        shutil.rmtree(folder)
        return run

    def read_and_write(self) -> Run:
        """Copy what the drives hold, past the page cache and each file durable, side by side."""
        lanes = []
        for number, drive in enumerate(self.shipped()):
            folder = self._store / "plain" / str(number)
            folder.mkdir(parents=True)
            lanes.append([str(folder), *map(str, drive)])
        run = side_by_side(COPY, lanes)
        shutil.rmtree(self._store / "plain")
        return run

    def _put_store_in_place(self) -> None:
        """Have the cloud's objects on the store's own device, if it has one."""
        if self._store == self.folder:
            return
        objects, elsewhere = self.folder / "cloud" / "cloud" / "objects", self._store / "objects"
        shutil.rmtree(elsewhere, ignore_errors=True)
        shutil.move(objects, elsewhere)
        objects.symlink_to(elsewhere)

    def _station_init(self, *options: str | Path) -> None:
        cloud = ("--cloud-url", self.journey.endpoints["url"])
        trust = ("--ca-file", self.folder / "cloud" / "cloud" / "ca.pem")
        token = ("--token-file", self.folder / "station-t")
        self.journey.run("station", "station", "init", *cloud, *trust, *token, *options)

    def _stage(self, size_mib: int) -> None:
        run, folder = self.journey.run, self.folder
        run("cloud", "cloud", "init", "--dock", _DOCK)
        self.journey.serve()
        run("cloud", "cloud", "tenant", "create", "bench", "--out", folder / "admin")
        admin = ("--token-file", folder / "admin")
        made = run("cloud", "cloud", "subscription", "create", "production", *admin)
        run("cloud", "cloud", "storage-account", "create", "benchdata", *admin)
        container = ("container", "create", "seeds", "--storage-account", "benchdata")
        run("cloud", "cloud", *container, *admin)
        vault = run("cloud", "cloud", "vault", "create", "bench-vault", *admin)
        vault_id = vault["properties"]["vaultId"]
        credentials = folder / "vault-credentials"
        run("cloud", "cloud", "vault-credentials", vault_id, "--out", credentials, *admin)
        settings = folder / "bench.publishsettings"
        run("cloud", "cloud", "publish-settings", "--out", settings, *admin)
        run("cloud", "cloud", "token", "create", "--role", "station", "--out", folder / "station-t")
        (folder / "passphrase").write_text("a passphrase for the bench\n")
        kit = ("--passphrase-file", folder / "passphrase", "--recovery-kit", folder / "kit")
        run("source", "agent", "init", "--name", "bench", *kit)
        run("source", "agent", "register", "--vault-credentials", credentials)
        self.staging.mkdir()
        source = folder / "data"
        source.mkdir()
        for number in range(-(-size_mib // 64)):
            (source / f"{number}.bin").write_bytes(os.urandom(64 << 20))
        run(
            "source",
            *("policy", "create", "bench", "--source", source, "--offline"),
            *("--staging", self.staging, "--publish-settings", settings, "--job-name", _JOB),
            *("--subscription", made["subscription_id"]),
            *("--storage-account", "benchdata", "--container", "seeds"),
        )
        run("source", "backup", "now", "bench")
        shutil.rmtree(source)


def _ticks(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
