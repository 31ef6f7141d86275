"""The promises of `overland.ports.engine.Engine`, as tests for any implementation."""

import json
from collections.abc import Callable

import pytest

from overland.errors import ObjectCorrupt
from overland.ports.engine import Engine, Run

WAIT_S = 180.0  # against waiting for ever


class Adder:
    """A work: its argument is a list of numbers, each step doubles one, the result is their sum."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.doubled: dict[str, int] = {}

    def plan(self, argument: str) -> list[str]:
        self.calls.append("plan")
        return [json.dumps(number) for number in json.loads(argument)]

    def step(self, argument: str) -> str:
        self.calls.append(f"step {argument}")
        self.doubled[argument] = 2 * int(json.loads(argument))
        return json.dumps(self.doubled[argument])

    def finish(self, argument: str) -> str:
        self.calls.append("finish")
        return json.dumps(sum(self.doubled[str(number)] for number in json.loads(argument)))


def register(engine: Engine, adder: Adder) -> None:
    engine.register("add", plan=adder.plan, step=adder.step, finish=adder.finish)


class EngineContract:
    """Derive from it and provide `open_engine`: makes an engine over one and the same store."""

    def test_work_is_planned_stepped_and_finished(self, open_engine: Callable[[], Engine]) -> None:
        engine, adder = open_engine(), Adder()
        register(engine, adder)
        engine.launch()
        engine.start("add", key="a", argument="[1, 2, 3]")
        assert engine.wait("a", timeout_s=WAIT_S) == Run(
            key="a", state="done", result="12", error=None
        )
        assert engine.find("a") == engine.wait("a", timeout_s=0)
        assert adder.calls == ["plan", "step 1", "step 2", "step 3", "finish"]

    def test_a_key_runs_once_also_in_the_next_life(self, open_engine: Callable[[], Engine]) -> None:
        engine, adder = open_engine(), Adder()
        register(engine, adder)
        engine.launch()
        engine.start("add", key="a", argument="[1]")
        engine.start("add", key="a", argument="[2]")
        assert engine.wait("a", timeout_s=WAIT_S).result == "2"
        engine.start("add", key="a", argument="[3]")
        engine.close()
        engine = open_engine()
        register(engine, adder)
        engine.launch()
        engine.start("add", key="a", argument="[4]")
        assert engine.wait("a", timeout_s=WAIT_S).result == "2"
        assert adder.calls == ["plan", "step 1", "finish"]

    def test_work_without_steps_is_finished(self, open_engine: Callable[[], Engine]) -> None:
        engine = open_engine()
        register(engine, Adder())
        engine.launch()
        engine.start("add", key="a", argument="[]")
        assert engine.wait("a", timeout_s=WAIT_S).result == "0"

    def test_a_run_that_nobody_started_is_not_found(
        self, open_engine: Callable[[], Engine]
    ) -> None:
        engine = open_engine()
        engine.launch()
        assert engine.find("a") is None

    @pytest.mark.parametrize("where", ["plan", "step", "finish"])
    def test_what_a_step_raises_fails_the_work_and_no_other(
        self, open_engine: Callable[[], Engine], where: str
    ) -> None:
        class Failing(Adder):
            pass

        def fail(_argument: str) -> str:
            raise ObjectCorrupt("packs/3f/one.pack", check="SHA-256 differs")

        engine, failing, adder = open_engine(), Failing(), Adder()
        setattr(failing, where, fail)
        engine.register("fail", plan=failing.plan, step=failing.step, finish=failing.finish)
        register(engine, adder)
        engine.launch()
        engine.start("fail", key="a", argument="[1, 2]")
        engine.start("add", key="b", argument="[1]")
        run = engine.wait("a", timeout_s=WAIT_S)
        assert (run.state, run.result) == ("failed", None)
        assert run.error is not None
        assert run.error.startswith("object-corrupt: packs/3f/one.pack is damaged")
        assert "finish" not in failing.calls
        assert engine.wait("b", timeout_s=WAIT_S).state == "done"

    def test_a_mistake_in_a_step_fails_its_work_too(
        self, open_engine: Callable[[], Engine]
    ) -> None:
        class Unforeseen(Exception):
            """Cannot be copied from its text alone."""

            def __init__(self, what: str, *, number: int) -> None:
                super().__init__(f"{what} {number}")

        def step(_argument: str) -> str:
            raise Unforeseen("sector", number=5)

        engine, adder = open_engine(), Adder()
        engine.register("fail", plan=adder.plan, step=step, finish=adder.finish)
        engine.launch()
        engine.start("fail", key="a", argument="[1]")
        run = engine.wait("a", timeout_s=WAIT_S)
        assert run.state == "failed"
        assert run.error is not None
        assert "sector 5" in run.error
