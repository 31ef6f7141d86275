"""What a run leaves for the next one, made durable while the run waits for its point.

The hints are written when all packs are described, and synced beside the uploads.  They get their
names when the point is safe; nobody waits for those names, which go to the medium with the next
thing that is synced, or within seconds (docs/format/invariants.md §7).
"""

from types import TracebackType
from typing import Self, final

from overland.agent.backup.crew import Crew, Take
from overland.agent.repository import Repository, changes_name, hint_name, index_hint_name
from overland.errors import ObjectAbsent
from overland.events import Log
from overland.packing.chainindex import ChainIndex
from overland.packing.head import IndexHintDamaged, encode_head, read_head
from overland.packing.prepared import Prepared
from overland.ports.files import Files
from overland.source.changes import ChangeCacheWriter
from overland.values import PointId

__all__ = ["NextHints", "next_hints"]

log = Log()


@final
class UnfinishedMark:
    """Says that a run of a policy began and did not come to its end.

    Objects may then be stored that no recovery point names.
    """

    def __init__(self, state: Files, policy: str) -> None:
        """Look among the hints in `state`."""
        self._state, self._name = state, hint_name("unfinished", policy)

    def is_there(self) -> bool:
        """Whether the last run was interrupted, or a power cut brought back its mark."""
        try:
            self._state.size_bytes(self._name)
        except ObjectAbsent:
            return False
        return True

    def make(self) -> None:
        """Remember, durably, that a run has begun: before it stores its first pack."""
        self._state.write(self._name, b"running, or interrupted\n")

    def remove(self) -> None:
        """Remember that the recovery point is safe and the hints have their names.

        It may be back after a power cut; then the next run looks for what was left, in vain.
        """
        self._state.forget(self._name)


@final
class NextHints:
    """Hints on their way, as a context manager: from its end on nothing of them is open."""

    def __init__(self, prepared: Prepared) -> None:
        """Take over the files; entering begins to make them durable."""
        self._prepared = prepared
        self._crew = Crew[Prepared]("settle-hints", [_settle], limit=1)

    def __enter__(self) -> Self:
        self._crew.hand_over(self._prepared)
        return self

    def show(self) -> None:
        """Give them their names; the point is safe, and so is what they claim.

        Raises:
            OutOfSpace: There was no room for them; the old ones stay.
            OSError: The device failed; the old ones stay.
        """
        self._crew.end()
        self._crew.raise_failure()
        self._prepared.show()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crew.end()
        if error is None or isinstance(error, Exception):
            self._prepared.abandon()


def _settle(take: Take[Prepared]) -> None:
    while (prepared := take()) is not None:
        prepared.settle()


def next_hints(
    repository: Repository,
    policy: str,
    chain: ChainIndex,
    changes: ChangeCacheWriter,
    *,
    tip: PointId,
) -> NextHints:
    """Write what the next run of a policy wants to know.

    Args:
        repository: Whose hints these are.
        policy: Whose run it is.
        chain: The index of its chain, which nobody asks any more: it gives its memory up, and the
            point, of 280 MB after 100 TB, can have it.
        changes: What the run saw; nothing is added to it either.
        tip: The point that the run makes.

    Raises:
        OutOfSpace: What was saved before stays.
    """
    # A new cache, and the index that knows its chunks, get an epoch of their own: whichever of the
    # two a power cut takes, a cache is never believed with an index that may lack its chunks.
    epoch, cache = changes.end(epoch=chain.epoch, new_epoch=repository.random(16))
    try:
        prepared = _index(repository, policy, chain, tip=tip, epoch=epoch)
    except BaseException:
        if cache is not None:
            cache.abandon()
        raise
    if cache is not None:
        prepared.add(cache, changes_name(policy))
    chain.let_go()
    return NextHints(prepared)


def _index(
    repository: Repository, policy: str, chain: ChainIndex, *, tip: PointId, epoch: bytes
) -> Prepared:
    index = chain.loaded
    if index is not None:
        index.tip, index.epoch, index.is_changed = tip, epoch, True
        hint = repository.index_hint(policy)
        try:
            return hint.prepare(index)
        except IndexHintDamaged as error:  # the next run rebuilds it
            log.warning("index_hint.left_aside", problem=error.check)
            hint.drop()
            return Prepared(repository.state)
    # Nobody has asked for a chunk, so its parts are what they were.
    name, repository_id = index_hint_name(policy), repository.repository_id
    head = read_head(repository.state, name, repository_id=repository_id)
    data = encode_head(head._replace(tip=tip, epoch=epoch), repository_id=repository_id)
    prepared = Prepared(repository.state)
    try:
        prepared.create(name).write(data)
    except BaseException:
        prepared.abandon()
        raise
    return prepared
