"""The copy computer of a story, and what its operator does; see `overland.cli.diskflow`."""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
from tests.simulation.actions.steady import SteadyRandom
from tests.simulation.mail.parcels import Mail, Parcel
from tests.simulation.mail.programs import Programs
from tests.support.importservice import Operator
from tests.support.journey_faults import Life
from tests.support.journey_machines import CopyComputer
from tests.support.journey_story import _FORM
from typing_extensions import override

from overland.adapters.volumes import create_folder_volume
from overland.cli import diskflow
from overland.diskprep import ship as shipping
from overland.diskprep import submit
from overland.diskprep.prepare import Workbench, choose_seed, prepare_drives, record_for
from overland.diskprep.questions import DrivePlan
from overland.diskprep.record import Preparation
from overland.diskprep.topup import begin_top_up, follow_link
from overland.errors import Unreachable
from overland.seeding.placement import cost_bytes, fixed_bytes
from overland.values import SeedId

__all__ = ["Desk"]


class _Yes(Operator):
    """An operator who agrees to everything."""

    @override
    def may_erase(self, plan: DrivePlan) -> bool:
        return True


class Desk:
    """Where drives are filled and parcels are packed."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._folder = programs.folder
        self._drives = self._parcels = 0

    def copy_computer(self, mail: Mail, life: Life) -> CopyComputer:
        path = f"/v1/subscriptions/{self._programs.subscription}/publish-settings"
        settings = self._programs.ask(
            self._programs.admin, "POST", path, {"job_name": mail.job_name}
        )["xml"].encode()
        return CopyComputer(
            folder=self._folder / "copy",
            network=self._programs.line,
            clock=self._programs.clocks["copy"],
            life=life,
            settings=settings,
            rng=cast("random.Random", _Bytes(self._programs.chance)),
        )

    def _bench(self, computer: CopyComputer, drives: Sequence[Path], *, at_once: bool) -> Workbench:
        return replace(computer.bench(()), questions=_Yes(*map(str, drives), at_once=at_once))

    def prepare(
        self,
        mail: Mail,
        computer: CopyComputer,
        *,
        lost: str | None = None,
        missing: bool = False,
        at_once: bool = False,
    ) -> Preparation:
        """`overland disk prepare`; as `overland.cli.diskflow.prepare_seed`."""
        bench = self._bench(computer, mail.pool, at_once=at_once)
        location = computer.staging(mail.staging)
        seed = choose_seed(location, bench.questions, seed_id=mail.seed_id)
        record = record_for(seed, bench, staging=location.path)
        service = computer.service(record.subscription_id)
        if missing or (lost is not None and diskflow._is_elsewhere(record, lost, service)):
            record = begin_top_up(seed, bench, service, staging=location.path, lost=lost)
            lost = None
        with contextlib.suppress(Unreachable):  # the drives are filled all the same
            record = follow_link(record, bench, service)
            submit.find_job(record, bench, service)
        done = prepare_drives(seed, bench, staging=location.path, replace=lost)
        return submit.submit(done, bench, service)

    def ship(self, mail: Mail, parcel: Parcel, life: Life) -> None:
        """`overland disk ship`, perhaps on another computer than the one that filled the drives."""
        computer = self.copy_computer(mail, life)
        bench = self._bench(computer, (), at_once=False)
        records = [e for e in bench.preparations.all() if e.job_name == parcel.job_name]
        if records:
            (record,) = records
        else:
            location = computer.staging(mail.staging)
            seed = location.open(SeedId(mail.seed_id))
            record = record_for(seed, bench, staging=location.path)
        form = msgspec.structs.replace(_FORM, tracking_number=parcel.tracking)
        record = shipping.keep(record, form, bench)
        service = computer.service(record.subscription_id)
        if record.job is None:
            record = submit.find_job(record, bench, service)
        shipping.commit(record, form, bench, service)

    def new_drives(self, mail: Mail, count: int, *, share: int) -> None:
        """Put blank drives beside the copy computer, each with room for a share of the seed."""
        costs = [cost_bytes(size) for size in mail.sizes.values()]
        room = max(sum(costs) // share + max(costs) // 2, *costs) + fixed_bytes(mail.document_bytes)
        for _ in range(count):
            path = self._folder / "drives" / f"D-{self._drives}"
            self._drives += 1
            create_folder_volume(path, serial=path.name, capacity_bytes=room)
            mail.pool.append(path)

    def new_tracking(self) -> str:
        self._parcels += 1
        return f"7946{self._parcels:08d}"


class _Bytes:
    """The part of `random.Random` that the copy computer uses."""

    def __init__(self, chance: SteadyRandom) -> None:
        self.randbytes = chance
