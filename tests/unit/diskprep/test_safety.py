"""Which drives are taken, on which computer, by whom; a refused drive was not touched."""

from dataclasses import replace

import pytest
from tests.support import staged
from tests.support.importservice import Operator, bench
from tests.support.simdisk import SimDisk
from tests.support.staged import SimDrive, SimDrives

from overland.diskprep.prepare import Workbench, prepare_drives
from overland.diskprep.refusals import (
    AdministratorNeeded,
    DriveHoldsSource,
    DriveNotLocal,
    DriveRemovable,
    VirtualSource,
)
from overland.diskprep.safety import Host
from overland.errors import RefusedError
from overland.ports.volume import FOLDER, Attachment

SATA = Attachment(kind="drive", bus="sata")
USB = Attachment(kind="drive", bus="usb")
NETWORK = Attachment(kind="network", bus="nfs4")
LOOP = Attachment(kind="drive", bus="loop")
ROOT = Host(is_administrator=True)
VIRTUAL = replace(ROOT, is_source=True, virtual="kvm")


def work(attached: Attachment, host: Host) -> tuple[SimDrive, Workbench]:
    drive = SimDrive("D1", capacity_bytes=1 << 20)
    drive.attached = attached
    return drive, replace(bench(SimDrives(drive), Operator(drive.path)), host=host)


def prepare(made: Workbench) -> None:
    staging = SimDisk()
    staged.stage(staging, staged.objects())
    seed = staged.location(staging).open(staged.SEED_ID)
    prepare_drives(seed, made, staging=staged.STAGING)


@pytest.mark.parametrize(
    ("attached", "host", "error"),
    [
        pytest.param(NETWORK, ROOT, DriveNotLocal, marks=pytest.mark.requirement("R25")),
        pytest.param(USB, ROOT, DriveRemovable, marks=pytest.mark.requirement("R22")),
        pytest.param(SATA, Host(), AdministratorNeeded, marks=pytest.mark.requirement("R76")),
        pytest.param(SATA, VIRTUAL, VirtualSource, marks=pytest.mark.requirement("R9")),
        pytest.param(
            FOLDER,
            Host(sources=("/drives/D1/home",)),
            DriveHoldsSource,
            marks=pytest.mark.requirement("R80"),
        ),
    ],
    ids=["network", "usb", "no-administrator", "virtual-source", "holds-source"],
)
def test_an_unfit_drive_is_refused_and_not_touched(
    attached: Attachment, host: Host, error: type[RefusedError]
) -> None:
    drive, made = work(attached, host)

    with pytest.raises(error):
        prepare(made)

    assert list(drive.disk.names()) == []
    assert drive.erased == 0


@pytest.mark.parametrize(
    ("attached", "host"),
    [
        (SATA, ROOT),
        (USB, replace(ROOT, allows_usb_adapter=True)),
        (SATA, replace(ROOT, is_source=True)),  # a physical source may be the copy computer
        (SATA, replace(ROOT, virtual="kvm")),  # a virtual copy computer that is not the source
        (SATA, replace(VIRTUAL, allows_virtual_source=True)),
        (FOLDER, replace(VIRTUAL, is_administrator=False)),  # for practice
        (LOOP, replace(VIRTUAL, is_administrator=False)),
    ],
    ids=["sata", "adapter", "physical-source", "virtual-copy", "override", "folder", "loop"],
)
@pytest.mark.requirement("R9", "R22", "R76")
def test_a_fit_drive_is_taken(attached: Attachment, host: Host) -> None:
    _, made = work(attached, host)
    prepare(made)
    assert made.preparations.all()[0].is_complete()


@pytest.mark.requirement("R9", "R103")
def test_what_was_overridden_stands_in_the_custody_log() -> None:
    host = replace(VIRTUAL, allows_virtual_source=True, allows_usb_adapter=True)
    _, made = work(USB, host)

    prepare(made)

    first = made.ledger(made.preparations.all()[0]).events()[0]
    assert first.event == "prepared"
    assert "kvm" in first.details["override"]
    assert "usb" in first.details["adapter"]
