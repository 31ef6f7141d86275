"""What must hold when a journey has ended, however it went."""

import base64
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from tests.support.journey import JOB, Kept, Scene
from tests.support.journey_faults import Life
from tests.support.journey_source import NAME_MARK, TEXT_MARK
from tests.support.torture import remove_tree

from overland.adapters.posix import PosixFiles
from overland.agent.compare import compare_trees
from overland.agent.points.chunks import ChunkStore
from overland.agent.points.reading import list_points, open_keys, open_point
from overland.agent.restore.run import RestoreOptions, restore
from overland.agent.sources import LayeredObjects, SeedFolderObjects
from overland.ports.objects import Objects
from overland.ports.progress import NullProgress
from overland.values import SeedId

__all__ = ["expect_missing", "prove_before_adoption", "prove_everything"]


def expect_missing(scene: Scene, lost: Iterable[str]) -> list[str]:
    """Return what adoption has to find missing: what was lost or damaged, and is not there yet."""
    gone = {*lost} if scene.broken is None else {*lost, scene.broken}
    names = {name for serial in gone for name in scene.loads[serial]} | set(scene.flipped)
    return sorted(names - _in_vault(scene))


def _in_vault(scene: Scene) -> set[str]:
    """Return the names of what lies in the vault, from the cloud's disk."""
    vault = scene.cloud.space(f"vaults/{scene.world['vault']}")
    return {info.name.split("/", 1)[1] for info in vault.names()}


# -- restores -----------------------------------------------------------------------------------


def prove_before_adoption(scene: Scene) -> None:
    """Every point can be restored while the drives are on their way, from vault and staging."""
    assert scene.manifest is not None, "the seed is staged"
    seed_id = SeedId(scene.manifest.seed_id)
    for kept in scene.kept:

        def layers(life: Life) -> list[tuple[str, Objects]]:
            staging = SeedFolderObjects(PosixFiles(scene.staging), seed_id)
            return [("vault", scene.source_computer(life).vault()), ("staging", staging)]

        _prove(scene, kept, layers)


def _prove_from_vault(scene: Scene) -> None:
    """Every point can be restored from the vault alone, with nothing but the passphrase."""
    remove_tree(scene.staging)
    shutil.rmtree(scene.folder / "agent" / "repository")
    for kept in scene.kept:
        _prove(scene, kept, lambda life: [("vault", scene.source_computer(life).vault())])


def _prove(scene: Scene, kept: Kept, layers: Callable[[Life], list[tuple[str, Objects]]]) -> None:
    """Restore a point, again and again if it is interrupted, and compare it with its likeness."""
    target = scene.folder / "restored"
    tries = 0

    def restored(life: Life) -> None:
        nonlocal tries
        tries += 1
        objects = LayeredObjects(layers(life))
        store = ChunkStore(objects, open_keys(objects, passphrase=scene.passphrase))
        store.load_index()
        restore(
            open_point(objects, store.keys, kept.point_id),
            store=store,
            target=os.fsencode(target),
            progress=NullProgress(),
            options=RestoreOptions(strip=os.fsencode(scene.source), resume=tries > 1),
        )

    scene.do(f"restore of {kept.label}", restored)
    found = compare_trees(kept.likeness, target)
    assert found.equal, (kept, found.differences)
    assert found.entries, "there is something to compare"
    remove_tree(target)


# -- the end ------------------------------------------------------------------------------------


def prove_everything(scene: Scene) -> None:
    """The end of every journey, whatever happened on it."""
    _prove_catalog(scene)
    _prove_nothing_is_sent_twice(scene)
    _prove_from_vault(scene)
    _prove_nothing_is_stored_twice(scene)
    _prove_custody(scene)
    _prove_nothing_leaks(scene)


def _prove_catalog(scene: Scene) -> None:
    """The vault lists every point as available, the seeded one at its snapshot's instant."""
    points = scene.calm(lambda life: scene.source_computer(life).connection().points())
    listed = {point.point_id: point for point in points}
    assert {kept.point_id for kept in scene.kept} <= listed.keys()
    assert {point.state for point in points} == {"available"}
    assert scene.manifest is not None, "the seed was staged"
    seeded = listed[scene.manifest.point_id]
    assert seeded.kind == "seed"
    assert datetime.fromisoformat(seeded.created_at) == scene.manifest.snapshot_at


def _prove_nothing_is_sent_twice(scene: Scene) -> None:
    """An object is sent again only by a program that could not know how it had ended.

    That is one whose predecessor was killed, or whose answer was lost.  What a program knows to
    be stored it never sends again.
    """
    assert scene.manifest is not None, "the seed was staged"
    seed = {item.name for item in scene.manifest.objects if not item.name.startswith("keys/")}
    assert scene.sent_to_vault() & seed == scene.sent_again, "the seed travels on drives"
    doubts = scene.deaths + scene.network.losses + scene.cloud.deaths
    whole = Counter(sent.path for sent in scene.network.sent if sent.status == 201)
    again = {path: count for path, count in whole.items() if count > 1}
    assert not again, f"stored twice: {again}"
    known: set[tuple[int, str]] = set()
    for sent in scene.network.sent:
        key = (id(sent.life), sent.path)
        assert key not in known, f"sent again by a program that knew better: {sent.path}"
        if sent.status in (200, 201):
            known.add(key)
    tries = Counter(sent.path for sent in scene.network.sent)
    repeated = sum(count - 1 for count in tries.values())
    assert repeated <= doubts, f"{repeated} repetitions, for {doubts} doubts: {tries}"


def _prove_nothing_is_stored_twice(scene: Scene) -> None:
    """What an interrupted run had sent is a part of a point; none of it was sent in vain."""

    def named(life: Life) -> set[str]:
        objects = LayeredObjects([("vault", scene.source_computer(life).vault())])
        keys = open_keys(objects, passphrase=scene.passphrase)
        points = list_points(objects, keys).points
        return {item.name for point in points for item in point.objects}

    packs = {name for name in _in_vault(scene) if name.startswith("packs/")}
    assert packs <= scene.calm(named), "the vault holds packs that no point needs"


def _prove_custody(scene: Scene) -> None:
    """The chain of custody holds, and tells of every drive."""
    world = scene.world
    job = f"{world['group']}/providers/Microsoft.ImportExport/jobs/{JOB}"
    log = scene.ask(world["admin"], "GET", f"/v1/custody?job={job}")
    assert log["intact"], log
    told = {event["drive"] for event in log["events"] if event["drive"]}
    assert told >= set(scene.drives)


def _prove_nothing_leaks(scene: Scene) -> None:
    """Nothing behind the source computer holds a name or content of the source in the clear."""
    needles = _needles(scene)
    seen: set[bytes] = set()
    for part in ("staging", "drives", "cloud", "copy", "station"):
        for path in sorted((scene.folder / part).rglob("*")):
            assert NAME_MARK not in os.fsencode(path), path
            if not path.is_file() or path.is_symlink():
                continue
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            if digest not in seen:
                seen.add(digest)
                leaked = [needle for needle in needles if needle in content]
                assert not leaked, f"{path} holds {leaked}"


def _needles(scene: Scene) -> list[bytes]:
    """Return what must be nowhere: marks, also encoded, and digests of plaintext."""
    needles = []
    for mark in (NAME_MARK, TEXT_MARK):
        needles += [mark, mark.hex().encode(), mark.decode().encode("utf-16-le")]
        needles += [base64.b64encode(b"-" * cut + mark)[4:12] for cut in range(3)]
    files = [path for path in sorted(scene.source.rglob("*")) if _is_file_with_content(path)]
    for path in files[:10]:
        digest = hashlib.sha256(path.read_bytes())
        needles += [digest.digest(), digest.hexdigest().encode()]
    return needles


def _is_file_with_content(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size > 0
