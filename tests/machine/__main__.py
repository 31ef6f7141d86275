"""Run the snapshot tests against real LVM and ZFS, in a small virtual machine.

`sudo .venv/bin/python -m tests.machine` makes a root file system of Debian 12 with its kernel, LVM
and ZFS (debootstrap; the ZFS module is compiled there), boots it under qemu with a copy of this
checkout mounted read-only, runs `guest_lvm.py`, `guest_zfs.py` and `guest_commands.py` on spare
disks, and ends with their status; `console.txt` in its folder (`.dev/machine`) has what they said.

It needs root, Python 3.11, debootstrap, mke2fs, qemu-system-x86_64 and 6 GB, so it is no part of
`./dev test`.  The first time it downloads 200 MB from deb.debian.org, and compiles: 10 minutes of
processor time in all.  The root file system is kept and used again.  The tests took an hour with
an emulated processor, on a busy computer; `--accelerator kvm` is **not verified**.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from overland.source.snapshotkinds import read_mounts

ROOT: Final = Path(__file__).resolve().parents[2]
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = (
    "linux-image-amd64,linux-headers-amd64,lvm2,thin-provisioning-tools,xfsprogs,e2fsprogs,"
    "kmod,udev,python3,dkms,ca-certificates"
)
TESTS: Final = ("guest_lvm", "guest_zfs", "guest_commands")
_TOOLS: Final = ("debootstrap", "mke2fs", "qemu-system-x86_64", "timeout")
_TOOL_PACKAGES: Final = "debootstrap e2fsprogs qemu-system-x86 coreutils"
_GUEST_PYTHON: Final = (3, 11)
_KERNEL_WORDS: Final = "console=ttyS0 quiet loglevel=3 root=/dev/vda ro panic=-1 mitigations=off"
_ROOT_BYTES: Final = 6 << 30  # sparse, as the spare disks are
_SPARE_BYTES: Final = 2 << 30


def main() -> int:
    """Make what is missing, boot, and return 0 if every test passed."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--folder", type=Path, default=ROOT / ".dev" / "machine")
    asked.add_argument("--tests", nargs="+", choices=TESTS, default=TESTS)
    asked.add_argument("--only", default="", metavar="WORD", help="In the names of the tests.")
    asked.add_argument("--accelerator", default="tcg", help="Of qemu: kvm where it works.")
    asked.add_argument("--timeout-s", type=int, default=7200)
    given = asked.parse_args()
    if os.geteuid() != 0:
        asked.error("making a root file system needs root")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        asked.error(f"not found: {', '.join(missing)}; on Debian: apt install {_TOOL_PACKAGES}")
    if sys.version_info[:2] != _GUEST_PYTHON:
        asked.error("start it with Python 3.11, as the machine has: it uses the same packages")
    given.folder.mkdir(parents=True, exist_ok=True)
    root = given.folder / "root"
    if not (root / "ready").exists():
        make_root(root)
    shutil.copy(ROOT / "tests" / "machine" / "guest.sh", root / "guest.sh")
    copy_checkout(given.folder / "checkout")
    disks = make_disks(given.folder, root)
    console = given.folder / "console.txt"
    try:
        boot(root, disks, console, tests=given.tests, given=given)
    finally:
        for disk in disks:
            disk.unlink()
    said = console.read_text(errors="replace").splitlines()
    return 0 if "MACHINE-STATUS 0" in (line.strip() for line in said) else 1


def make_root(root: Path) -> None:
    """Install Debian with its kernel, and compile ZFS for it; begins anew after a failure."""
    unmount_below(root)  # what a run that was killed left: nothing of the system's is to be removed
    shutil.rmtree(root, ignore_errors=True)
    run(
        *("debootstrap", "--variant=minbase", "--components=main,contrib"),
        *(f"--include={PACKAGES}", "bookworm", root, MIRROR),
    )
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    run("mount", "--bind", "/proc", root / "proc")
    try:
        run("chroot", root, "apt-get", "update", "-qq")
        run(
            *("chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"),
            *("--no-install-recommends", "zfs-dkms", "zfsutils-linux"),
        )
        run("chroot", root, "apt-get", "clean")
    finally:
        unmount_below(root)
    (root / "ready").touch()


def unmount_below(folder: Path) -> None:
    """Unmount everything that is mounted in a folder, the last one first."""
    inside = os.fsencode(folder.resolve()) + b"/"
    for mount in reversed(read_mounts()):
        if mount.path.startswith(inside):
            run("umount", os.fsdecode(mount.path))


def copy_checkout(copy: Path) -> None:
    """Copy what the tests run, so that what is edited meanwhile is not half of it."""
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("src", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)


def make_disks(folder: Path, root: Path) -> list[Path]:
    """Make the image of the root file system and the spare disks, all sparse."""
    disks = [folder / f"{name}.img" for name in ("root", "lvm", "zfs")]
    for disk, size_bytes in zip(disks, (_ROOT_BYTES, _SPARE_BYTES, _SPARE_BYTES), strict=True):
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(size_bytes)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, disks[0])
    return disks


def boot(
    root: Path, disks: list[Path], console: Path, *, tests: list[str], given: argparse.Namespace
) -> None:
    """Run the machine until it powers itself off; its console goes to the file and to ours."""
    kernel, initrd = (
        next(iter((root / "boot").glob(f"{name}*-amd64"))) for name in ("vmlinuz", "initrd")
    )
    # `v2` of x86-64, which wheels are built for, and AES; what more there is costs emulation time.
    cpu = "host" if given.accelerator == "kvm" else "Nehalem,+aes,+pclmulqdq"
    argv: list[object] = ["timeout", given.timeout_s, "qemu-system-x86_64", "-machine", "q35"]
    argv += ["-accel", given.accelerator, "-cpu", cpu, "-smp", 2, "-m", 3072]
    argv += ["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append"]
    words = f"overland.tests={','.join(tests)} overland.only={given.only}"
    argv.append(f"{_KERNEL_WORDS} init=/guest.sh {words}")
    for disk in disks:
        argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    checkout = given.folder / "checkout"
    shares = {"overland": checkout, "packages": Path(sysconfig.get_path("purelib"))}
    for tag, folder in shares.items():
        argv += ["-virtfs", f"local,path={folder},mount_tag={tag},security_model=none,readonly=on"]
    with console.open("wb") as log:
        machine = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert machine.stdout is not None, "it was started with a pipe"
        for line in machine.stdout:
            log.write(line)
            log.flush()
            sys.stdout.write(line.decode("utf-8", "replace"))
        machine.wait()


def run(*argv: object) -> None:
    """Run a program that must end well; what it says goes to our console."""
    subprocess.run([str(word) for word in argv], check=True)


if __name__ == "__main__":
    sys.exit(main())
