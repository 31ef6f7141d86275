"""A new seed carries what proves the older recovery points: drives and passphrase suffice."""

import hashlib
import secrets
from pathlib import Path
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.support.backed_up import SettledClock
from tests.support.signing_rotation import rotate_signing

from overland.adapters.posix import PosixFiles
from overland.adapters.programs import SystemPrograms
from overland.agent.data import LocalDataPath
from overland.agent.home import AgentHome
from overland.agent.points.reading import list_points, open_keys
from overland.agent.policy import OfflineSettings, Policy
from overland.agent.setup import initialise, load_keys, master_key_name
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.crypto.keyring import Argon2Parameters, encode_keyring, generation_of
from overland.errors import KeyChangeMissing
from overland.ports.progress import NullProgress
from overland.seeding.staging import StagingLocation
from overland.values import PointId, SeedId, keyring_name

PASSPHRASE, NEW = "correct horse battery staple", "eight ferries over the sea"
SEED, POINT = SeedId(str(UUID(int=7))), PointId(str(UUID(int=8)))


class Computer:
    """A source computer whose signing key was replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("home", "home/repository", "source", "staging"):
            (folder / name).mkdir()
        (folder / "source" / "file").write_bytes(b"content")
        self.files = PosixFiles(folder / "home")
        self.home = AgentHome(self.files)
        initialise(
            self.home,
            computer_name="harbour",
            passphrase=PASSPHRASE,
            random=secrets.token_bytes,
            cost=Argon2Parameters(memory_kib=32, iterations=1, lanes=1),
        )
        before = load_keys(self.home)
        made = rotate_signing(before.document, before.master, [], NEW)
        self.change, self.data = made.name, made.data
        self.files.write(made.name, made.data)
        self.files.write(master_key_name(made.master.number), made.master.secret.reveal())
        self.keyring = keyring_name(generation_of(made.document))
        self.files.write(self.keyring, encode_keyring(made.document))
        public = made.document.signing_public_key
        self.home.save_identity(replace(self.home.identity(), signing_public_key=public))

    def stage(self) -> None:
        folder = self.folder
        path = LocalDataPath(
            home=self.home,
            keys=load_keys(self.home),
            state_folder=folder / "home/repository",
            files_of=lambda path: PosixFiles(Path(path)),
            scratch_of=lambda path: PosixFiles(Path(path), is_scratch=True),
            clock=SettledClock(),
            meter=NullProgress(),
            programs=SystemPrograms(),
        )
        policy = Policy(
            name="files",
            sources=(str(folder / "source"),),
            first_copy="offline",
            offline=OfflineSettings(
                staging_location=str(folder / "staging"),
                publish_settings="none",
                subscription_id=str(UUID(int=1)),
                storage_account="harbour",
                container="backups",
                job_name="first",
            ),
        )
        path.stage(policy, seed_id=SEED, point_id=POINT)

    def staged(self) -> StagingLocation:
        return StagingLocation(
            str(self.folder / "staging"), files_of=lambda path: PosixFiles(Path(path))
        )


def test_a_new_seed_has_the_newest_keyring_and_the_changes_that_it_names(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    computer.stage()
    seed = computer.staged().open(SEED)
    listed = {item.name: item for item in seed.manifest.objects}
    assert [name for name in listed if name.startswith("key")] == [
        computer.change,
        computer.keyring,
    ]
    assert listed[computer.change].sha256 == hashlib.sha256(computer.data).hexdigest()
    assert seed.check_sizes() == []
    assert seed.public_key.hex() == load_keys(computer.home).document.signing_public_key
    place = SeedFolderObjects(PosixFiles(tmp_path / "staging"), SEED)
    objects = LayeredObjects([("drive", place)])
    listing = list_points(objects, open_keys(objects, passphrase=NEW))
    assert [point.point_id for point in listing.points] == [POINT]


def test_a_seed_is_not_begun_without_a_change(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    computer.files.delete(computer.change)
    with pytest.raises(KeyChangeMissing, match=computer.change):
        computer.stage()
    assert [seed.why_not for seed in computer.staged().seeds()] != [None]
