"""The signing key is replaced: killed anywhere, every run goes on, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cloud import LocalCloud
from tests.support.rotating import NEW, OLD, Rotating, Town
from tests.support.simdisk import PowerCut

from overland.agent.keys import generations
from overland.crypto.keys import PassphraseWrong, SecretReplaced
from overland.errors import NotAuthorised
from overland.ports.http import RefusedByCloud
from overland.values import PointId

pytestmark = pytest.mark.crash


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path) as made:
        yield made


def is_cut(computer: Rotating) -> bool:
    try:
        computer.rotate()
    except PowerCut:
        return True
    return False


def check_after(computer: Rotating, *, before: set[PointId], step: int) -> None:
    """A run goes on, the command finishes, and everything that was signed still counts."""
    try:
        late = computer.back_up()
    except NotAuthorised:  # the answer with the new token was lost: as with any registration
        computer.register_again()
        late = computer.back_up()
    old_key = computer.key
    opens = [text for text in (OLD, NEW) if _opens(computer, text)]
    assert len(opens) == 1, f"one passphrase opens the vault after a cut at step {step}"
    assert computer.believed(computer.opened(passphrase=opens[0])) == {*before, late}
    if opens == [OLD]:
        assert computer.believed(computer.opened(kit=computer.kits[0])) == {*before, late}
        computer.rotate()
    assert not computer.home.is_signing_key_changing()
    assert generations(computer.home, computer.vault).is_published
    assert len(list(computer.disk.names("keys/"))) == len(list(computer.disk.names("master"))) == 1
    keys = computer.opened(passphrase=NEW)
    assert computer.believed(keys) == {*before, late}
    assert computer.believed(computer.opened(kit=computer.kits[-1])) == {*before, late}
    newest = computer.back_up()
    assert computer.believed(keys) == {*before, late, newest}
    if opens == [OLD]:
        forged = computer.point(by=old_key)
        with pytest.raises(RefusedByCloud) as refused:
            computer.connection.publish_point(forged)
        assert refused.value.reason == "signing-key-retired"
        assert forged not in computer.believed(keys)


def _opens(computer: Rotating, passphrase: str) -> bool:
    try:
        computer.opened(passphrase=passphrase)
    except (PassphraseWrong, SecretReplaced):
        return False
    return True


@pytest.mark.parametrize("where", ["home", "wire"])
def test_power_cut_at_every_step(tmp_path: Path, where: str) -> None:
    for step in range(1000):
        with LocalCloud(tmp_path / str(step)) as cloud:
            town = Town(cloud)
            computer = Rotating(town)
            before = {computer.back_up(), computer.back_up()}
            if where == "home":
                computer.disk = computer.disk.restart(cut_at=step, seed=step)
            else:
                town.cut_at, town.said = step, 0
            was_cut = is_cut(computer)
            computer.restart()
            check_after(computer, before=before, step=step)
            if not was_cut:
                break
    assert step > 5, "there was something to cut"
