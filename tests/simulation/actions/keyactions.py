"""The part of a story that is about keys: rotated, killed half-way, stolen, used elsewhere."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.simulation.actions.locksmith import Locksmith
from tests.simulation.actions.proof import Proof
from tests.simulation.actions.thief import Thief
from tests.simulation.actions.world import World
from tests.support.simdisk import PowerCut

from overland.agent.keys import publish
from overland.agent.refusals import SigningChangeUnderWay
from overland.errors import IntegrityError, ObjectAbsent, RefusedError
from overland.values import point_name

__all__ = ["KeyActions"]

_STEPS: Final = {"home": 11, "vault": 7, "cloud": 9}
_SIGNING_STEPS: Final = {"home": 29, "vault": 23, "cloud": 9}
"""So many effects on each disk has a change of keys, and so often the cloud is spoken to."""


class KeyActions:
    """Actions of a story; `heal`, `restart` and `meanwhile` are the story's.

    The last are what happens between the list of a key change and its entry: the cloud reclaims, or
    a point is recorded, as of a seed that is adopted, or by another copy of the home folder.
    """

    def __init__(
        self,
        world: World,
        proof: Proof,
        folder: Path,
        chance: random.Random,
        *,
        heal: Callable[[], str],
        restart: Callable[[], None],
        meanwhile: Sequence[Callable[[], str]],
    ) -> None:
        self._world, self._proof, self._folder = world, proof, folder
        self._random, self._heal, self._restart = chance, heal, restart
        self._meanwhile = meanwhile
        self._locksmith = Locksmith(world)
        self._thief: Thief | None = None

    def rotate_signing(self) -> str:
        """Replace the signing key, of a vault that is whole; the cloud reclaims meanwhile."""
        if self._random.random() < 0.7:
            self._heal()
        said = f"{self.steal()}, " if self._thief is None and self._random.random() < 0.5 else ""
        return said + self._done(self._rotate_signing)

    def rotate_now(self) -> str:
        """Replace the signing key while others are at work."""
        return self._done(self._locksmith.signing)

    def change_keys(self) -> str:
        """Replace passphrase, recovery kit, both, or the master key with them."""
        return self._done(self._some_change())

    def killed_change(self) -> str:
        """Kill a change of keys at some step, and take it up again at once, later, or never."""
        self._heal()
        act, steps = (self._rotate_signing, _SIGNING_STEPS)
        if self._random.random() < 0.5:
            act, steps = self._some_change(), _STEPS
        which = self._random.choice(("home", "home", "vault", "cloud"))
        at = self._random.randint(0, steps[which])
        if which == "cloud":
            self._world.door.cut_at = at
        else:
            self._world.restart(which, cut_at=at, seed=self._random.randrange(1 << 30))
        try:
            done = self._done(act)
        except PowerCut:
            done = f"{act.__name__} cut"
        self._restart()
        then = "later"
        if self._random.random() < 0.5:
            self._world.note_keys()
            then = self._done(self._random.choice((act, self._finish)))
        return f"{which} at {at}: {done}, {then}"

    def steal(self) -> str:
        """Copy the home folder, and perhaps use it at once, while it counts."""
        if self._world.home.is_signing_key_changing():
            return "not now"  # who has the copy would have the new key as well
        self._thief = Thief(self._world, self._folder)
        said = ["copied"]
        if self._random.random() < 0.5:
            said.append(self._forge(self._thief))
        return ", ".join(said)

    def use_stolen(self) -> str:
        """Use the copied home folder, perhaps after its keys have ended."""
        thief, world = self._thief, self._world
        if thief is None:
            return self.steal()
        if not thief.is_too_late:
            thief.change_key()
            return f"too early, {self._forge(thief)}"
        if world.opens() is None:
            return "the newest keyring is harmed"
        thief.act_as_the_computer()
        thief.change_key()
        if self._random.random() < 0.5:
            thief.put_keyring(above=self._random.randint(1, 9))
        said = [self._forge(thief)]
        if self._random.random() < 0.5:
            said.append(thief.replace_everything())
        return f"too late, {', '.join(said)}, {self.restore_elsewhere()}"

    def restore_elsewhere(self) -> str:
        return self._proof.restore_elsewhere(self._random)

    def end(self) -> str:
        """Finish what was begun, have the thief come once more, and restore elsewhere."""
        if self._world.home.is_signing_key_changing():
            self._world.go_on()
        if self._world.home.is_signing_key_changing():
            self._done(self._rotate_signing)
        self._done(self._finish)
        is_stolen = self._thief is not None and self._thief.is_too_late
        return self.use_stolen() if is_stolen else self.restore_elsewhere()

    def _forge(self, thief: Thief) -> str:
        points = sorted(self._world.model.promised)
        base = self._random.choice(points) if points and self._random.random() < 0.3 else None
        if base is not None and point_name(base) not in self._world.held():
            base = None
        point_id = thief.put_point(base)
        if self._random.random() < 0.3:
            return "a point put"
        return f"a point {thief.publish(point_id)}"

    def _rotate_signing(self) -> None:
        acts = list[Callable[[], str]]()
        if self._random.random() < 0.4:
            acts.append(self._random.choice(self._meanwhile))
        self._locksmith.signing(meanwhile=lambda: acts.pop()() if acts else "")

    def _some_change(self) -> Callable[[], None]:
        smith = self._locksmith
        return self._random.choice((smith.passphrase, smith.recovery_kit, smith.both, smith.master))

    def _finish(self) -> None:
        """`overland keys publish`."""
        self._world.go_on()
        publish(self._world.home, self._world.vault)

    def _done(self, act: Callable[[], None]) -> str:
        """Do it; what it gave the operator is what opens the vault when it is done."""
        world = self._world
        is_whole = self._proof.is_repackable()
        try:
            act()
        except (RefusedError, IntegrityError, ObjectAbsent) as error:
            world.note_keys()
            waits = isinstance(error, SigningChangeUnderWay)
            assert not waits or world.home.is_signing_key_changing(), "for nothing"
            if is_whole and not waits:
                raise
            return f"{act.__name__} {type(error).__name__}"
        asked = dict(world.openers.tried)
        world.note_keys()
        world.model.take(world.held())
        opens = world.opens()
        assert opens is not None, "the vault got it just now"
        assert opens == world.opens_at_home(), "the newest is in the vault"
        if act != self._finish:
            assert opens == asked, f"the vault opens with {opens} and not {asked}"
        return act.__name__.strip("_")
