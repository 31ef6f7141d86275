"""What must hold after every action of a story, compared with what really lies on the disks."""

import random
from collections.abc import Iterable
from pathlib import Path

from tests.simulation.actions.model import Model, is_true
from tests.simulation.actions.reading import read_tree
from tests.simulation.mail.parcels import Mail
from tests.simulation.mail.programs import Programs
from tests.support.journey_faults import Life

from overland.adapters.posix import PosixFiles
from overland.agent.check.run import check
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import ReadKeys, open_keys
from overland.agent.setup import load_keys
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.errors import IntegrityError, OverlandError
from overland.jobs.seeds import find_seed
from overland.jobs.states import SeedState
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import PackId, PointId, SeedId, point_name
from overland.vault import catalog
from overland.vault.catalog import CatalogPoint

__all__ = ["Proof"]


class Proof:
    """Compares; knows the promises."""

    def __init__(self, programs: Programs, mails: list[Mail]) -> None:
        self._programs, self._mails = programs, mails
        self.model = Model()
        self.let_go: set[PointId] = set()
        """Points whose seed was given up and cleaned away: nobody can restore them any more."""
        self._unchanging: set[str] = set()

    # -- what lies where ------------------------------------------------------------------------

    def held(self) -> dict[str, bytes]:
        """Return the computer's objects in the vault, from the cloud's disk."""
        top = self._programs.vault_folder
        files = sorted(path for path in top.rglob("*") if path.is_file())
        return {str(path.relative_to(top)): path.read_bytes() for path in files}

    def in_vault(self) -> set[str]:
        """Return what lies whole in the vault."""
        held = self.held()
        return held.keys() - self.model.damaged(held)

    def landed(self, mail: Mail) -> set[str]:
        """Return what of a seed lies whole in the container."""
        return mail.whole(self._programs.container_folder / f"seed-{mail.seed_id}")

    def lacking(self, mail: Mail) -> set[str]:
        """Return what of a seed has neither landed nor come into the vault."""
        return mail.digests.keys() - self.landed(mail) - self.in_vault()

    def rows(self) -> list[CatalogPoint]:
        """Return the vault's catalog."""
        with self._programs.cloud.database.connect() as connection:
            computer = self._programs.computer_id
            return catalog.list_points(connection, source_computer_id=computer)

    # -- after every action ---------------------------------------------------------------------

    def after_action(self, chance: random.Random) -> None:
        """See that everything that was promised is where it has to be."""
        self._note()
        held = self.held()
        assert not self.model.damaged(held), "the vault shows what was never written"
        whole = set(held)
        self._places_hold()
        self._points_hold(whole)
        if self.model.promised and chance.random() < 0.35:
            self.restore_one(chance)

    def _note(self) -> None:
        """Take note of what was staged, of what came into the vault, and of points."""
        for mail in self._mails:
            if mail.state == "new":
                self._note_staged(mail)
        held = self.held()
        strange = [
            name for name in held.keys() - self.model.truth.keys() if not is_true(name, held[name])
        ]
        assert not strange, f"the vault got {strange}"
        self.model.take(held)
        for row in self.rows():
            if row.reclaimed_at is None and row.state != "incomplete":
                self._promise(row.point_id)

    def _note_staged(self, mail: Mail) -> None:
        progress = self._programs.progress(mail.policy)
        if progress.seed_id is None or progress.seed_point_id is None:
            return
        if not (mail.staging / f"seed-{progress.seed_id}" / "READY").is_file():
            return
        mail.note_staged(progress.seed_id, progress.seed_point_id)
        assert mail.whole(mail.folder) == mail.digests.keys(), "the first copy is whole"
        self.model.take({name: (mail.folder / name).read_bytes() for name in mail.digests})
        self._programs.settled.add(PointId(mail.point_id))
        self._promise(PointId(mail.point_id))

    def _promise(self, point_id: PointId) -> None:
        if point_id not in self.let_go and point_name(point_id) in self.model.truth:
            tree = self._programs.attempts[point_id]
            self.model.promised.setdefault(point_id, tree)

    def _places_hold(self) -> None:
        for mail in self._mails:
            if mail.state == "new":
                continue
            if not mail.is_cleaned:
                kept = mail.whole(mail.folder)
                assert kept == mail.digests.keys() - mail.harmed, "staging keeps what it had"
            container = self._programs.container_folder / f"seed-{mail.seed_id}"
            shown = {
                str(path.relative_to(container))
                for path in container.rglob("*")
                if path.is_file() and str(path.relative_to(container)) in mail.digests
            }
            assert shown == self.landed(mail), "the container shows nothing but what was signed"
            if mail.state == "online" or self._is_online(mail):
                lost = mail.digests.keys() - self.in_vault()
                gone = {name for name in lost if not self._is_needed(name)}
                assert lost == gone, f"an adopted seed lacks {sorted(lost - gone)}"

    def _is_online(self, mail: Mail) -> bool:
        """Whether the cloud says that a seed is in the vault."""
        with self._programs.cloud.database.begin() as connection:
            seed = find_seed(connection, mail.seed_id)
        return seed is not None and seed.state is SeedState.ONLINE

    def _is_needed(self, name: str) -> bool:
        return any(name in self.model.needed(each) for each in self.model.promised)

    def _points_hold(self, whole: set[str]) -> None:
        """Every point needs only what the vault has, or what a seed carries that is not there."""
        travelling = set[str]()
        for mail in self._mails:
            if mail.state in {"staged", "abandoned"}:
                travelling |= mail.carried
        rows = {row.point_id: row for row in self.rows()}
        for point_id in sorted(self.model.promised):
            lacks = self.model.needed(point_id) - whole
            assert lacks <= travelling, f"{point_id} lost {sorted(lacks - travelling)}"
            row = rows.get(point_id)
            if row is None:
                assert lacks, "what is whole in the vault is in its catalog"
                continue
            if row.reclaimed_at is not None:
                continue
            assert row.state != "available" or not lacks, f"{point_id} is available without {lacks}"
            assert row.state != "incomplete", f"{point_id} lacks {row.missing}"

    # -- restores -------------------------------------------------------------------------------

    def layers(self) -> list[tuple[str, Objects]]:
        """Return all places that have objects: vault, staging locations, and drives."""
        found: list[tuple[str, Objects]] = [("vault", self._programs.vault())]
        for mail in self._mails:
            if mail.state in {"staged", "abandoned"} and not mail.is_cleaned:
                folder = SeedFolderObjects(PosixFiles(mail.staging), SeedId(mail.seed_id))
                found.append((f"staging {mail.seed_id}", folder))
            for parcel in mail.parcels:
                for serial in sorted(parcel.loads.keys() - parcel.lost - parcel.broken):
                    files = PosixFiles(self._programs.folder / "drives" / serial)
                    found.append(
                        (f"drive {serial}", SeedFolderObjects(files, SeedId(mail.seed_id)))
                    )
        return found

    def at_hand(self) -> set[str]:
        """Return what lies whole in some of these places."""
        found = self.in_vault()
        for mail in self._mails:
            if mail.state in {"staged", "abandoned"} and not mail.is_cleaned:
                found |= mail.whole(mail.folder)
            for parcel in mail.parcels:
                for serial in parcel.loads.keys() - parcel.lost - parcel.broken:
                    found |= mail.whole(self.drive_folder(mail, serial))
        return found

    def drive_folder(self, mail: Mail, serial: str) -> Path:
        return self._programs.folder / "drives" / serial / f"seed-{mail.seed_id}"

    def keys(self) -> ReadKeys:
        """Return the keys as the commands here have them."""
        home = self._programs.computer(Life()).home
        keys = load_keys(home)
        return ReadKeys.of(keys.document, keys.master, at_hand=[home.files])

    def restore_one(self, chance: random.Random) -> str:
        """Restore a point from all places: whole if it can be, and never as something else."""
        point_id = chance.choice(sorted(self.model.promised))
        is_there = self.model.needed(point_id) <= self.at_hand()
        objects = LayeredObjects(self.layers())
        try:
            self.compare(point_id, objects, self.keys())
        except (OverlandError, IntegrityError):
            if is_there:
                raise
            return "not at hand"
        return "restored"

    def compare(self, point_id: PointId, objects: LayeredObjects, keys: ReadKeys) -> None:
        """See that a point gives back what was backed up."""
        found = read_tree(objects, keys, point_id, top=self._programs.source.folder)
        assert found == self.model.promised[point_id], f"{point_id} gives back something else"

    # -- what was sent --------------------------------------------------------------------------

    def sent_since(self, count: int) -> list[str]:
        """Return the names that were put to the vault since so many puts."""
        prefix = f"/vaults/{self._programs.vault_id}/{self._programs.computer_id}/"
        paths = (sent.path for sent in self._programs.line.sent[count:])
        return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]

    def chunks_of(self, names: Iterable[str]) -> set[bytes]:
        """Return the ids of the chunks in packs, from any place that has them."""
        store = ChunkStore(LayeredObjects(self.layers()), self.keys())
        found = set[bytes]()
        for name in names:
            if name.startswith("packs/"):
                pack = PackId(name.rpartition("/")[2].removesuffix(".pack"))
                found |= {bytes(row["id"]) for row in store._directory(pack).directory.chunks}
        return found

    # -- the end --------------------------------------------------------------------------------

    def everything(self) -> None:
        """Restore every point from the vault alone, with nothing but what people know."""
        objects = LayeredObjects([("vault", self._programs.vault())])
        keys = self._opened(objects)
        rows = {row.point_id: row for row in self.rows()}
        for point_id in sorted(self.model.promised):
            assert rows[point_id].state == "available", f"{point_id} is {rows[point_id].state}"
            self.compare(point_id, objects, keys)
        reclaimed = {row.point_id for row in rows.values() if row.reclaimed_at is not None}
        report = check(
            self._programs.vault(),
            progress=NullProgress(),
            keys=self.keys(),
            reclaimed=reclaimed | self.let_go,
            workers=1,
        )
        # What a killed run left behind, and an old key signed, counts for nobody any more.
        left = {name for name in self.held() if name.startswith("points/")}
        left -= {point_name(each) for each in rows}
        bad = [each for each in report.findings if each.kind == "corrupt" and each.name not in left]
        assert not bad, f"check found {bad}"
        for point_id in self.model.promised:
            assert report.restorable[point_id], f"check says that {point_id} cannot be restored"

    def _opened(self, objects: LayeredObjects) -> ReadKeys:
        opening = []
        for passphrase in self._programs.passphrases:
            try:
                opening.append(open_keys(objects, passphrase=passphrase))
            except OverlandError:
                continue
        assert len(opening) == 1, "one passphrase opens the vault"
        return opening[0]
