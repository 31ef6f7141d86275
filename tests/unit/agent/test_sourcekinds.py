"""Which sources can be seeded: every refused kind by name and reason, and what allows it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from overland.agent.mounts import Mounts
from overland.agent.policy import OfflineSettings, Policy
from overland.agent.seedrefusals import SourceUnfit
from overland.agent.sourcekinds import ALLOWABLE, source_problems

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")

SHARES = r"""
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:40 / /srv/share rw,relatime shared:2 - cifs //files/home rw,vers=3.0
22 20 0:41 / /srv/export rw - nfs4 files:/export rw
23 20 0:42 / /srv/with\040blank rw - fuse.sshfs me@files: rw
24 20 8:17 / /media/stick rw - vfat /dev/sdb1 rw
25 20 8:33 / /srv/frozen ro - ext4 /dev/sdc1 rw
26 20 8:49 / /srv/broken rw - ext4 /dev/sdd1 ro,errors=remount-ro
"""


def policy(*sources: object, images: tuple[object, ...] = ()) -> Policy:
    return Policy(
        name="docs",
        sources=tuple(str(source) for source in sources),
        images=tuple(str(image) for image in images),
        first_copy="offline",
        offline=OfflineSettings(
            staging_location="/staging",
            publish_settings="/x",
            job_name="import-1",
            subscription_id="11111111-2222-3333-4444-555555555555",
            storage_account="harbour",
            container="seeds",
        ),
    )


def codes(problems: list[SourceUnfit]) -> list[str]:
    return [problem.code for problem in problems]


@pytest.mark.requirement("R8")
def test_a_folder_and_a_file_of_a_fixed_disk_are_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert source_problems(policy(tmp_path, tmp_path / "file"), Mounts.now()) == []


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/sys", "/sys/kernel", "/dev", "/run"])
def test_system_state_is_refused_with_the_way_to_keep_it(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this computer has no {path}")
    problems = source_problems(policy(path), Mounts.now(), allowed=ALLOWABLE)
    assert codes(problems) == ["system-state-refused"], "no override makes sense of it"
    assert path in str(problems[0])
    assert "overland group add" in str(problems[0])


@pytest.mark.requirement("R4")
def test_files_of_the_same_computer_are_still_taken(tmp_path: Path) -> None:
    problems = source_problems(policy(tmp_path, "/proc"), Mounts.now())
    assert [problem.path for problem in problems] == ["/proc"]


@pytest.mark.requirement("R8")
def test_what_is_not_there_is_offline(tmp_path: Path) -> None:
    problems = source_problems(policy(tmp_path / "gone"), Mounts.now(), allowed=ALLOWABLE)
    assert codes(problems) == ["source-offline"]
    assert "No such file" in str(problems[0])


@pytest.mark.requirement("R8")
def test_the_mount_point_of_a_volume_that_is_not_mounted_is_offline(tmp_path: Path) -> None:
    fstab = f"# a comment\n\nUUID=1234 {tmp_path} ext4 defaults 0 2\nnone swap swap\n"
    problems = source_problems(policy(tmp_path), Mounts.now(), fstab=fstab)
    assert codes(problems) == ["source-offline"]
    assert "UUID=1234" in str(problems[0])


@pytest.mark.requirement("R8")
@pytest.mark.parametrize(
    ("mark", "scheme"),
    [(b"LUKS\xba\xbe\x00\x02", "LUKS"), (b"\xeb\x58\x90-FVE-FS-\x00", "BitLocker")],
    ids=["luks", "bitlocker"],
)
def test_a_locked_volume_is_refused_unless_its_ciphertext_is_wanted(
    tmp_path: Path, mark: bytes, scheme: str
) -> None:
    image = tmp_path / "volume"
    image.write_bytes(mark.ljust(4096, b"\0"))
    problems = source_problems(policy(images=(image,)), Mounts.now())
    assert codes(problems) == ["source-locked"]
    assert scheme in str(problems[0])
    assert source_problems(policy(images=(image,)), Mounts.now(), allowed=("locked",)) == []
    image.write_bytes(bytes(4096))
    assert source_problems(policy(images=(image,)), Mounts.now()) == []


@pytest.mark.requirement("R8")
@pytest.mark.parametrize(
    ("mount", "code", "allowed", "names"),
    [
        ("/srv/share", "source-on-network", "network", "//files/home"),
        ("/srv/export", "source-on-network", "network", "files:/export"),
        ("/srv/with blank", "source-on-network", "network", "fuse.sshfs"),
        ("/media/stick", "source-removable", "removable", "/dev/sdb1"),
        ("/srv/frozen", "source-read-only", "read-only", "/srv/frozen"),
        ("/srv/broken", "source-read-only", "read-only", "/srv/broken"),
    ],
)
def test_volumes_of_other_kinds_are_refused_by_name(
    tmp_path: Path, mount: str, code: str, allowed: str, names: str
) -> None:
    """The kernel's own tables, of a computer that has such volumes; the folder is a real one."""
    folder = tmp_path / "volume"
    folder.mkdir()
    for name, removable in (("sdb", "1"), ("sdc", "0"), ("sda", "0"), ("sdd", "0")):
        (tmp_path / "devices" / name / f"{name}1").mkdir(parents=True)
        (tmp_path / "devices" / name / "removable").write_text(f"{removable}\n")
    links = tmp_path / "block"
    links.mkdir()
    for number, name in (("8:1", "sda"), ("8:17", "sdb"), ("8:33", "sdc"), ("8:49", "sdd")):
        (links / number).symlink_to(tmp_path / "devices" / name / f"{name}1")
    table = SHARES.replace(mount.replace(" ", r"\040"), str(folder))
    mounts = Mounts(table, sys_block=links)
    problems = source_problems(policy(folder), mounts)
    assert codes(problems) == [code]
    assert str(folder) in str(problems[0])
    assert names.replace(mount, str(folder)) in str(problems[0])
    assert source_problems(policy(folder), mounts, allowed=(allowed,)) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", folder], check=False, capture_output=True)


@ROOT
@pytest.mark.requirement("R8")
def test_a_real_read_only_mount_is_refused(mounted: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", mounted], check=True)
    assert codes(source_problems(policy(mounted), Mounts.now())) == ["source-read-only"]
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    assert source_problems(policy(mounted), Mounts.now()) == []


@ROOT
@pytest.mark.requirement("R8")
def test_a_real_read_only_bind_of_a_writable_disk_is_refused(mounted: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "there", mounted], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
    assert codes(source_problems(policy(mounted), Mounts.now())) == ["source-read-only"]
    link = tmp_path / "link"
    link.symlink_to(mounted)
    assert codes(source_problems(policy(link), Mounts.now())) == ["source-read-only"]


@ROOT
@pytest.mark.requirement("R4")
def test_a_disk_below_run_is_a_disk(mounted: Path) -> None:
    """Desktops mount there; only what the system itself keeps there is refused."""
    table = SHARES + f"30 20 0:50 / /run rw - tmpfs tmpfs rw\n31 30 8:1 / {mounted} rw - ext4 x rw"
    assert source_problems(policy(mounted), Mounts(table)) == []
