"""What repair takes from other places comes in an order that may be cut off anywhere."""

from pathlib import Path

from tests.support.backed_up import PASSPHRASE, BackedUp
from tests.support.simdisk import SimDisk

from overland.adapters.folderobjects import FolderObjects
from overland.agent.points.reading import open_keys
from overland.agent.repair.fetch import fetch
from overland.ports.progress import NullProgress


def test_what_others_rely_on_comes_first(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path)
    backed.source.mkdir()
    (backed.source / "file").write_bytes(b"content" * 5000)
    backed.back_up()
    disk, place = SimDisk(), backed.place(0)
    names = {info.name for info in place.names()}

    done = fetch(
        FolderObjects(disk),
        {"staging": place},
        names,
        open_keys(backed.objects(), passphrase=PASSPHRASE),
        progress=NullProgress(),
        dry_run=False,
    )

    assert done.fetched == dict.fromkeys(names, "staging")
    came = [step.removeprefix("rename to ") for step in disk.trail if step.startswith("rename")]
    kinds = [name.partition("/")[0] for name in came]
    assert kinds == sorted(kinds, key=["keys", "packs", "index", "points"].index)
    assert {info.name for info in disk.names()} == names
