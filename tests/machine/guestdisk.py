"""The spare disks of the virtual machine, and how its tests run the system's tools."""

import subprocess

__all__ = ["LVM_DISK", "ZFS_DISK", "run"]

LVM_DISK, ZFS_DISK = "/dev/vdb", "/dev/vdc"


def run(*argv: object) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout
