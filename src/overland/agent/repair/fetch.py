"""Whole copies from other places: found missing or damaged in the vault, proven, and put back."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from overland.agent.points.reading import PointAbsent, ReadKeys, proven_keyring, read_public
from overland.agent.points.replacements import proven_replacement
from overland.agent.sources import LayeredObjects
from overland.crypto.keyring import master_number
from overland.errors import IntegrityError, ObjectAbsent, ObjectExists, SigningKeyRetired
from overland.events import Log
from overland.ports.objects import Objects
from overland.ports.progress import Progress
from overland.values import ObjectInfo, PointId, is_object_name, named_digest

__all__ = [
    "Fetched",
    "damaged_in",
    "fetch",
    "is_retired",
    "is_superseded",
    "is_whole",
    "take_key_changes",
]

_ORDER = ("keychanges", "keys", "packs", "index", "points", "replacements")

_NOT_WHOLE: Final = (IntegrityError, ObjectAbsent, PointAbsent)

log = Log()


@dataclass(slots=True, kw_only=True)
class Fetched:
    """What came back, from where; and what did not: absent everywhere, or kept out by the vault."""

    fetched: dict[str, str] = field(default_factory=dict)
    nowhere: list[str] = field(default_factory=list)
    unhealed: list[str] = field(default_factory=list)


def damaged_in(
    vault: Objects, infos: Iterable[ObjectInfo], keys: ReadKeys, progress: Progress
) -> set[str]:
    """Return the objects of the vault whose bytes are not what was written; reads all of them.

    Documents of a former signing key that no key change lists are among them: see `is_retired`.

    Raises:
        TransientError: The vault did not answer.
    """
    damaged = set()
    for info in infos:
        if is_object_name(info.name) and not is_whole(vault, info.name, keys):
            damaged.add(info.name)
            if is_retired(vault, info.name, keys):
                log.warning("object.retired", object=info.name)
            else:
                log.warning("object.damaged", object=info.name)
        progress.advance(info.size_bytes, 1)
    return damaged


def is_whole(place: Objects, name: str, keys: ReadKeys) -> bool:
    """Return whether a place has an object, and has it as it was written.

    Packs, index files and key changes prove themselves by the digest in their names, points and
    replacements by the owner's signature, keyrings by their MAC.

    Raises:
        KeyChangeMissing: A former signing key signed it, and the key change is in no place.
    """
    try:
        promised = named_digest(name)
        if promised is None:
            _prove_document(place, name, keys)
            return True
        digest = hashlib.sha256()
        for block in place.blocks(name):
            digest.update(block)
    except _NOT_WHOLE:
        return False
    return digest.hexdigest() == promised


def is_retired(place: Objects, name: str, keys: ReadKeys) -> bool:
    """Return whether a former signing key signed what a place has, and no key change lists it.

    It is as it was written, then, and counts for nobody (`docs/format/keys-v1.md` §6.2).
    """
    if not name.startswith(("points/", "replacements/")):
        return False
    try:
        _prove_document(place, name, keys)
    except SigningKeyRetired:
        return True
    except _NOT_WHOLE:
        return False
    return False


def is_superseded(place: Objects, name: str, keys: ReadKeys) -> bool:
    """Return whether a keyring's place has a newer one that opens everything it opened.

    That one is genuine, has the newest master key, and a reader prefers it by its number
    (`docs/format/keys-v1.md` §2.6).
    """
    if not name.startswith("keys/"):
        return False
    for info in place.names("keys/"):
        if not is_object_name(info.name) or info.name <= name:
            continue
        with contextlib.suppress(*_NOT_WHOLE):
            newer = proven_keyring(place.read(info.name), keys, name=info.name)
            if master_number(newer) >= keys.keyring_mac.number:
                return True
    return False


def _prove_document(place: Objects, name: str, keys: ReadKeys) -> None:
    kind, _, file_name = name.partition("/")
    if kind == "points":
        alone = LayeredObjects([("place", place)])
        read_public(alone, keys, PointId(file_name.removesuffix(".point")))
    elif kind == "replacements":
        proven_replacement(
            place.read(name),
            name=name,
            place=place,
            signatures=keys.signatures,
        )
    else:
        proven_keyring(place.read(name), keys, name=name)


def fetch(
    vault: Objects,
    places: Mapping[str, Objects],
    names: Iterable[str],
    keys: ReadKeys,
    *,
    progress: Progress,
    dry_run: bool,
) -> Fetched:
    """Put whole copies of objects into the vault, from the first place that has one.

    What others rely on goes first, so that a kill never leaves a point before its packs.

    Raises:
        OutOfSpace: The vault is full; what was put stays.
        TransientError: The vault did not answer.
    """
    result = Fetched()
    for name in sorted(names, key=lambda name: (_ORDER.index(name.partition("/")[0]), name)):
        label = next(
            (label for label, place in places.items() if is_whole(place, name, keys)), None
        )
        if label is None:
            result.nowhere.append(name)
        elif dry_run or _put(vault, places[label], name):
            result.fetched[name] = label
        else:
            result.unhealed.append(name)
        progress.advance(count=1)
    return result


def take_key_changes(vault: Objects, keys: ReadKeys, done: Fetched, *, dry_run: bool) -> None:
    """Put key changes that no place has into the vault from the home folder; notes it in `done`.

    Raises:
        OutOfSpace, TransientError: As `fetch`.
    """
    for name in sorted(set(done.nowhere).intersection(keys.signatures.change_names)):
        data = keys.signatures.whole_copy(name)
        if data is None:
            continue
        if not dry_run:
            digest = hashlib.sha256(data).hexdigest()
            vault.put(name, [data], size_bytes=len(data), sha256=digest)
        done.nowhere.remove(name)
        done.fetched[name] = "home folder"


def _put(vault: Objects, place: Objects, name: str) -> bool:
    """Return whether the vault holds the right bytes now."""
    digest = hashlib.sha256()
    for block in place.blocks(name):
        digest.update(block)
    content = _Again(lambda: place.blocks(name))
    size_bytes = place.head(name).size_bytes
    try:
        vault.put(name, content, size_bytes=size_bytes, sha256=digest.hexdigest())
    except ObjectExists:
        # Its name does not say what its bytes must be: the vault cannot tell who is right.
        log.warning("object.not_healed", object=name)
        return False
    return True


@final
class _Again:
    """Content that begins anew each time it is iterated."""

    def __init__(self, blocks: Callable[[], Iterator[memoryview]]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[memoryview]:
        return self._blocks()
