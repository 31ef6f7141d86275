"""The machines of a story, and the commands that its people give, one function each.

They are composed from what lies on disk each time, as `overland.cli` does, and live as long as the
`Life` that they are given.
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from tests.simulation.actions.source import Source, Tree
from tests.simulation.actions.steady import SteadyRandom
from tests.simulation.actions.world import CHEAP
from tests.simulation.mail.agentprogram import AgentProgram
from tests.simulation.mail.line import Line
from tests.simulation.mail.parcels import Mail
from tests.support.backed_up import PASSPHRASE
from tests.support.journey_faults import BaseClock, Life, MachineClock
from tests.support.journey_machines import (
    API,
    Cloud,
    Station,
    files_of,
)

from overland.adapters.folderobjects import FolderObjects
from overland.adapters.posix import PosixFiles
from overland.agent import signing, vouching
from overland.agent.keys import publish, rotate_master
from overland.agent.policy import OfflineSettings, Policy, Progress
from overland.agent.setup import initialise, parse_vault_credentials, register
from overland.agent.signing import Asked, NewKeys
from overland.agent.vouching import Inventory
from overland.cli import keyssigning
from overland.ports.progress import NullProgress
from overland.seeding.removal import remove_seed
from overland.values import PointId, SeedId

__all__ = ["ARM", "Programs"]

ARM: Final = "api-version=2021-01-01"
_BEGIN: Final = datetime(2186, 3, 1, 12, tzinfo=UTC)
"""After all files of this machine were made: else the change cache trusts none of them."""


class Programs:
    """The four machines on one line, and the people's commands."""

    def __init__(self, folder: Path, seed: int, source: Source, *, pack_bytes: int) -> None:
        self.folder, self.source, self.pack_bytes = folder, source, pack_bytes
        self.chance = SteadyRandom(seed)
        self.base = BaseClock()
        self.base.now = _BEGIN
        self.clocks = {
            name: MachineClock(self.base) for name in ("source", "copy", "cloud", "station")
        }
        self.line = Line(self.base)
        self.cloud = Cloud(folder / "cloud", self.clocks["cloud"], random.Random(f"cloud {seed}"))
        self.line.server = self.cloud
        self.attempts: dict[PointId, Tree] = {}
        """The source as it was when a point was begun, also of points that came to nothing."""
        self.settled: set[PointId] = set()
        """Points whose first copy is complete: what is read later is not in them."""
        self.passphrases = [PASSPHRASE]
        """What may open the vault; the last is the newest."""
        self._station: Station | None = None
        for name in ("copy", "drives"):
            (folder / name).mkdir()
        self._found()

    def close(self) -> None:
        if self._station is not None:
            self._station.close()
        self.cloud.database.dispose()

    def began(self, point_id: PointId) -> None:
        if point_id not in self.settled:
            self.attempts[point_id] = dict(self.source.tree)

    # -- the account, and the computer ----------------------------------------------------------

    def ask(self, token: str, method: str, path: str, body: object = None) -> Any:
        """Ask the API something that has to succeed, with nothing going wrong."""
        with self.line.calm():
            if self.cloud.life.is_mortal:
                self.cloud.live(Life())
            http = self.line.http(API, token, Life(), self.clocks["source"].sleep)
            reply = http.request(method, path, json=body)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.body}"
        return reply.body

    def _found(self) -> None:
        root = self.cloud.root_token
        self.admin = self.ask(root, "POST", "/v1/tenants", {"name": "harbour"})["token"]
        made = self.ask(self.admin, "POST", "/v1/subscriptions", {"name": "production"})
        self.subscription: str = made["subscription_id"]
        self.group = f"/subscriptions/{self.subscription}/resourceGroups/rg"
        account = f"{self.group}/providers/Microsoft.Storage/storageAccounts/harbourdata"
        vault = f"{self.group}/providers/Microsoft.RecoveryServices/vaults/vault-1"
        where = {"location": "westeurope"}
        self.ask(self.admin, "PUT", f"{self.group}?{ARM}", where)
        self.ask(self.admin, "PUT", f"{account}?{ARM}", where)
        container = f"{account}/blobServices/default/containers/seeds?{ARM}"
        self.ask(self.admin, "PUT", container, {})
        found = self.ask(self.admin, "PUT", f"{vault}?{ARM}", where)
        self.vault_id: str = found["properties"]["vaultId"]
        self._renew_station_token()
        machine, credentials = self.computer(Life()), self._credentials()
        initialise(
            machine.home,
            computer_name="files",
            passphrase=PASSPHRASE,
            random=self.chance,
            cost=CHEAP,
        )
        http = machine.http(credentials.registration_token)
        self.computer_id = register(machine.home, credentials, http=http).source_computer_id
        publish(machine.home, machine.vault())

    def _renew_station_token(self) -> None:
        wanted = {"role": "station", "expires_in_days": 366}
        root = self.cloud.root_token
        self.station_token = self.ask(root, "POST", "/v1/tokens", wanted)["token"]
        self._token_made_at = self.base.now

    def _credentials(self) -> Any:  # VaultCredentials
        asked = self.ask(self.admin, "POST", f"/v1/vaults/{self.vault_id}/credentials")
        return parse_vault_credentials(msgspec.json.encode(asked), now=self.clocks["source"].now())

    def register_again(self) -> None:
        """`overland agent register`, after which older tokens of this computer count no more."""
        credentials = self._credentials()
        machine = self.computer(Life())
        http = machine.http(credentials.registration_token)
        with self.line.calm():
            signing.register_again(machine.home, credentials, http=http)

    def computer(self, life: Life) -> AgentProgram:
        """Return the agent's program, started anew."""
        made = AgentProgram(self.folder / "agent", self.line, self.clocks["source"], life)
        made.pack_bytes, made.began = self.pack_bytes, self.began
        return made

    def progress(self, policy: str) -> Progress:
        return self.computer(Life()).policies.progress(policy)

    # -- places ---------------------------------------------------------------------------------

    @property
    def vault_folder(self) -> Path:
        return self.folder / "cloud" / "objects" / "vaults" / self.vault_id / self.computer_id

    @property
    def container_folder(self) -> Path:
        return self.folder / "cloud" / "objects" / "accounts" / "harbourdata" / "seeds"

    def vault(self) -> FolderObjects:
        """Return the vault as it lies on the cloud's disk."""
        return FolderObjects(PosixFiles(self.vault_folder))

    # -- policies -------------------------------------------------------------------------------

    def protect(self, policy: str, mail: Mail | None, *, in_transit: str) -> None:
        """Make a policy, whose first copy goes by drive if there is a `mail`."""
        offline = (
            None
            if mail is None
            else OfflineSettings(
                staging_location=str(mail.staging),
                publish_settings=str(self.folder / "settings.xml"),
                job_name=mail.job_name,
                subscription_id=self.subscription,
                storage_account="harbourdata",
                container="seeds",
            )
        )
        made = Policy(
            name=policy,
            sources=(str(self.source.folder),),
            first_copy="offline" if mail else "network",
            offline=offline,
            in_transit="wait" if in_transit == "wait" else "protect",
            mean_chunk_kib=16,
        )
        policies = self.computer(Life()).policies
        policies.delete(policy)
        policies.save(made)

    def rotate_master(self, life: Life) -> None:
        """`overland keys rotate --master`."""
        machine = self.computer(life)
        machine.go_on_with_keys()
        rotate_master(
            machine.home,
            machine.vault(),
            passphrase=self._new_passphrase(),
            random=self.chance,
            keep=lambda _: None,
            cost=CHEAP,
        )

    def rotate_signing(self, life: Life) -> None:
        """`overland keys rotate --signing`."""
        credentials = self._credentials()
        machine = self.computer(life)
        http = machine.http(credentials.registration_token)
        registration = signing.register_again(machine.home, credentials, http=http)
        cloud, vault = machine.signing_cloud(), machine.vault()

        def take() -> Inventory:
            # It asks a machine for policies and data path, as ours has them.
            keyssigning._announce(cast("Any", machine), cloud)
            return vouching.take(machine.home, vault, cloud, meter=NullProgress())

        signing.rotate_signing(
            machine.home,
            vault,
            cloud,
            asked=Asked(registration=registration, credentials=credentials, http=http),
            new=NewKeys(
                passphrase=self._new_passphrase,
                random=self.chance,
                keep=lambda _: None,
                cost=CHEAP,
            ),
            take=take,
            choose=lambda found: found.vouched(()),
        )

    def _new_passphrase(self) -> str:
        self.passphrases.append(f"the operator's passphrase {len(self.passphrases)}")
        return self.passphrases[-1]

    def clean_up(self, mail: Mail, life: Life) -> None:
        """`overland seed clean-up`."""
        self.computer(life).connection().clean_up_seed(SeedId(mail.seed_id))
        if mail.folder.is_dir():
            remove_seed(files_of(life)(str(mail.staging)), SeedId(mail.seed_id))

    # -- the station ----------------------------------------------------------------------------

    def station(self, life: Life) -> Station:
        """Return the station's program, started anew."""
        if self.base.now - self._token_made_at > timedelta(days=300):
            self._renew_station_token()
        before = self._station
        if before is not None:
            before.close()
        self._station = Station(
            self.folder / "station",
            self.line,
            self.clocks["station"],
            life,
            token=self.station_token,
            before=before,
        )
        return self._station
