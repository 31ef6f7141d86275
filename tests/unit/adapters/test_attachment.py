"""Where a drive hangs, read from trees that look as the kernel lays them out."""

from pathlib import Path

import pytest

from overland.adapters.attachment import attachment_of
from overland.ports.volume import FOLDER, Attachment

PCI = "devices/pci0000:00/0000:00:1f.2"
DEVICES = {
    "8:17": f"{PCI}/ata2/host1/target1:0:0/1:0:0:0/block/sdb/sdb1",
    "8:33": f"{PCI}/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sdc/sdc1",
    "259:1": "devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/nvme0n1p1",
    "7:3": "devices/virtual/block/loop3",
    "253:5": "devices/virtual/block/dm-5",  # encryption on the USB drive
}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    block = tmp_path / "sys" / "dev" / "block"
    block.mkdir(parents=True)
    for number, place in DEVICES.items():
        (tmp_path / "sys" / place).mkdir(parents=True)
        (block / number).symlink_to(Path("../..") / place)
    slaves = tmp_path / "sys" / DEVICES["253:5"] / "slaves"
    slaves.mkdir()
    (slaves / "sdc1").symlink_to(tmp_path / "sys" / DEVICES["8:33"])
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        *(
            f"{number} 1 {device} / /mnt/{name} rw,relatime shared:1 - {kind} /dev/x rw"
            for number, (name, device, kind) in enumerate(
                [
                    ("sata", "8:17", "ext4"),
                    ("usb", "8:33", "ntfs3"),
                    ("nvme", "259:1", "xfs"),
                    ("loop", "7:3", "ext4"),
                    ("luks", "253:5", "ext4"),
                    ("share", "0:52", "cifs"),
                    ("nfs", "0:53", "nfs4"),
                    ("memory", "0:54", "tmpfs"),
                    ("with\\040blank", "8:17", "ext4"),
                ],
                start=2,
            )
        ),
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "kind", "bus"),
    [
        ("/mnt/sata", "drive", "sata"),
        ("/mnt/usb", "drive", "usb"),
        ("/mnt/nvme", "drive", "nvme"),
        ("/mnt/loop", "drive", "loop"),
        ("/mnt/luks", "drive", "usb"),
        ("/mnt/with blank", "drive", "sata"),
        ("/mnt/share", "network", "cifs"),
        ("/mnt/nfs/deep/inside", "network", "nfs4"),
        ("/mnt/memory", "folder", ""),
        ("/mnt/sata/folder", "folder", ""),
        ("/home/ada/practice", "folder", ""),
    ],
)
@pytest.mark.requirement("R22", "R25")
def test_the_bus_of_a_drive_is_told(system: Path, folder: str, kind: str, bus: str) -> None:
    found = attachment_of(Path(folder), mountinfo=system / "mountinfo", sys=system / "sys")

    assert (found.kind, found.bus) == (kind, bus)


def test_this_machine_is_understood(tmp_path: Path) -> None:
    assert attachment_of(tmp_path / "practice") in {FOLDER, Attachment(kind="folder")}
