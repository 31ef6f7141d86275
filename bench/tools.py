"""The backup tools that are measured: how each does a step, with settings that do the same work.

All of them encrypt, compress, write to a folder on the same file system, and make durable what
they wrote before they end.  `bench/README.md` lists the settings and why.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

from bench.measure import Command

__all__ = ["STEPS", "Borg", "Floor", "Overland", "Place", "Restic", "Step", "Tar", "Tool"]

Step = Literal["first", "unchanged", "incremental", "list", "restore", "check"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
"""In this order; "list" only names the points, and shows what every command costs at least."""

_ROOT: Final = Path(__file__).resolve().parent.parent
_PASSPHRASE: Final = "a passphrase for a benchmark"
_POLICY: Final = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of one tool in one round: all but the source are its own."""

    home: Path
    source: Path
    restored: Path
    mean_chunk_kib: int

    @property
    def repository(self) -> Path:
        """What a tool keeps of a backup; its caches lie beside it."""
        return self.home / "repository"


class Tool(Protocol):
    """One backup tool."""

    name: str
    version: str
    restores_under_source: bool
    """Whether restored files lie below the source's whole path, or directly in the target."""

    def prepare(self, place: Place) -> list[Command]:
        """Return what has to run before the first backup; it is not measured."""
        ...

    def command(self, step: Step, place: Place) -> Command:
        """Return the command for one step."""
        ...


class Overland:
    """This program: first copy to a staging location, the later points to a vault."""

    restores_under_source = True

    def __init__(self, *, name: str = "overland", source: Path | None = None) -> None:
        """Measure the program of this checkout, or the one in the folder `source`."""
        self.name, self.version = name, "of this checkout" if source is None else str(source)
        self._source = source or _ROOT / "src"

    def prepare(self, place: Place) -> list[Command]:
        """Make keys and a policy, as a user does."""
        staging, vault = self._repositories(place)
        for folder in (staging, vault):
            folder.mkdir(parents=True)
        passphrase = place.home / "passphrase"
        passphrase.write_text(_PASSPHRASE + "\n")
        kit = place.home / "kit"
        policy = ("create", _POLICY, place.source, staging, str(place.mean_chunk_kib))
        init = ["agent", "init", "--passphrase-file", str(passphrase), "--recovery-kit", str(kit)]
        return [self._cli(place, *init), self._agent(place, *policy)]

    def command(self, step: Step, place: Place) -> Command:
        """Run the program; backups by `bench/agentrun.py`, which does without the cloud."""
        staging, vault = self._repositories(place)
        layers = ("--from", str(vault), "--from", str(staging))
        match step:
            case "list":
                return self._cli(place, "points", "list", *layers)
            case "first":
                return self._agent(place, "stage", _POLICY, vault)
            case "unchanged" | "incremental":
                return self._agent(place, "send", _POLICY, vault)
            case "restore":
                target = str(place.restored)
                return self._cli(place, "restore", "newest", "--target", target, *layers)
            case "check":
                return self._cli(place, "check", *layers)

    def _repositories(self, place: Place) -> tuple[Path, Path]:
        return place.repository / "staging", place.repository / "vault"

    def _agent(self, place: Place, *arguments: str | Path) -> Command:
        program = _ROOT / "bench" / "agentrun.py"
        return self._command(place, sys.executable, program, *arguments)

    def _cli(self, place: Place, *arguments: str) -> Command:
        return self._command(place, sys.executable, "-m", "overland", *arguments)

    def _command(self, place: Place, *arguments: str | Path) -> Command:
        environment = {"OVERLAND_HOME": str(place.home / "agent"), "PYTHONPATH": str(self._source)}
        return Command(arguments=arguments, folder=place.home, environment=environment)


class Restic:
    """restic, with its defaults: repository version 2 with compression where it knows that."""

    name = "restic"
    restores_under_source = True

    def __init__(self, program: Path) -> None:
        """Measure the `program`."""
        self._program = program
        self.version = _said([program, "version"]).split()[1]
        self._is_sparse = "--sparse" in _said([program, "restore", "--help"])

    def prepare(self, place: Place) -> list[Command]:
        """Make a repository."""
        return [self._command(place, "init")]

    def command(self, step: Step, place: Place) -> Command:
        """Run restic; restores keep holes, as Overland does, where it knows how."""
        match step:
            case "list":
                return self._command(place, "snapshots")
            case "first" | "unchanged" | "incremental":
                return self._command(place, "backup", str(place.source))
            case "restore":
                sparse = ["--sparse"] if self._is_sparse else []
                target = ["--target", str(place.restored)]
                return self._command(place, "restore", "latest", *target, *sparse)
            case "check":
                return self._command(place, "check", "--read-data")

    def _command(self, place: Place, *arguments: str) -> Command:
        environment = {
            "RESTIC_REPOSITORY": str(place.repository),
            "RESTIC_PASSWORD": _PASSPHRASE,
            "RESTIC_CACHE_DIR": str(place.home / "cache"),
        }
        return Command(
            arguments=[self._program, *arguments], folder=place.home, environment=environment
        )


class Borg:
    """borg, with zstd 3, which restic's default is nearest to, and authenticated encryption."""

    name = "borg"
    restores_under_source = True

    def __init__(self, program: Path) -> None:
        """Measure the `program`."""
        self._program = program
        self.version = _said([program, "--version"]).split()[1]

    def prepare(self, place: Place) -> list[Command]:
        """Make a repository."""
        place.restored.mkdir(exist_ok=True)
        return [self._command(place, "init", "--encryption", "repokey-blake2")]

    def command(self, step: Step, place: Place) -> Command:
        """Run borg; every archive has the name of its step."""
        newest = "::incremental"
        match step:
            case "list":
                return self._command(place, "list")
            case "first" | "unchanged" | "incremental":
                create = ["create", "--compression", "zstd,3", f"::{step}", str(place.source)]
                return self._command(place, *create)
            case "restore":
                place.restored.mkdir(exist_ok=True)
                extract = self._command(place, "extract", "--sparse", newest)
                return Command(
                    arguments=extract.arguments,
                    folder=place.restored,
                    environment=extract.environment,
                )
            case "check":
                return self._command(place, "check", "--verify-data")

    def _command(self, place: Place, *arguments: str) -> Command:
        environment = {
            "BORG_REPO": str(place.repository),
            "BORG_PASSPHRASE": _PASSPHRASE,
            "BORG_BASE_DIR": str(place.home / "base"),
        }
        return Command(
            arguments=[self._program, *arguments], folder=place.home, environment=environment
        )


class Tar:
    """`tar -x`, the floor of a restore of many small files: it knows neither keys nor chunks."""

    name = "tar"
    archive = "source.tar"
    restores_under_source = False
    steps: Final[tuple[Step, ...]] = ("restore",)

    def __init__(self) -> None:
        """Measure the system's tar."""
        self.version = _said(["tar", "--version"]).splitlines()[0].split()[-1]

    def prepare(self, place: Place) -> list[Command]:
        """Nothing: the archive is made when the source has changed for the last time."""
        assert place.home.is_dir(), "the archive will lie there"
        return []

    def pack(self, place: Place) -> Command:
        """Return what makes the archive; it is not measured."""
        archive = str(place.home / self.archive)
        return Command(
            arguments=["tar", "--format=posix", "-cf", archive, "-C", str(place.source), "."],
            folder=place.home,
        )

    def command(self, step: Step, place: Place) -> Command:
        """Unpack the archive."""
        assert step == "restore", "tar is measured for nothing else"
        place.restored.mkdir(exist_ok=True)
        archive = str(place.home / self.archive)
        return Command(
            arguments=["tar", "-xf", archive, "-C", str(place.restored)], folder=place.home
        )


class Floor:
    """What the disk takes: the same bytes by programs that only read and write.

    A restore is `cp -a` of the source, a first copy so many bytes of noise as our repository has.
    Both leave the writing out to the system, so that a program which writes past the page cache
    from the first byte on can be a little faster.
    """

    name = "floor"
    version = "cp -a, plain writes"
    restores_under_source = False
    steps: Final[tuple[Step, ...]] = ("first", "restore")

    def prepare(self, place: Place) -> list[Command]:
        """Nothing; what is written is removed with all else."""
        assert place.home.is_dir(), "the files will lie there"
        return []

    def command(self, step: Step, place: Place) -> Command:
        """Copy, or write."""
        if step == "restore":
            arguments: list[str | Path] = ["cp", "-a", place.source, place.restored]
        else:
            ours = place.home.parent / Overland().name / place.repository.name
            program = _ROOT / "bench" / "plainwrite.py"
            arguments = [sys.executable, program, ours, place.repository]
        return Command(arguments=arguments, folder=place.home)


def _said(command: list[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
