"""A random story of seeds in the mail, all of it from one number.

The first copies go to a staging location, to drives, by mail to the station, and into the vault;
source, carrier, clocks, keys, the cloud's program and the line do what they like meanwhile.
"""

import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from tests.simulation.actions.source import Source
from tests.simulation.mail.doing import Doing
from tests.simulation.mail.journey import Journey
from tests.simulation.mail.online import Online
from tests.simulation.mail.parcels import Mail
from tests.simulation.mail.programs import Programs
from tests.simulation.mail.proof import Proof
from tests.simulation.mail.still import still

__all__ = ["STEPS", "Story"]

STEPS: Final = 22
_FIRST: Final = 40
"""So much is done to the source before the first backup."""


class Story:
    """One story; `trail` has what happened."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.random = seed, random.Random(seed)
        self.trail: list[str] = []
        source = Source(folder / "source", random.Random(f"source {seed}"))
        for _ in range(_FIRST):
            source.change()
        size = self.random.choice((1 << 14, 1 << 15, 1 << 16))
        self.programs = Programs(folder, seed, source, pack_bytes=size)
        self.mails: list[Mail] = []
        self.proof = Proof(self.programs, self.mails)
        doing = Doing(self.programs, self.random, self.note)
        self.online = Online(self.programs, self.proof, doing, self.random, self.mails)
        self.journey = Journey(self.online, folder)
        self._is_by_mail = seed % 4 != 3
        """The other stories have a policy that begins over the network."""

    def note(self, text: str) -> None:
        self.trail.append(f"    {text}")

    def close(self) -> None:
        self.programs.close()

    def play(self, steps: int = STEPS) -> None:
        """Live through it.

        Raises:
            AssertionError: A promise was broken.
        """
        with still(self.programs.chance):
            if self._is_by_mail:
                self._act(self.journey.begin)
            else:
                self._act(self.online.begin)
            weights, actions = zip(*self._actions(), strict=True)
            for _ in range(steps):
                (action,) = self.random.choices(actions, weights)
                self._act(action)
            self._act(self.end)

    def _actions(self) -> list[tuple[int, Callable[[], str]]]:
        journey, online = self.journey, self.online
        common = [
            (10, online.back_up),
            (3, online.wait),
            (3, online.reclaim),
            (2, online.forget),
            (2, online.rotate_master),
            (3, online.rotate_signing),
            (2, online.lose_hints),
            (3, online.restore),
            (2, online.restart_cloud),
        ]
        if not self._is_by_mail:
            return common
        return [
            *common,
            (42, journey.go_on),
            (3, journey.lose_drive),
            (2, journey.way.harm_drive),
            (1, journey.way.break_drive),
            (2, journey.way.find_drive),
            (5, journey.replace_drive),
            (3, journey.again),
            (1, journey.way.lose_staging),
            (1, journey.way.harm_staging),
            (2, journey.lose_copy_computer),
            (2, journey.fill_by_network),
            (2, journey.begin_second),
            (2, journey.abandon),
            (3, journey.clean_up),
        ]

    def _act(self, action: Callable[[], str]) -> None:
        self.programs.chance.begin(str(len(self.trail)))
        at = len(self.trail)
        self.trail.append(action.__name__)
        done = action()
        self.trail[at] += f": {done} [{self._state()}]"
        self.programs.base.advance(timedelta(seconds=self.random.randint(1, 5000)))
        self.proof.after_action(self.random)

    def _state(self) -> str:
        held = self.proof.held()
        seen = hashlib.sha256(b"".join(name.encode() + held[name] for name in held))
        for mail in self.mails:
            seen.update(" ".join(sorted(self.proof.landed(mail))).encode())
        states = ", ".join([f"{mail.policy} {mail.state}" for mail in self.mails])
        requests = f"{self.programs.line.requests} requests"
        return f"{len(held)} objects, {requests}, {states or 'online'}, {seen.hexdigest()[:8]}"

    def end(self) -> str:
        """Bring every seed to its end, and prove everything from the vault alone."""
        said = self.journey.finish()
        self.online.finish()
        self.proof.everything()
        self.online.let_time_pass()
        self.proof.everything()
        return f"{len(self.proof.model.promised)} points, {said}"
