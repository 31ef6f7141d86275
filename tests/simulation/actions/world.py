"""One source computer, its vault and the vault's keeper, of real parts on disks that may fail."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn, final
from uuid import UUID

from sqlalchemy.event import listen
from tests.simulation.actions.door import Door
from tests.simulation.actions.model import Model
from tests.simulation.actions.openers import Openers
from tests.simulation.actions.reading import read_tree
from tests.simulation.actions.source import Source, Tree
from tests.simulation.actions.steady import SteadyDisk, SteadyRandom
from tests.support.backed_up import PASSPHRASE, SMALL_CHUNKS
from tests.support.landed import VAULT, Computer
from tests.support.manualclock import ManualClock
from tests.support.reclaiming import Reclaiming
from typing_extensions import override

from overland.adapters.folderobjects import FolderObjects
from overland.agent import signing
from overland.agent.backup.run import BackupPlan, back_up
from overland.agent.backup.upload import Uploader
from overland.agent.check.findings import CheckReport
from overland.agent.check.run import check
from overland.agent.connection import Chains, VaultPoint
from overland.agent.home import SIGNING_CHANGE, AgentHome
from overland.agent.keys import KeyringTaken, publish, ready_to_seal, reissue
from overland.agent.points.reading import ReadKeys
from overland.agent.points.signatures import Signatures
from overland.agent.repack.run import Workshop
from overland.agent.repository import Repository
from overland.agent.setup import Keys, initialise, load_keys, newest_keyring, register
from overland.agent.signingcloud import SigningCloud
from overland.agent.sources import LayeredObjects
from overland.crypto.keyring import Argon2Parameters, former_signers_of
from overland.errors import NotAuthorised, ObjectAbsent, RefusedError
from overland.ports.files import Files
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import ObjectInfo, PointId, ReplacementId, RepositoryId, key_change_name
from overland.vault import catalog, chains, marks, replacing
from overland.vault.catalog import CatalogPoint
from overland.vault.owner import Owner

__all__ = ["CHEAP", "Copies", "World", "repository_of"]

CHEAP: Final = Argon2Parameters(memory_kib=32, iterations=1, lanes=1)

_TRIES: Final = 3
_BEGIN: Final = datetime(2186, 3, 1, 12, tzinfo=UTC)
"""After all files of this machine were made: else the change cache trusts none of them."""
_USABLE: Final = ("available", "waiting-for-seed")


@dataclass(frozen=True, kw_only=True)
class _Registered(Computer):
    """The computer as the cloud knew it at first."""

    registered: Owner

    @property
    @override
    def owner(self) -> Owner:
        return self.registered


@final
class Copies:
    """`Objects` that hold true copies of everything, as drives and staging do; only read."""

    def __init__(self, truth: dict[str, bytes]) -> None:
        self._truth = truth

    def read(self, name: str) -> bytes:
        try:
            return self._truth[name]
        except KeyError:
            raise ObjectAbsent(name) from None

    def read_range(self, name: str, *, offset: int, length: int) -> bytes:
        return self.read(name)[offset : offset + length]

    def blocks(self, name: str) -> Iterator[memoryview]:
        yield memoryview(self.read(name))

    def head(self, name: str) -> ObjectInfo:
        return ObjectInfo(name=name, size_bytes=len(self.read(name)))

    def names(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        names = (name for name in sorted(self._truth) if name.startswith(prefix))
        return (self.head(name) for name in names if name > start_after)

    def put(self, name: str, *_: object, **__: object) -> NoReturn:
        raise AssertionError(f"{name} was put to a place that is only read")

    def delete(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} was deleted from a place that is only read")


class World:
    """Everything that a story acts on."""

    def __init__(self, folder: Path, seed: int, source: Source, *, pack_bytes: int) -> None:
        self.source, self.model = source, Model()
        self.folder, self.pack_bytes = folder, pack_bytes
        self.chance = SteadyRandom(seed)
        self.clock = ManualClock(_BEGIN)
        self.state, self.spool = SteadyDisk(), SteadyDisk(is_scratch=True)
        self.home_disk = SteadyDisk()
        self.cloud = Reclaiming(disk=SteadyDisk(), clock=self.clock)
        self.door = Door(self.cloud, random=self.chance, chains=self.chains)
        self.openers = Openers()
        self.last: dict[str, PointId | None] = {}
        self.made = 0
        self.meanwhile: Callable[[], None] = _nothing
        """Called between the steps of a run, where the cloud does what it likes."""
        self._open_transactions = 0
        self._watch_transactions()
        self._set_up()
        self.begin_agent()

    def _set_up(self) -> None:
        """Do what the operator does first."""
        secret = self.openers.passphrase(PASSPHRASE)
        identity, kit = initialise(
            self.home, computer_name="files", passphrase=secret, random=self.chance, cost=CHEAP
        )
        self.openers.kit(kit)
        credentials = self.door.credentials()
        made = register(self.home, credentials, http=self.door.http(credentials.registration_token))
        owner = Owner(
            source_computer_id=made.source_computer_id,
            repository_id=RepositoryId(identity.repository_id),
            public_key=bytes.fromhex(identity.signing_public_key),
        )
        self.cloud.computer = _Registered(registered=owner)
        self.prefix = f"{VAULT}/{owner.prefix}"
        publish(self.home, self.vault)
        self.model.keys.append(owner.public_key)
        self.note_keys()

    def _watch_transactions(self) -> None:
        def began(_: object) -> None:
            self._open_transactions += 1

        def ended(_: object) -> None:
            self._open_transactions -= 1

        listen(self.cloud.database, "begin", began)
        listen(self.cloud.database, "commit", ended)
        listen(self.cloud.database, "rollback", ended)

    @property
    def is_in_transaction(self) -> bool:
        """Whether the database is somebody's alone."""
        return self._open_transactions > 0

    # -- places ---------------------------------------------------------------------------------

    @property
    def disk(self) -> SteadyDisk:
        """The vault's disk."""
        assert isinstance(self.cloud.disk, SteadyDisk), "of the story's kind"
        return self.cloud.disk

    @property
    def vault(self) -> FolderObjects:
        """The source computer's part of the vault."""
        return FolderObjects(self.disk, prefix=self.prefix)

    def held(self) -> dict[str, bytes]:
        """Return all objects of the source computer in the vault."""
        return {info.name: self.vault.read(info.name) for info in self.vault.names()}

    def objects(self) -> LayeredObjects:
        return LayeredObjects([("vault", self.vault)])

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.home_disk)

    @property
    def signing_cloud(self) -> SigningCloud:
        """The cloud, asked with this computer's token."""
        registered = self.home.registration()
        http = self.door.http(registered.token)
        return SigningCloud(http, source_computer_id=registered.source_computer_id)

    def begin_agent(self) -> None:
        """Start the agent's process on what its disks hold."""
        keys, files = load_keys(self.home), self.home.files
        self.repository = repository_of(keys, files, state=self.state, random=self.chance)

    @property
    def keys(self) -> ReadKeys:
        """The keys as the commands here have them, with the key changes at home at hand."""
        keys = load_keys(self.home)
        return ReadKeys.of(keys.document, keys.master, at_hand=[self.home.files])

    def go_on(self, vault: Objects | None = None) -> None:
        """Do with keys what every command does first that writes to the vault.

        Raises:
            OverlandError: As the parts of the program.
        """
        try:
            signing.go_on(self.home, self.vault, self.signing_cloud)
        except NotAuthorised:  # a kill took the answer of the last registration
            self.register_again()
            signing.go_on(self.home, self.vault, self.signing_cloud)
        self.note_keys()
        try:
            ready_to_seal(self.home, vault or self.vault)
        except KeyringTaken:
            # A flipped bit of a MAC looks like a stranger's keyring, and the operator is asked.
            if vault is not None:
                raise
            assert newest_keyring(self.home)[0] in self.model.damaged(self.held())
            reissue(self.home, self.vault)
        self.begin_agent()

    def register_again(self) -> None:
        credentials = self.door.credentials()
        http = self.door.http(credentials.registration_token)
        signing.register_again(self.home, credentials, http=http)

    def opens(self) -> dict[str, str] | None:
        """Return what has to open the vault; None while its newest keyring is harmed."""
        self.openers.note_vault(self.model.truth)
        return self.openers.newest(self.held())

    def opens_at_home(self) -> dict[str, str]:
        """Return what opens the home folder's newest keyring."""
        name, _ = newest_keyring(self.home)
        return self.openers.of(self.home.files.read(name))

    def note_keys(self) -> None:
        """Have the model know which keyrings and key changes there are, by what lies there."""
        files = self.home.files
        names = [info.name for info in files.names("keys/")]
        if self.home.is_signing_key_changing():
            names.append(SIGNING_CHANGE)
        self.openers.note([files.read(name) for name in names])
        if self.home.is_signing_key_changing():
            return
        _, document = newest_keyring(self.home)
        former, known = former_signers_of(document), len(self.model.changes)
        assert len(former) - known in {0, 1}, "one key after the other"
        for number, each in enumerate(former[known:], start=known + 1):
            assert bytes.fromhex(each.public_key) == self.model.keys[-1], "the present one ended"
            name = key_change_name(number, each.change_sha256)
            key = bytes.fromhex(document.signing_public_key)
            self.model.changed_key(name, files.read(name), key)

    def restart(
        self, which: str = "", *, cut_at: int | None = None, seed: int = 0, lies: bool = False
    ) -> None:
        """Start all computers anew; one disk may fail from now on: by its name below."""
        failing = {"cut_at": cut_at, "lies": lies}
        disks = {"vault": self.disk, "state": self.state, "spool": self.spool}
        disks["home"] = self.home_disk
        again = {
            name: disk.restart(seed=seed, **(failing if name == which else {}))  # type: ignore[arg-type]  # as named
            for name, disk in disks.items()
        }
        self.cloud.disk, self.state, self.spool = again["vault"], again["state"], again["spool"]
        self.home_disk, self.door.cut_at = again["home"], None
        self.cloud.engine = self.cloud.engine.restart()
        self.begin_agent()
        self.cloud.begin()

    # -- the source computer --------------------------------------------------------------------

    def back_up(
        self,
        policy: str,
        *,
        full: bool = False,
        reads_all: bool = False,
        vault: Objects | None = None,
        spool: Files | None = None,
    ) -> PointId | None:
        """Make a point and have it recorded, as the agent does; None if nothing came of it.

        Raises:
            OverlandError, OSError: As the data path.
        """
        for _ in range(_TRIES):
            self.go_on(vault)
            point_id, base, version = self._send(
                policy, full=full, reads_all=reads_all, vault=vault, spool=spool
            )
            if self._publish(policy, point_id, base, version):
                self.model.take(self.held())
                assert point_id not in self.model.promised, "each point is made once"
                self.model.promised[point_id] = self.model.attempts[point_id]
                return point_id
        return None

    def _send(
        self,
        policy: str,
        *,
        full: bool,
        reads_all: bool,
        vault: Objects | None,
        spool: Files | None,
    ) -> tuple[PointId, PointId | None, int]:
        with self.cloud.database.begin() as connection:
            owner, at = self.cloud.owner, self.clock.now()
            chains.note_grant(connection, owner, at=at, policy_id=_policy_id(policy))
        known = self.chains()
        self.meanwhile()
        base = None if full else self._usable(self.last.get(policy), known)
        self.made += 1
        point_id = PointId(str(UUID(int=0x1000 + self.made)))
        self.model.attempts[point_id] = dict(self.source.tree)
        plan = BackupPlan(
            point_id=point_id,
            kind="incremental" if base else "full",
            seed_id=None,
            base=base,
            roots=(self.source.folder,),
            include=(),
            exclude=(),
            one_file_system=True,
            never_enter=(),
            policy=policy,
            host="source",
            sizes=SMALL_CHUNKS,
            pack_bytes=self.pack_bytes,
            workers=1,
            reads_all=reads_all,
        )
        spool = spool or self.spool
        with Uploader(vault or self.vault, spool, clock=self.clock) as uploader:
            uploader.resume()
            back_up(
                plan,
                repository=self.repository,
                out=spool,
                clock=self.clock,
                progress=NullProgress(),
                stored=[vault or self.vault],
                on_published=uploader.submit,
                acknowledge=uploader.drain,
            )
        self.last[policy] = point_id
        self.meanwhile()
        return point_id, base, known.chain_version

    def _publish(self, policy: str, point_id: PointId, base: PointId | None, version: int) -> bool:
        point = self.record(policy, point_id, version)
        if point is not None and point.state != "incomplete":
            return True
        self.last[policy] = base
        if point is not None:
            self.mark(point_id)
        return False

    @staticmethod
    def _usable(base: PointId | None, known: Chains) -> PointId | None:
        rows = {point.point_id: point for point in known.points}
        while base in rows and rows[base].state not in _USABLE:
            above = rows.pop(base).base
            base = None if above is None else PointId(above)
        return base

    def workshop(self) -> Workshop:
        self.go_on()
        return Workshop(
            repository=self.repository,
            keys=self.keys,
            vault=self.vault,
            keeper=self,
            spool=self.spool,
            scratch=None,
            clock=self.clock,
            progress=NullProgress(),
            pack_bytes=self.pack_bytes,
        )

    def check(self, *, with_keys: bool = True) -> CheckReport:
        keys = self.keys
        return check(
            self.vault,
            progress=NullProgress(),
            keys=keys if with_keys else None,
            signatures=keys.signatures,
            reclaimed={row.point_id for row in self.rows() if row.reclaimed_at is not None},
            workers=1,
        )

    def vault_keys(self) -> ReadKeys:
        """Return the keys without what else the home folder has: the vault has to have it."""
        keys = load_keys(self.home)
        return ReadKeys.of(keys.document, keys.master)

    def read(self, point_id: PointId, keys: ReadKeys | None = None) -> Tree:
        """Return what a point gives back; raises if anything of it cannot be read."""
        keys = keys or self.vault_keys()
        return read_tree(self.objects(), keys, point_id, top=self.source.folder)

    # -- the cloud, as `overland.cloud` composes it ---------------------------------------------

    def rows(self) -> list[CatalogPoint]:
        with self.cloud.database.begin() as connection:
            return self.cloud.listed(connection)

    def chains(self) -> Chains:
        with self.cloud.database.begin() as connection:
            fence = chains.read_fence(connection, self.cloud.owner)
            listed = self.cloud.listed(connection)
        return Chains(
            chain_version=fence.version,
            points=tuple(_row(point) for point in listed),
            replacements=tuple(fence.accepted),
        )

    def accept_replacement(self, replacement_id: str, *, chain_version: int) -> int:
        wanted = ReplacementId(replacement_id)
        version = self.cloud.accept(wanted, chain_version=chain_version)
        self.model.take(self.held())
        self.model.accept(replacement_id)  # from here on it counts, whatever is cut off
        with self.cloud.database.begin() as connection:
            fence = chains.read_fence(connection, self.cloud.owner)
        replacing.keep_copy(self.cloud.store, fence.owner, wanted)
        return version

    def record(self, policy: str, point_id: PointId, version: int) -> CatalogPoint | None:
        """Enter a point into the catalog; None if it may not be relied upon."""
        return chains.look_again(lambda: self._looked(policy, point_id, version))

    def _looked(self, policy: str, point_id: PointId, version: int) -> CatalogPoint | None:
        owner, database = self.cloud.owner, self.cloud.database
        with database.begin() as connection:
            fence = chains.read_fence(connection, owner)
        finding = catalog.inspect(
            self.cloud.store,
            fence=fence,
            point_id=point_id,
            replacements=replacing.load_accepted(self.cloud.store, fence),
        )
        is_stale = finding.names_replaced or (
            finding.public.base is not None and version < fence.replaced_at_version
        )
        self.meanwhile()
        with database.begin() as connection:
            chains.require_epoch(connection, fence)
            computer = owner.source_computer_id
            known = catalog.find_point(connection, point_id, source_computer_id=computer)
            if known is not None and known.reclaimed_at is not None:
                return None
            if is_stale and known is None:
                catalog.reject(connection, finding, at=self.clock.now())
            if is_stale and (known is None or known.published_at is None):
                return None
            point = catalog.record(connection, finding, at=self.clock.now())
            marks.set_policy(connection, point, _policy_id(policy), owner)
            if point.state != "incomplete":
                chains.note_recorded(connection, owner, _policy_id(policy))
            return point

    def mark(self, point_id: PointId) -> bool:
        """Let a point go, if it may."""
        return self._marked(point_id, let_go=True)

    def unmark(self, point_id: PointId) -> bool:
        """Take a point back, if it is not too late."""
        return self._marked(point_id, let_go=False)

    def _marked(self, point_id: PointId, *, let_go: bool) -> bool:
        at = self.clock.now()
        with self.cloud.database.begin() as connection:
            point = self.cloud.point(UUID(point_id).int, connection)
            try:
                if let_go:
                    grace = marks.MIN_GRACE
                    owner = self.cloud.owner
                    marks.mark(connection, point, owner=owner, at=at, grace=grace, actor="agent:1")
                else:
                    marks.unmark(connection, point, owner=self.cloud.owner, at=at, actor="admin:1")
            except RefusedError:
                return False
        if let_go:
            self.model.let_go_at.setdefault(point_id, at)
        else:
            self.model.let_go_at.pop(point_id, None)
        return True


def repository_of(keys: Keys, home: Files, *, state: Files, random: SteadyRandom) -> Repository:
    """Return the repository as the holder of a home folder sees it."""
    return Repository(
        repository_id=keys.document.repository_id,
        master_key=keys.master,
        signing_key=keys.signing,
        state=state,
        state_folder=None,
        signatures=lambda: Signatures.of(keys.document, at_hand=[home]),
        random=random,
    )


def _nothing() -> None:
    pass


def _row(point: CatalogPoint) -> VaultPoint:
    return VaultPoint(
        point_id=point.point_id,
        created_at=point.created_at.isoformat(),
        kind=point.kind,
        state=point.state if point.reclaimed_at is None else "reclaimed",
        base=point.base,
        missing=point.missing,
    )


def _policy_id(policy: str) -> str:
    return str(UUID(int=sum(policy.encode())))
