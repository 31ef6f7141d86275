"""What a story knows of seeds on their way, by itself: what was staged, and what lies where.

Nothing of this asks the program.  A seed's list is read from its manifest once, when the program
said that the first copy is complete; from then on bytes on disks are compared with that list.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

__all__ = ["Mail", "Parcel", "whole_in"]

Where = Literal["prepared", "shipped", "here", "imported", "over"]


@dataclass(slots=True)
class Parcel:
    """One import job: drives, and what each of them has to bring."""

    job_name: str
    tracking: str
    loads: dict[str, frozenset[str]]
    where: Where = "prepared"
    shipped_at: datetime | None = None
    lost: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    """Drives whose manifests were harmed: nothing on them may be believed."""
    arrived: set[str] = field(default_factory=set)

    def is_waited_for(self, now: datetime) -> bool:
        """Whether it was shipped less than two weeks ago, and nothing of it has come."""
        if self.where != "shipped" or self.shipped_at is None or self.arrived:
            return False
        return now - self.shipped_at < timedelta(days=14)

    def expected(self) -> list[str]:
        """Return the drives that are still with the carrier, and will come."""
        return sorted(self.loads.keys() - self.lost - self.arrived)


@dataclass(slots=True)
class Mail:
    """The seed of one policy, from its staging location to the vault, or to its end."""

    policy: str
    job_name: str
    staging: Path
    seed_id: str = ""
    point_id: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    """What the seed carries: name and SHA-256 of each object."""
    sizes: dict[str, int] = field(default_factory=dict)
    document_bytes: int = 0
    parcels: list[Parcel] = field(default_factory=list)
    pool: list[Path] = field(default_factory=list)
    """Drives at the copy computer that are not sealed yet."""
    state: Literal["new", "staged", "online", "abandoned"] = "new"
    pending: tuple[str | None, bool] | None = None
    """A preparation that was begun: which drive it replaces, or whether for what is missing."""
    harmed: set[str] = field(default_factory=set)
    """What was harmed in the staging location."""
    is_cleaned: bool = False

    @property
    def folder(self) -> Path:
        return self.staging / f"seed-{self.seed_id}"

    @property
    def is_on_its_way(self) -> bool:
        return self.state == "staged"

    @property
    def has_landed(self) -> bool:
        """Whether no drive is under way any more, and some drive was imported."""
        done = [parcel.where for parcel in self.parcels]
        return "imported" in done and set(done) <= {"imported", "over"}

    @property
    def carried(self) -> frozenset[str]:
        """What goes by drive and by nothing else: all but what the vault gets anyhow."""
        kept = ("keys/", "keychanges/")
        return frozenset(name for name in self.digests if not name.startswith(kept))

    def note_staged(self, seed_id: str, point_id: str) -> None:
        """Read what the first copy has."""
        self.seed_id, self.point_id, self.state = seed_id, point_id, "staged"
        document = (self.folder / "manifest.json").read_bytes()
        listed = json.loads(document.split(b"\n")[0])["objects"]
        self.digests = {each["name"]: each["sha256"] for each in listed}
        self.sizes = {each["name"]: each["size_bytes"] for each in listed}
        self.document_bytes = len(document)

    def whole(self, folder: Path) -> set[str]:
        """Return what of the seed lies in a folder, byte for byte."""
        return whole_in(folder, self.digests)


def whole_in(folder: Path, digests: dict[str, str], *, names: Iterable[str] = ()) -> set[str]:
    """Return which objects lie in a folder and are what they were."""
    found = set()
    for name in names or digests:
        path = folder / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digests[name]:
            found.add(name)
    return found
