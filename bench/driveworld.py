"""The world in which drives are measured: a cloud, a staged seed, fresh drives, plain tools."""

import logging
import mmap
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import structlog

from overland.adapters.volumes import create_folder_volume
from overland.cli.copycomputer import open_copy_computer
from overland.cli.diskquestions import TerminalQuestions
from overland.cli.journey import Journey
from overland.cli.stationcomputer import open_station
from overland.diskprep.prepare import choose_seed, prepare_drives

__all__ = ["COPIES", "Run", "World"]

_BLOCK_BYTES: Final = 4 << 20
_SLACK_BYTES: Final = 8 << 20  # manifests, and the last pack that does not fit
_JOB: Final = "bench-import"
_DOCK: Final = "Bench dock; 1 Harbour Road; Rotterdam; 3011 AA; Netherlands; +31 10 000 0000"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall and processor seconds of all processes that took part, and memory's peak."""

    wall_s: float
    cpu_s: float
    peak_mib: int = 0


# -- ours, each in a process of its own ---------------------------------------------------------


def _prepare(home: str, staging: str, drives: Sequence[str]) -> Run:
    os.environ["OVERLAND_HOME"] = home
    questions = TerminalQuestions(drives=drives, erase=(), consent=True)
    with open_copy_computer() as computer:
        bench = computer.bench(questions)
        seed = choose_seed(computer.staging(staging), questions)
        return _timed(lambda: prepare_drives(seed, bench, staging=staging))


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

        run = _timed(bring_in)
        assert results
        assert set(results) == {"completed"}, results
        return run


def _timed(work: Callable[[], object]) -> Run:
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    work()
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before), _peak_mib())


def _in_process(work: Callable[..., Run], *arguments: object) -> Run:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _cpu_s(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def _peak_mib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


# -- plain tools --------------------------------------------------------------------------------


def _shell(script: str, *words: str) -> Run:
    """Run a script; its processes' time counts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["sh", "-ec", script, "sh", *words], check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before))


def _side_by_side(script: str, lanes: Sequence[Sequence[str]]) -> Run:
    """Run the script once per drive, all at once."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(lambda words: _shell(script, *words), lanes))
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, _cpu_s(after) - _cpu_s(before))


# The copy of one file is hashed while the next one is copied; a drive that may be unplugged has
# its caches written, so `sync` belongs to it.
_PIPELINE: Final = (
    'd=$1; shift; for f; do cp "$f" "$d"/; echo "$d/${f##*/}"; done | xargs -n1 %s; sync -f "$d"'
)
_ONE_AFTER_ANOTHER: Final = (
    'd=$1; shift; cp "$@" "$d"/; sync -f "$d"; '
    'for f in "$d"/*; do dd if="$f" iflag=nocache count=0 status=none; done; '
    'sha256sum "$@" "$d"/*'
)
COPIES: Final = {
    "cp | sha256sum": _PIPELINE % "sha256sum",
    "cp | openssl sha256": _PIPELINE % "openssl dgst -sha256",
    "cp, then sha256sum of both ends": _ONE_AFTER_ANOTHER,
}
_COPY: Final = (
    'd=$1; shift; for f; do dd if="$f" of="$d/${f##*/}" bs=4M iflag=direct oflag=direct '
    "conv=fsync status=none; done"
)
_READ: Final = 'for f; do dd if="$f" of=/dev/null bs=4M iflag=direct status=none; done'


def _write_store(folder: str, sizes: Sequence[int]) -> Run:
    """Write files of these sizes past the page cache, each durable before the next."""
    buffer = mmap.mmap(-1, _BLOCK_BYTES)
    buffer.write(os.urandom(_BLOCK_BYTES))

    def write() -> None:
        for number, size_bytes in enumerate(sizes):
            path = f"{folder}/{number}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
            left = -(-size_bytes // 4096) * 4096
            while left > 0:
                left -= os.write(fd, memoryview(buffer)[: min(left, _BLOCK_BYTES)])
            os.fsync(fd)
            os.close(fd)

    return _timed(write)


def _forget(paths: Sequence[Path]) -> None:
    """Take files out of the page cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


# -- the world ----------------------------------------------------------------------------------


class World:
    """A cloud, a staged seed, and fresh drives for each run."""

    def __init__(self, folder: Path, *, size_mib: int, drives: int) -> None:
        self.folder, self._drives = folder, drives
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

    def blank(self, name: str, count: int) -> list[Path]:
        """Return fresh drives that hold the seed together."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        largest = max(path.stat().st_size for path in self.objects())
        capacity = self.size_bytes() // count + (largest + _SLACK_BYTES if count > 1 else 1 << 40)
        made = [self.folder / name / f"BENCH{number}" for number in range(count)]
        for path in made:
            create_folder_volume(path, serial=path.name, capacity_bytes=capacity)
        return made

    def prepare(self, count: int) -> Run:
        """Prepare drives, with a new record each time."""
        drives = [str(path) for path in self.blank("drives", count)]
        home = self.folder / "bench-copy-computer"
        shutil.rmtree(home, ignore_errors=True)
        _forget(self.objects())
        run = _in_process(_prepare, str(home), str(self.staging), drives)
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
        _forget(objects)
        run = _side_by_side(script, lanes)
        shutil.rmtree(self.folder / "plain")
        return run

    def ship(self) -> None:
        """Fill the drives for real, and send them to the station."""
        paths = self.blank("shipped", self._drives)
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
        shutil.rmtree(self.staging)
        for machine in ("cloud", "station"):
            shutil.copytree(self.folder / machine, self.folder / "before" / machine)

    def shipped(self) -> list[list[Path]]:
        """Return the objects of each drive."""
        return [sorted(p.rglob("*.pack")) for p in sorted((self.folder / "shipped").iterdir())]

    def ingest(self, *, over_socket: bool) -> Run:
        """Bring the drives in, from the same state each time; the cloud's time counts too."""
        for machine in ("cloud", "station"):
            shutil.rmtree(self.folder / machine)
            shutil.copytree(self.folder / "before" / machine, self.folder / machine)
        local = ("--object-socket", self.folder / "objects.sock") if over_socket else ()
        self.journey.serve(*local)
        self._station_init(*local)  # the cloud has another port each time
        _forget([path for drive in self.shipped() for path in drive])
        cloud = Path(f"/proc/{self.journey.cloud_pid}/stat")
        before = _ticks(cloud)
        run = _in_process(_ingest, str(self.folder / "station"))
        cloud_s = _ticks(cloud) - before
        self.journey.close(keep_serving=False)
        return Run(run.wall_s, run.cpu_s + cloud_s, run.peak_mib)

    def read_drives(self) -> Run:
        """Read what the drives hold, past the page cache, all drives at once."""
        return _side_by_side(_READ, [[str(path) for path in drive] for drive in self.shipped()])

    def write_store(self) -> Run:
        """Write as much as the drives hold, past the page cache."""
        folder = self.folder / "plain"
        folder.mkdir()
        sizes = [path.stat().st_size for drive in self.shipped() for path in drive]
        run = _in_process(_write_store, str(folder), sizes)
        shutil.rmtree(folder)
        return run

    def read_and_write(self) -> Run:
        """Copy what the drives hold, past the page cache and each file durable, side by side."""
        lanes = []
        for number, drive in enumerate(self.shipped()):
            folder = self.folder / "plain" / str(number)
            folder.mkdir(parents=True)
            lanes.append([str(folder), *map(str, drive)])
        run = _side_by_side(_COPY, lanes)
        shutil.rmtree(self.folder / "plain")
        return run

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
