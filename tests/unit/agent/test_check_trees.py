"""What was found whole in one point is not walked in the next, unless more is known to be bad."""

from pathlib import Path

from tests.support.backed_up import BackedUp

from overland.agent.check.trees import TreeChecks
from overland.values import PackId


def test_what_was_whole_is_looked_at_again_when_another_pack_turns_out_bad(tmp_path: Path) -> None:
    backed = BackedUp(tmp_path)
    (backed.source / "folder").mkdir(parents=True)
    (backed.source / "folder" / "file").write_bytes(b"content" * 1000)
    backed.back_up()
    point, store = backed.open()
    checks = TreeChecks(store)
    every = {PackId(path.stem) for path in backed.packs()}
    assert checks.problems(point, set()) == []
    [words] = checks.problems(point, every)
    assert "which is damaged" in words
    assert checks.problems(point, set()) == []
