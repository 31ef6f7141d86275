"""What makes a story of several machines replay: lives, threads and numbers that nothing moves."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from unittest.mock import patch

from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from tests.simulation.actions.steady import SteadyRandom, steady
from tests.support.journey_faults import Life
from typing_extensions import override

from overland.adapters import database
from overland.agent.repository import Repository

__all__ = ["StillLife", "still"]

P = ParamSpec("P")
T = TypeVar("T")

_UNSEEN: Final = ("create", "write", "read ", "list ", "settle", "sweep")
"""Steps whose order threads may decide, and that nobody sees the effect of."""

_SEGMENT_BYTES: Final = 1 << 14
"""In place of a MiB, so that a small tree has several packs."""

_BLOCK_BYTES: Final = 1 << 10
"""In place of a MiB, so that a download that breaks off has come some way."""

_POOLS: Final = (
    "overland.agent.check.run",
    "overland.agent.points.indexes",
    "overland.diskprep.lanes",
    "overland.station.driveimport",
    "overland.vault.adoption",
)
"""Where several threads do something that can be killed or has an effect on disk."""


class StillLife(Life):
    """A life that counts only steps whose order is the same in every telling."""

    @override
    def step(self, what: str) -> None:
        if not what.startswith(_UNSEEN) or self.is_over:
            super().step(what)


class _Here(Executor):
    """Does everything at once, in the thread that asks for it."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = Future[T]()
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a future keeps whatever it was
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


@contextmanager
def still(chance: SteadyRandom) -> Iterator[None]:
    """Have threads, numbers and keys of the programs be the same in every telling."""
    with ExitStack() as held:
        held.enter_context(steady(chance))
        for module in _POOLS:
            held.enter_context(patch(f"{module}.ThreadPoolExecutor", _Here))
        for module in ("overland.agent.run", "overland.agent.data"):
            held.enter_context(patch(f"{module}.uuid4", chance.uuid))
        held.enter_context(patch("overland.agent.backup.lanes.SEGMENT_BYTES", _SEGMENT_BYTES))
        held.enter_context(patch("overland.adapters.httpobjects._BLOCK_BYTES", _BLOCK_BYTES))
        held.enter_context(patch("overland.adapters.database._migrate", _migrating_once()))
        repository = partial(Repository, random=chance)
        held.enter_context(patch("overland.agent.data.Repository", repository))
        yield


def _migrating_once() -> Callable[..., None]:
    """Return what brings a database up to date when it is opened first: that takes a while."""
    migrate, done = database._migrate, set[Path]()

    def migrate_once(connection: Connection, scripts: ScriptDirectory, path: Path) -> None:
        if path not in done:
            migrate(connection, scripts, path)
            done.add(path)

    return migrate_once
