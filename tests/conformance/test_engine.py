import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.conformance.engine_contract import WAIT_S, Adder, EngineContract, register
from tests.support.simengine import Killed, SimEngine

from overland.adapters.engine import DbosEngine, EngineInUse
from overland.errors import Unreachable
from overland.ports.engine import Engine


class TestSimEngine(EngineContract):
    @pytest.fixture
    def open_engine(self) -> Callable[[], Engine]:
        lives = [SimEngine()]

        def open_engine() -> Engine:
            lives.append(lives[-1].restart())
            return lives[-1]

        return open_engine

    def test_work_killed_at_any_border_is_done_in_the_next_life(self) -> None:
        for kill_at in range(100):
            adder, engine = Adder(), SimEngine(kill_at=kill_at)
            register(engine, adder)
            engine.launch()
            try:
                engine.start("add", key="a", argument="[1, 2]")
            except Killed:
                engine = engine.restart()
                register(engine, adder)
                engine.launch()
                assert engine.wait("a", timeout_s=0).result == "6"
                assert len(adder.calls) in {4, 5}, "at most one step runs twice"
            else:
                assert kill_at == engine.borders == 2 * 4
                break


@pytest.mark.slow
class TestDbosEngine(EngineContract):
    @pytest.fixture
    def open_engine(self, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
        engines: list[DbosEngine] = []

        def open_engine() -> Engine:
            engine = DbosEngine(tmp_path / "engine.sqlite", "test", pause=lambda _s: None)
            engines.append(engine)
            return engine

        yield open_engine
        for engine in engines:
            engine.close()

    def test_closing_waits_for_the_step_and_the_next_life_goes_on_after_it(
        self, open_engine: Callable[[], Engine]
    ) -> None:
        adder, started, may_end = Adder(), threading.Event(), threading.Event()
        steps = []

        def step(argument: str) -> str:
            steps.append(argument)
            started.set()
            assert may_end.wait(WAIT_S)
            return adder.step(argument)

        engine = open_engine()
        engine.register("add", plan=adder.plan, step=step, finish=adder.finish)
        engine.launch()
        engine.start("add", key="a", argument="[1, 2]")
        assert started.wait(WAIT_S)
        closing = threading.Thread(target=engine.close)
        closing.start()
        may_end.set()
        closing.join(WAIT_S)
        done_before = list(steps)

        engine = open_engine()
        engine.register("add", plan=adder.plan, step=step, finish=adder.finish)
        engine.launch()
        assert engine.wait("a", timeout_s=WAIT_S).result == "6"
        assert done_before in (["1"], ["1", "2"])
        assert steps == ["1", "2"]

    def test_interrupted_work_goes_on_while_a_slow_disk_keeps_the_next_life_opening(
        self, open_engine: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dbos import DBOS  # noqa: PLC0415 - costs more than a second

        first, second, register_queue = Adder(), Adder(), DBOS.register_queue
        started, resumed = threading.Event(), threading.Event()

        def step_until_closing(argument: str) -> str:
            started.set()
            assert engine._stopping.wait(WAIT_S)
            return first.step(argument)

        def step_of_resumed_work(argument: str) -> str:
            resumed.set()
            return second.step(argument)

        def register_slowly(*args: Any, **kwargs: Any) -> object:
            resumed.wait(10)  # this write's turn comes after the resumed work's
            return register_queue(*args, **kwargs)

        engine = cast("DbosEngine", open_engine())
        engine.register("add", plan=first.plan, step=step_until_closing, finish=first.finish)
        engine.launch()
        engine.start("add", key="a", argument="[1, 2]")
        assert started.wait(WAIT_S)
        engine.close()

        monkeypatch.setattr(DBOS, "register_queue", register_slowly)
        second.doubled.update(first.doubled)
        engine = cast("DbosEngine", open_engine())
        engine.register("add", plan=second.plan, step=step_of_resumed_work, finish=second.finish)
        engine.launch()
        assert engine.wait("a", timeout_s=WAIT_S).result == "6"
        assert (first.calls, second.calls) == (["plan", "step 1"], ["step 2", "finish"])

    def test_one_engine_at_a_time_has_the_file(self, open_engine: Callable[[], Engine]) -> None:
        first, second = open_engine(), open_engine()
        first.launch()
        with pytest.raises(EngineInUse):
            second.launch()
        first.close()
        second.launch()

    def test_a_step_whose_world_is_briefly_away_is_tried_again(
        self, open_engine: Callable[[], Engine]
    ) -> None:
        adder, calls = Adder(), []

        def step(argument: str) -> str:
            calls.append(argument)
            if len(calls) < 3:
                raise Unreachable("the store restarts")
            return adder.step(argument)

        engine = open_engine()
        engine.register("add", plan=adder.plan, step=step, finish=adder.finish)
        engine.launch()
        engine.start("add", key="a", argument="[1]")
        assert engine.wait("a", timeout_s=WAIT_S).result == "2"
        assert calls == ["1", "1", "1"]

    def test_nothing_is_written_to_the_terminal(
        self, open_engine: Callable[[], Engine], capfd: pytest.CaptureFixture[str]
    ) -> None:
        engine = open_engine()
        register(engine, Adder())
        engine.launch()
        engine.start("add", key="a", argument=json.dumps([1]))
        engine.wait("a", timeout_s=WAIT_S)
        engine.close()
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")
