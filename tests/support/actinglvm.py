"""A program that acts like LVM's tools and like `mount`, over folders, as their manuals say.

Volumes are entries of a JSON file, their content folders.  It refuses what the real tools refuse
of what we ask of them: a name that is taken, a size that the group has no room for, a thin
snapshot with a size, a volume that is mounted.
"""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from overland.source.snapshotkinds import Mount

__all__ = ["ActingLvm", "volume"]

_TOOLS = ("lvs", "lvcreate", "lvremove", "mount", "umount")
_NUMBERS_FROM = 100


def volume(**changes: str) -> dict[str, str]:
    """Return a volume as `lvs` shows one of 1 GiB, not thin and with nothing mounted."""
    plain = {
        "lv_name": "data",
        "vg_name": "shop",
        "lv_attr": "owi-aos---",
        "origin": "",
        "pool_lv": "",
        "lv_size": str(1 << 30),
        "data_percent": "",
        "lv_kernel_major": "253",
        "lv_kernel_minor": "0",
        "vg_extent_size": str(4 << 20),
    }
    return plain | changes


class ActingLvm:
    """The volumes, and the tools in a folder to be put in front of `PATH`."""

    def __init__(self, folder: Path, *volumes: dict[str, str], free_bytes: int = 1 << 30) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self._state = folder / "state.json"
        self._save({"volumes": list(volumes), "free": free_bytes, "calls": [], "mounts": {}})
        for tool in _TOOLS:
            program = self.bin / tool
            program.write_text(
                f"#!{sys.executable}\nimport sys\nsys.path[:0] = {[*sys.path]!r}\n"
                f"from tests.support.actinglvm import act\n"
                f"act({tool!r}, {str(folder)!r}, sys.argv[1:])\n"
            )
            program.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        """Everything, as the file has it."""
        loaded: dict[str, Any] = json.loads(self._state.read_text())
        return loaded

    def names(self) -> list[str]:
        """All volumes' names."""
        return sorted(row["lv_name"] for row in self.state["volumes"])

    def calls(self, tool: str) -> list[list[str]]:
        """The arguments that a tool was called with."""
        return [argv for name, argv in self.state["calls"] if name == tool]

    def change(self, name: str, **fields: str) -> None:
        """Change what `lvs` tells of a volume."""
        state = self.state
        for row in state["volumes"]:
            if row["lv_name"] == name:
                row.update(fields)
        self._save(state)

    def forget(self, name: str) -> None:
        """Have a volume vanish."""
        state = self.state
        state["volumes"] = [row for row in state["volumes"] if row["lv_name"] != name]
        self._save(state)

    def mounts(self, *others: Mount) -> list[Mount]:
        """Return these mounts, and those that the acting `mount` made."""
        made = [
            Mount(
                path=os.fsencode(where), kind="ext4", device=b"/dev/mapper/x", number="", root=b"/"
            )
            for where in self.state["mounts"]
        ]
        return [*others, *made]

    def _save(self, state: dict[str, Any]) -> None:
        self._state.write_text(json.dumps(state))


def act(tool: str, folder: str, argv: list[str]) -> None:
    """Do what a tool would, or end with its status and words."""
    lvm = _Acting(Path(folder))
    lvm.state["calls"].append([tool, argv])
    problem = getattr(lvm, tool)(argv)
    (Path(folder) / "state.json").write_text(json.dumps(lvm.state))
    if problem:
        sys.stderr.write(f"  {problem}\n")
        sys.exit(5)


class _Acting:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = json.loads((folder / "state.json").read_text())

    def lvs(self, argv: list[str]) -> str | None:
        fields = argv[argv.index("--options") + 1].split(",")
        if argv[:5] != ["--reportformat", "json", "--units", "b", "--nosuffix"]:
            return "unexpected arguments"
        rows = [
            {field: {"vg_free": str(self.state["free"]), **row}[field] for field in fields}
            for row in self.state["volumes"]
        ]
        sys.stdout.write(json.dumps({"report": [{"lv": rows}], "log": []}))
        return None

    def lvcreate(self, argv: list[str]) -> str | None:
        options = dict(pairwise(argv))
        group, name = argv[-1].split("/")[0], options["--name"]
        origin = self._row(argv[-1].split("/")[1])
        if any(row["lv_name"] == name for row in self.state["volumes"]):
            return f'Logical Volume "{name}" already exists in volume group "{group}"'
        size = 0
        if origin["pool_lv"]:
            if "--size" in options or options.get("--setactivationskip") != "n":
                return "a thin snapshot has no size, and is not activated by itself"
        else:
            size = int(options["--size"].removesuffix("b"))
            if size > self.state["free"] or size % int(origin["vg_extent_size"]):
                return f'Volume group "{group}" has insufficient free space'
        self.state["free"] -= size
        made = volume(
            lv_name=name,
            origin=origin["lv_name"],
            pool_lv=origin["pool_lv"],
            lv_attr="Vwi-a-tz--" if origin["pool_lv"] else "swi-a-s---",
            lv_size=str(size or origin["lv_size"]),
            data_percent="0.01",
            lv_kernel_minor=str(_NUMBERS_FROM + len(self.state["volumes"])),
        )
        self.state["volumes"].append(made)
        _copy(self.folder / origin["lv_name"], self.folder / name)
        return None

    def lvremove(self, argv: list[str]) -> str | None:
        name = argv[-1].split("/")[1]
        if argv[:-1] != ["--yes"]:
            return "it would ask"
        if any(device.endswith("/" + name) for device in self.state["mounts"].values()):
            return f"Logical volume {argv[-1]} contains a filesystem in use."
        row = self._row(name)
        self.state["free"] += 0 if row["pool_lv"] else int(row["lv_size"])
        self.state["volumes"].remove(row)
        return None

    def mount(self, argv: list[str]) -> str | None:
        device, where = argv[-2:]
        if (self.folder / "mount-fails").exists():
            return f"mount: {where}: wrong fs type, bad option, bad superblock on {device}."
        _copy(self.folder / device.rsplit("/", maxsplit=1)[1], Path(where))
        self.state["mounts"][where] = device
        return None

    def umount(self, argv: list[str]) -> str | None:
        if argv[0] not in self.state["mounts"]:
            return f"umount: {argv[0]}: not mounted."
        del self.state["mounts"][argv[0]]
        for path in sorted(Path(argv[0]).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        return None

    def _row(self, name: str) -> dict[str, str]:
        rows: list[dict[str, str]] = self.state["volumes"]
        return next(row for row in rows if row["lv_name"] == name)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            (target / path.name).write_bytes(path.read_bytes())
