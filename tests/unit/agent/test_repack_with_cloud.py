"""Repack and repair with the real keeper: the cloud's API, its rules, and its reclaim."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.backed_up import sample_keyring
from tests.support.cloud import LocalCloud
from tests.support.manualclock import ManualClock
from tests.support.vaulted import Vaulted
from tests.unit.agent.test_repack import write
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent.connection import Connection
from overland.agent.repack.run import Workshop, repack
from overland.agent.repair.run import repair
from overland.cloud.reclaims import begin_due
from overland.crypto.keys import signing_key
from overland.values import PointId

GRACE = timedelta(days=15)


class WithCloud(Vaulted):
    """A source computer whose vault is kept by a real cloud."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        document, master, _ = sample_keyring()
        world = cloud.world()
        registered = cloud.register(
            world,
            name="source",
            repository_id=document.repository_id,
            signing_key=signing_key(document, master),
        )
        self.cloud = cloud
        self.prefix = f"vaults/{world.vault_id}/{registered['source_computer_id']}/"
        self.files = PosixFiles(folder / "cloud" / "objects")
        super().__init__(folder)
        self.connection = Connection(cloud.http(registered["token"]))
        self.vault = self.keeper.vault = FolderObjects(self.files, prefix=self.prefix)
        for info in self.disk.names():
            self.files.write(self.prefix + info.name, self.disk.read(info.name))

    @override
    def workshop(self) -> Workshop:
        return replace(super().workshop(), keeper=self.connection)

    def send(self) -> PointId:
        """Back up, and have the point recorded."""
        version = self.connection.chains().chain_version
        point_id = self.back_up()
        self.connection.publish_point(point_id, chain_version=version)
        return point_id


@pytest.fixture
def computer(tmp_path: Path) -> Iterator[WithCloud]:
    with LocalCloud(tmp_path / "cloud", ManualClock()) as cloud:
        yield WithCloud(tmp_path, cloud)


def test_repacked_room_is_freed_by_the_clouds_own_reclaim(computer: WithCloud) -> None:
    for number in range(10):
        write(computer.source, f"file{number}", number)
    first = computer.send()
    for number in range(9):
        (computer.source / f"file{number}").unlink()
    computer.send()
    computer.connection.delete_point(first)
    computer.cloud.clock.advance(GRACE)
    begin_due(computer.cloud.services)
    before = sum(info.size_bytes for info in computer.vault.names())
    report = repack(computer.workshop(), policy="documents", min_live=0.7)
    assert report.replacement_id
    assert computer.connection.chains().replacements == (report.replacement_id,)
    for _ in range(2):
        computer.cloud.clock.advance(GRACE)
        begin_due(computer.cloud.services)
    after = sum(info.size_bytes for info in computer.vault.names())
    assert before - after > 200_000
    computer.keeper.deleted.add(first)
    computer.keeper.accepted.append(report.replacement_id)
    computer.assert_all_restorable()
    write(computer.source, "later", 77)
    computer.send()
    computer.assert_all_restorable()


def test_a_lost_pack_is_repaired_and_the_point_available_again(computer: WithCloud) -> None:
    for number in range(10):
        write(computer.source, f"file{number}", number)
    point = computer.send()
    biggest = max(computer.vault.names("packs/"), key=lambda info: info.size_bytes)
    computer.vault.delete(biggest.name)
    report = repair(computer.workshop(), {})
    assert report.replacement_id
    assert not report.lost
    assert [each.state for each in computer.connection.points()] == ["available"]
    assert computer.restored(point) == computer.contents[point]
