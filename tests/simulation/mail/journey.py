"""The part of a story that is about drives: filled, mailed, lost, damaged, imported, made again."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Final

from tests.simulation.mail.desk import Desk
from tests.simulation.mail.doing import Refused
from tests.simulation.mail.online import Online
from tests.simulation.mail.parcels import Mail, Parcel, whole_in
from tests.simulation.mail.way import Way
from tests.support.journey_faults import Life

from overland.diskprep.record import Preparation

__all__ = ["Journey"]

_PREPARE_STEPS: Final = 120
_SHIP_STEPS: Final = 20
_MAX_MAILS: Final = 3


class Journey:
    """Actions of a story."""

    def __init__(self, online: Online, folder: Path) -> None:
        self._online, self._folder = online, folder
        self._programs, self._proof = online.programs, online.proof
        self._doing, self._random, self._mails = online.doing, online.random, online.mails
        self._desk = Desk(online.programs)
        self.way = Way(online.programs, online.proof, online.doing, online.random, online.mails)
        self._jobs = 0

    # -- policies -------------------------------------------------------------------------------

    def begin(self) -> str:
        """Make a policy whose first copy goes by drive."""
        name = f"policy-{len(self._online.policies)}"
        self._online.policies.append(name)
        return self._begin(name)

    def begin_second(self) -> str:
        """Begin a second seed beside the first one."""
        return self.begin() if len(self._mails) < _MAX_MAILS else "enough"

    def _begin(self, name: str) -> str:
        self._jobs += 1
        staging = self._folder / "staging"
        staging.mkdir(exist_ok=True)
        mail = Mail(policy=name, job_name=f"import-{self._jobs}", staging=staging)
        self._mails.append(mail)
        in_transit = self._random.choice(("protect", "protect", "protect", "wait"))
        self._programs.protect(name, mail, in_transit=in_transit)
        return f"{name} {in_transit}"

    def abandon(self) -> str:
        """Give a seed up, and begin another one for the policy."""
        open_ones = [mail for mail in self._mails if mail.is_on_its_way]
        if not open_ones or self._random.random() < 0.5:
            return "not now"
        return self._abandon(self._random.choice(open_ones))

    def _abandon(self, mail: Mail) -> str:
        def abandoned(life: Life) -> bool:
            self._programs.computer(life).runner().abandon(mail.policy)
            return True

        if self._doing.badly("abandon", abandoned, usual=8) is None:
            self._doing.calmly("abandon", abandoned)
        mail.state, mail.pending = "abandoned", None
        if len(self._mails) < _MAX_MAILS:
            return f"{mail.policy}, {self._begin(mail.policy)}"
        self._online.policies.remove(mail.policy)
        return f"{mail.policy} for good"

    def clean_up(self) -> str:
        """Remove what is left of a seed in staging and container."""
        done = [each for each in self._mails if each.state in {"online", "abandoned"}]
        done = [each for each in done if not each.is_cleaned]
        if not done:
            return "nothing"
        mail = self._random.choice(done)

        def cleaned(life: Life) -> bool:
            self._programs.clean_up(mail, life)
            return True

        is_at_station = any(parcel.where in {"here", "shipped"} for parcel in mail.parcels)
        mail.is_cleaned = True
        try:
            result = self._doing.badly(
                "clean-up", cleaned, usual=40, refusals=("conflict",) if is_at_station else ()
            )
        except Refused as refused:
            mail.is_cleaned = mail.whole(mail.folder) != mail.digests.keys() - mail.harmed
            return f"refused: {refused.code}"
        if mail.state == "abandoned":
            self._let_go_of(mail)
        if result is None:
            return "not done"
        assert not self._proof.landed(mail), "the container is cleaned up"
        assert not mail.whole(mail.folder), "the staging location is cleaned up"
        return mail.policy

    def _let_go_of(self, mail: Mail) -> None:
        """Promise nothing any more of points that need what was given up."""
        model, whole = self._proof.model, self._proof.in_vault()
        for point_id in sorted(model.promised):
            if (model.needed(point_id) - whole) & mail.carried:
                del model.promised[point_id]
                self._proof.let_go.add(point_id)

    # -- forwards -------------------------------------------------------------------------------

    def go_on(self) -> str:
        """Do what comes next for a seed."""
        open_ones = [mail for mail in self._mails if mail.state in {"new", "staged"}]
        if not open_ones:
            return self._online.back_up()
        return self._step(self._random.choice(open_ones))

    def _step(self, mail: Mail) -> str:
        if mail.state == "new":
            return self._online.run(mail.policy, "manual")
        if mail.pending is not None or not mail.parcels:
            lost, missing = mail.pending or (None, False)
            return self._prepare(mail, lost=lost, missing=missing)
        waiting = [parcel for parcel in mail.parcels if parcel.where not in {"imported", "over"}]
        return self._move(mail, waiting[0]) if waiting else self._fill_gaps(mail)

    def _move(self, mail: Mail, parcel: Parcel) -> str:
        """Take a parcel one step further."""
        match parcel.where:
            case "prepared":
                return self._ship(mail, parcel)
            case "shipped" if parcel.expected():
                return self.way.receive(parcel)
            case "shipped":
                parcel.where = "over"
                return self._overdue()
            case _:
                return self.way.ingest(mail, parcel)

    def _overdue(self) -> str:
        self._programs.base.advance(timedelta(days=15))
        return f"overdue, {self._programs.cloud.sweep()} jobs changed"

    def _fill_gaps(self, mail: Mail) -> str:
        """Adopt; or bring what is missing, by drive or over the network."""
        lacking = self._proof.lacking(mail)
        if not lacking or self._random.random() < 0.6:
            return self._online.run(mail.policy, "schedule")
        if mail.harmed & lacking:
            return self._abandon(mail)
        if self._random.random() < 0.5:
            return self._online.run(mail.policy, "manual")
        return self._prepare(mail, missing=True)

    def fill_by_network(self) -> str:
        """Run by hand, whatever is under way."""
        on_their_way = [mail for mail in self._mails if mail.is_on_its_way]
        if not on_their_way:
            return "nothing"
        return self._online.run(self._random.choice(on_their_way).policy, "manual")

    # -- the copy computer ----------------------------------------------------------------------

    def _prepare(self, mail: Mail, *, lost: str | None = None, missing: bool = False) -> str:
        """Fill drives; all of what they have to bring is on them afterwards, byte for byte."""
        if mail.harmed == mail.digests.keys():
            return f"no staging, {self._abandon(mail) if not mail.parcels else ''}"
        if len(mail.pool) < 2:
            share = self._random.choice((1, 2, 3, 4))
            self._desk.new_drives(mail, share + 2, share=share)
        wanted = self._wanted(mail, lost=lost, missing=missing)
        at_once = self._random.random() < 0.5
        is_begun, mail.pending = mail.pending is not None, (lost, missing)

        def prepared(life: Life) -> Preparation:
            computer = self._desk.copy_computer(mail, life)
            return self._desk.prepare(mail, computer, lost=lost, missing=missing, at_once=at_once)

        refusals = [*(("nothing-missing",) if missing and not wanted else ())]
        if mail.harmed:
            refusals.append("staged-object-damaged")
        try:
            done = self._doing.badly(
                "disk prepare", prepared, usual=_PREPARE_STEPS, refusals=refusals
            )
        except Refused as refused:
            mail.pending = None
            if refused.code == "staged-object-damaged":
                self._abandon(mail)
            return f"refused: {refused.code}"
        if done is None:
            return "not done"
        mail.pending = None
        if lost is not None:
            parcel = next(parcel for parcel in mail.parcels if lost in parcel.loads)
            if parcel.job_name != done.job_name:  # that one takes no other drives any more
                wanted = set(parcel.loads[lost])
                parcel.lost.add(lost)
        said = self._note_prepared(mail, done, wanted)
        brought = set[str]().union(*mail.parcels[-1].loads.values())
        assert is_begun or brought == wanted, f"{sorted(brought - wanted)} travel again"
        return said

    def _wanted(self, mail: Mail, *, lost: str | None, missing: bool) -> set[str]:
        """Return what new drives have to bring."""
        if missing:
            return self._proof.lacking(mail)
        if lost is not None:
            parcel = next(parcel for parcel in mail.parcels if lost in parcel.loads)
            if parcel.where == "prepared":
                return set[str]().union(*parcel.loads.values())
            return set(parcel.loads[lost])
        if mail.parcels:
            return set[str]().union(*mail.parcels[-1].loads.values())
        return set(mail.digests)

    def _note_prepared(self, mail: Mail, done: Preparation, wanted: set[str]) -> str:
        names = list(mail.digests)
        loads = {
            drive.serial: frozenset(names[number] for number in drive.numbers())
            for drive in done.sealed()
        }
        every = [name for load in loads.values() for name in load]
        assert len(every) == len(set(every)), "an object is on one drive"
        assert set(every) >= wanted, f"no drive brings {sorted(wanted - set(every))}"
        for serial, load in loads.items():
            folder = self._proof.drive_folder(mail, serial)
            bad = load - whole_in(folder, mail.digests, names=load)
            assert not bad, f"drive {serial} has not what it should: {sorted(bad)}"
        parcel = next((each for each in mail.parcels if each.job_name == done.job_name), None)
        if parcel is None:
            mail.parcels.append(
                Parcel(job_name=done.job_name, tracking=self._desk.new_tracking(), loads=loads)
            )
        else:
            parcel.loads = loads
        mail.pool = []
        return f"{done.job_name}: { {serial: len(load) for serial, load in loads.items()} }"

    def again(self) -> str:
        """Prepare, or ship, once more what is finished: nothing changes."""
        mail = next((each for each in self._mails if each.parcels and each.is_on_its_way), None)
        if mail is None or mail.pending is not None or mail.harmed:
            return "nothing"
        parcel = mail.parcels[-1]
        if parcel.where != "prepared":
            return "nothing"
        before = dict(parcel.loads)
        said = self._prepare(mail)
        assert parcel.loads == before, "what is finished stays as it is"
        mail.pending = None
        return said

    def lose_drive(self) -> str:
        """Have the carrier lose a drive, and perhaps hear of it at once."""
        said = self.way.lose_drive()
        if said == "nothing" or self._random.random() < 0.4:
            return said
        return f"{said}, {self.replace_drive()}"

    def replace_drive(self) -> str:
        """Make a drive anew that was found broken, or that the carrier has lost."""
        for mail in self._mails:
            if not mail.is_on_its_way or mail.pending is not None or mail.harmed:
                continue
            if not mail.parcels:
                continue
            parcel = mail.parcels[-1]
            if parcel.where == "prepared" and parcel.loads:
                serial = self._random.choice(sorted(parcel.loads))
                return f"{serial}: {self._prepare(mail, lost=serial)}"
            if parcel.where == "shipped" and parcel.lost:
                serial = self._random.choice(sorted(parcel.lost))
                return f"{serial} lost: {self._prepare(mail, lost=serial)}"
        return "nothing"

    def lose_copy_computer(self) -> str:
        """Go on with another copy computer; what the first one wrote down is gone."""
        if any(mail.pending is not None for mail in self._mails):
            return "not now"
        if any(len(mail.parcels) > 1 for mail in self._mails):
            return "not now"
        if any(parcel.where == "prepared" for mail in self._mails for parcel in mail.parcels):
            return "not now"
        shutil.rmtree(self._folder / "copy")
        (self._folder / "copy").mkdir()
        return "gone"

    def _ship(self, mail: Mail, parcel: Parcel) -> str:
        def shipped(life: Life) -> bool:
            self._desk.ship(mail, parcel, life)
            return True

        try:
            done = self._doing.badly(
                "disk ship", shipped, usual=_SHIP_STEPS, refusals=("no-job-yet",)
            )
        except Refused:
            return f"no job any more, {self._prepare(mail)}"
        if done is None:
            return "not done"
        parcel.where, parcel.shipped_at = "shipped", self._programs.base.now
        mishaps = (self.lose_drive, self.way.harm_drive, self.way.harm_drive, self.way.break_drive)
        said = [parcel.job_name]
        while self._random.random() < 0.5:
            said.append(self._random.choice(mishaps)())
        return ", ".join(said)

    # -- the end --------------------------------------------------------------------------------

    def finish(self) -> str:
        """Bring every seed into the vault, or give it up and clean up after it."""
        for _ in range(60):
            left = [mail for mail in self._mails if mail.state in {"new", "staged"}]
            if not left:
                break
            self._step(left[0])
        else:
            raise AssertionError("a seed never comes to its end")
        for mail in self._mails:
            if mail.state == "abandoned" and not mail.is_cleaned:
                for parcel in mail.parcels:
                    while parcel.where == "here":
                        self.way.ingest(mail, parcel)
                self._clean_up_calmly(mail)
        return ", ".join(f"{mail.policy} {mail.state}" for mail in self._mails)

    def _clean_up_calmly(self, mail: Mail) -> None:
        def cleaned(life: Life) -> None:
            self._programs.clean_up(mail, life)

        self._doing.calmly("clean-up", cleaned)
        mail.is_cleaned = True
        self._let_go_of(mail)
