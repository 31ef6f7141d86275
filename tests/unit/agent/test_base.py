"""What the next point is based on, whatever has become of the last one."""

from overland.agent.base import usable_base
from overland.agent.connection import Chains, VaultPoint
from overland.agent.policy import Progress, SeedPhase

MINE, OTHERS = "policy-1", "policy-2"


def point(name: str, state: str = "available", *, base: str | None = None) -> VaultPoint:
    return VaultPoint(
        point_id=name, created_at="", kind="incremental", state=state, base=base, policy_id=MINE
    )


def base_of(last: str | None, *points: VaultPoint, phase: SeedPhase = SeedPhase.ONLINE) -> object:
    progress = Progress(phase=phase, last_point_id=last, seed_point_id="seed", policy_id=MINE)
    return usable_base(progress, Chains(chain_version=1, points=points))


def test_the_last_point_is_the_base_while_it_can_be() -> None:
    assert base_of("b", point("a"), point("b", base="a")) == "b"
    assert base_of("b", point("a"), point("b", "incomplete", base="a")) == "a"
    assert base_of("b", point("seed", "waiting-for-seed"), point("b", "incomplete", base="seed"))


def test_a_first_point_has_no_base() -> None:
    assert base_of(None) is None
    assert base_of(None, point("of an earlier life")) is None


def test_a_last_point_that_is_gone_is_no_base() -> None:
    assert base_of("gone") is None, "a point on it would never be whole"
    assert base_of("gone", point("a"), point("b")) == "b"
    assert base_of("b", point("b", "reclaimed", base="gone"), point("c", base="b")) == "c"


def test_another_policys_point_is_no_base() -> None:
    other = VaultPoint(
        point_id="x", created_at="", kind="full", state="available", policy_id=OTHERS
    )
    assert base_of("gone", other) is None


def test_a_seed_that_nobody_knows_of_yet_is_a_base_and_an_adopted_one_is_known() -> None:
    assert base_of("seed", phase=SeedPhase.AWAITING_IMPORT) == "seed"
    assert base_of("seed", phase=SeedPhase.ONLINE) is None
