"""How a command is given on machines that fail: again and again, or not now."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from tests.simulation.mail.line import KINDS
from tests.simulation.mail.programs import Programs
from tests.simulation.mail.still import StillLife
from tests.support.journey_faults import Life
from tests.support.simengine import Killed

from overland.errors import NotAuthorised, OverlandError, TransientError

__all__ = ["Doing", "Refused"]

T = TypeVar("T")

_DOUBLED: Final = ("InvalidJobState",)
"""What the second of two equal requests is told that may not be repeated; the first was heard."""

_CALM_TRIES: Final = 6
_RATES: Final = (0.02, 0.1, 0.5)
_COUNTS: Final = (1, 3, 10, 40)


class Refused(Exception):
    """A command was refused for a reason that the story knows."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Doubled(TransientError):
    """A request that may not be repeated arrived twice, and the second answer was a refusal."""

    code = "doubled"


class Doing:
    """Gives commands; `note` takes what happened to them."""

    def __init__(
        self, programs: Programs, chance: random.Random, note: Callable[[str], None]
    ) -> None:
        self._programs, self._random, self._note = programs, chance, note
        self.is_token_doubtful = False
        """Whether the agent's token may have been replaced without its knowing."""

    def calmly(self, title: str, act: Callable[[Life], T], *, refusals: Sequence[str] = ()) -> T:
        """Give a command while nothing goes wrong; it has to come to its end."""
        self._programs.line.mend()
        if self._programs.cloud.life.is_mortal:
            self._programs.cloud.live(Life())
        for left in reversed(range(_CALM_TRIES)):
            try:
                return self._once(title, act, StillLife(), refusals)
            except TransientError as error:
                self._note(f"{title}: {type(error).__name__}: {error}")
                self._programs.base.advance(timedelta(minutes=5))
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def badly(
        self, title: str, act: Callable[[Life], T], *, usual: int, refusals: Sequence[str] = ()
    ) -> T | None:
        """Give a command on a bad day: killed at some step, over a bad line, or both.

        `usual` is about how many steps it has.  Returns None if it was given up for today; raises
        `Refused` if it was refused with one of the codes that the story expects.
        """
        kills = self._random.choice((0.0, 0.0, 0.5, 0.9))
        is_line_bad = self._random.random() < 0.5
        for _ in range(self._random.randint(1, 3) if kills or is_line_bad else 0):
            life = self._next_life(kills, usual, is_line_bad=is_line_bad)
            try:
                result = self._once(title, act, life, refusals)
            except Killed as killed:
                self._note(f"{title}: {killed}{self._met()}")
            except TransientError as error:
                self._note(f"{title}: {type(error).__name__}: {error}{self._met()}")
                self._programs.base.advance(timedelta(minutes=5))
            else:
                self._note(f"{title}: done after {life.steps} steps{self._met()}")
                self._end_of_day()
                return result
        self._end_of_day()
        if self._random.random() < 0.3:
            return None
        return self.calmly(title, act, refusals=refusals)

    def _once(self, title: str, act: Callable[[Life], T], life: Life, refusals: Sequence[str]) -> T:
        try:
            return act(life)
        except NotAuthorised:
            if not self.is_token_doubtful or life.is_over:
                raise
            self._note(f"{title}: the token has ended; registered again")
            self._programs.register_again()
            self.is_token_doubtful = False
            return act(life)
        except TransientError:
            raise
        except OverlandError as error:
            code = getattr(error, "reason", error.code)
            if code in _DOUBLED and "twice" in self._programs.line.met:
                raise Doubled(code) from error
            if code not in refusals:
                self._note(f"{title}: {code}{self._met()}")
                raise
            self._end_of_day()
            raise Refused(code) from error

    def _next_life(self, kills: float, usual: int, *, is_line_bad: bool) -> Life:
        chance, programs = self._random, self._programs
        kill_at = chance.randrange(usual) if chance.random() < kills else None
        if chance.random() < kills / 2:
            at = int(2 ** chance.uniform(0, 7))
            self._note(f"the cloud's program is to be killed at step {at}")
            programs.cloud.live(StillLife(at))
        if is_line_bad:
            programs.line.worsen(
                chance.randrange(1 << 30),
                kinds=chance.sample(KINDS, 3),
                rate=chance.choice(_RATES),
                at_most=chance.choice(_COUNTS),
            )
        return StillLife(kill_at)

    def _met(self) -> str:
        met = self._programs.line.met
        return f" ({', '.join(met[:8])}{'…' * (len(met) > 8)})" if met else ""

    def _end_of_day(self) -> None:
        self._programs.line.mend()
        self._programs.line.met = []
        if self._programs.cloud.life.is_mortal:
            self._programs.cloud.live(Life())
