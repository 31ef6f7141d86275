"""What the operator does with keys, as `overland keys` does it; may be killed at any step."""

import random
from collections.abc import Callable

from tests.simulation.actions.world import CHEAP, World

from overland.agent import keys as change
from overland.agent import signing, vouching
from overland.agent.home import VaultCredentials
from overland.agent.signing import Asked, NewKeys
from overland.agent.vouching import Inventory
from overland.format.key_change import Vouched
from overland.ports.progress import NullProgress

__all__ = ["Locksmith"]


class Locksmith:
    """Commands about keys; each returns when the vault has what it made."""

    def __init__(self, world: World) -> None:
        self._world, self._openers = world, world.openers
        self._passphrases = 0

    def passphrase(self) -> None:
        """`overland keys passphrase`."""
        self._begin()
        change.change_passphrase(
            self._world.home,
            self._world.vault,
            passphrase=self._new_passphrase(),
            random=self._world.chance,
            cost=CHEAP,
        )

    def recovery_kit(self) -> None:
        """`overland keys recovery-kit`."""
        self._begin()
        change.new_recovery_kit(
            self._world.home,
            self._world.vault,
            random=self._world.chance,
            keep=self._openers.kit,
        )

    def both(self) -> None:
        """`overland keys rotate`."""
        self._rotate(change.rotate)

    def master(self) -> None:
        """`overland keys rotate --master`: another repository key, and no data is sent again."""
        self._rotate(change.rotate_master)

    def signing(
        self,
        *,
        credentials: VaultCredentials | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """`overland keys rotate --signing`; `meanwhile` happens when the list is made."""
        world = self._world
        credentials = credentials or world.door.credentials()
        http = world.door.http(credentials.registration_token)
        registration = signing.register_again(world.home, credentials, http=http)

        def take() -> Inventory:
            cloud = world.signing_cloud
            found = vouching.take(world.home, world.vault, cloud, meter=NullProgress())
            meanwhile()
            return found

        signing.rotate_signing(
            world.home,
            world.vault,
            world.signing_cloud,
            asked=Asked(registration=registration, credentials=credentials, http=http),
            new=NewKeys(
                passphrase=self._new_passphrase,
                random=world.chance,
                keep=self._openers.kit,
                cost=CHEAP,
            ),
            take=take,
            choose=self._choose,
        )

    def every(self, chance: random.Random) -> Callable[[], None]:
        """Return one of the commands."""
        return chance.choice(
            (self.passphrase, self.recovery_kit, self.both, self.master, self.signing)
        )

    def _choose(self, found: Inventory) -> list[Vouched]:
        """Leave out what is not ours, as the operator does who looks at the list."""
        strange = {each.point_id for each in found.points} & self._world.model.forged
        return found.vouched(sorted(strange))

    def _rotate(self, command: Callable[..., int]) -> None:
        self._begin()
        command(
            self._world.home,
            self._world.vault,
            passphrase=self._new_passphrase(),
            random=self._world.chance,
            keep=self._openers.kit,
            cost=CHEAP,
        )

    def _begin(self) -> None:
        """Do what the commands do first."""
        self._world.go_on()

    def _new_passphrase(self) -> str:
        self._passphrases += 1
        return self._openers.passphrase(f"the operator's passphrase {self._passphrases}")
