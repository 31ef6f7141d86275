"""The way of the drives in a story, and the station at its end."""

import random
import shutil
from pathlib import Path
from typing import Final

from tests.simulation.mail.doing import Doing
from tests.simulation.mail.parcels import Mail, Parcel, whole_in
from tests.simulation.mail.programs import Programs
from tests.simulation.mail.proof import Proof
from tests.support.journey_faults import Life

from overland.errors import TransientError
from overland.format.copy_log import DriveStatus
from overland.station.ingest import DriveOutcome
from overland.station.intake import Parcel as Booked

__all__ = ["Way"]

_STATION_STEPS: Final = 60


class DriveStopped(TransientError):
    """A drive's import stopped; the station's operator runs the same command again."""

    code = "drive-stopped"


class Way:
    """Actions of a story."""

    def __init__(
        self,
        programs: Programs,
        proof: Proof,
        doing: Doing,
        chance: random.Random,
        mails: list[Mail],
    ) -> None:
        self._programs, self._proof, self._doing = programs, proof, doing
        self._random, self._mails = chance, mails

    def _travelling(self) -> tuple[Mail, Parcel] | None:
        found = [
            (mail, parcel)
            for mail in self._mails
            for parcel in mail.parcels
            if parcel.where == "shipped" and parcel.expected() and mail.is_on_its_way
        ]
        return self._random.choice(found) if found else None

    def lose_drive(self) -> str:
        found = self._travelling()
        if found is None:
            return "nothing"
        serial = self._random.choice(found[1].expected())
        found[1].lost.add(serial)
        return serial

    def find_drive(self) -> str:
        """Have a drive arrive that everybody thought lost."""
        for mail in self._mails:
            for parcel in mail.parcels:
                if mail.is_on_its_way and parcel.where in {"here", "imported"} and parcel.lost:
                    serial = self._random.choice(sorted(parcel.lost))
                    parcel.lost.discard(serial)
                    parcel.where = "shipped"
                    return serial
        return "nothing"

    def break_drive(self) -> str:
        found = self._travelling()
        if found is None:
            return "nothing"
        serial = self._random.choice(found[1].expected())
        found[1].broken.add(serial)
        return serial

    def harm_drive(self) -> str:
        """Flip, cut or remove an object or a manifest on a drive."""
        found = self._travelling()
        if found is None:
            return "nothing"
        mail, parcel = found
        serial = self._random.choice(parcel.expected())
        folder = self._proof.drive_folder(mail, serial)
        manifests = [folder / "manifest.json", folder / "drive.json"]
        manifests.append(folder.parent / "DriveManifest.xml")
        if self._random.random() < 0.25:
            path = self._random.choice(manifests)
            parcel.unreadable.add(serial)
        else:
            path = folder / self._random.choice(sorted(parcel.loads[serial]))
        return f"{serial}: {self._harm(path)}"

    def _harm(self, path: Path) -> str:
        how = self._random.choice(("flip", "cut", "remove"))
        content = bytearray(path.read_bytes()) if path.is_file() else bytearray()
        if how == "remove" or not content:
            path.unlink(missing_ok=True)
        elif how == "cut":
            path.write_bytes(content[: self._random.randrange(len(content))])
        else:
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
            path.write_bytes(content)
        return f"{how} {path.name}"

    def lose_staging(self) -> str:
        """Lose the staging folder of a seed while its drives are in the mail."""
        for mail in self._mails:
            if mail.is_on_its_way and mail.parcels and mail.pending is None:
                shutil.rmtree(mail.folder, ignore_errors=True)
                mail.harmed = set(mail.digests)
                return mail.policy
        return "nothing"

    def harm_staging(self) -> str:
        for mail in self._mails:
            if mail.is_on_its_way and not mail.harmed:
                name = self._random.choice(sorted(mail.carried))
                said = self._harm(mail.folder / name)
                mail.harmed.add(name)
                return said
        return "nothing"

    # -- the station ----------------------------------------------------------------------------

    def receive(self, parcel: Parcel) -> str:
        serials = parcel.expected()
        unopened = [serial for serial in serials if serial in parcel.broken]
        drives = self._programs.folder / "drives"
        paths = [str(drives / serial) for serial in serials if serial not in unopened]

        def received(life: Life) -> Booked:
            return self._programs.station(life).intake().receive(
                tracking_number=parcel.tracking, carrier="FedEx", paths=paths, serials=unopened
            )  # fmt: skip

        booked = self._doing.badly("station receive", received, usual=8)
        if booked is None:
            return "not done"
        told = {each.serial: each.outcome for each in booked.drives}
        assert told.keys() == set(serials), told
        assert set(told.values()) <= {"received", "late", "already-received"}, told
        parcel.arrived |= set(serials)
        parcel.where = "here"
        return str(told)

    def ingest(self, mail: Mail, parcel: Parcel) -> str:
        """Import what is here: what is right on the drives lands, and nothing else."""
        before = self._proof.landed(mail)

        def imported(life: Life) -> list[DriveOutcome]:
            ingest = self._programs.station(life).ingest()
            outcomes = ingest.run(ingest.choose(job=parcel.job_name, paths=()))
            for each in outcomes:
                if each.result == "stopped":
                    raise DriveStopped(f"{each.serial}: {each.stop}")
            for each in outcomes:
                if each.result == "no-path" and each.serial in parcel.broken:
                    ingest = self._programs.station(life).ingest()
                    ingest.give_up(each.serial, reason=DriveStatus.DISK_NOT_FOUND)
            return outcomes

        outcomes = self._doing.badly("station ingest", imported, usual=_STATION_STEPS)
        if outcomes is None:
            return "not done"
        good = set[str]()
        for serial in sorted(parcel.arrived - parcel.broken - parcel.unreadable):
            folder, load = self._proof.drive_folder(mail, serial), parcel.loads[serial]
            good |= whole_in(folder, mail.digests, names=load)
        landed = self._proof.landed(mail)
        assert landed == before | good, (
            f"landed {sorted(landed - before - good)} too much, lacks {sorted(good - landed)}"
        )
        for each in outcomes:
            if each.serial not in parcel.broken | parcel.unreadable:
                bad = parcel.loads[each.serial] - good
                named = {item.name for item in each.damaged}
                assert named == bad - before, f"{each.serial}: {sorted(bad)}, and named: {named}"
        parcel.where = "imported"
        return f"{[(each.serial, each.result) for each in outcomes]}"
