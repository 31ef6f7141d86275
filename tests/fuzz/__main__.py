"""`./dev fuzz`: the targets of the tests, for as long as you like.

With `--steered`, which needs atheris, chance is steered by which branches a document reaches;
otherwise by nothing.  A document that breaks a promise is kept in `.dev/fuzz`, and replayed with
`--replay FILE --target NAME`.
"""

import argparse
import importlib.util
import logging
import random
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

_KEPT: Final = Path(__file__).resolve().parents[2] / ".dev" / "fuzz"
_MOST_CHANCE: Final = 512
_FAILED: Final = 77  # libFuzzer's own


def main(arguments: Sequence[str]) -> int:
    """Run the loop; return 0 if every document was judged well."""
    options = _options(arguments)
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)  # refusals are the rule here
    structlog.configure(wrapper_class=quiet)
    if options.replay is None and options.steered:
        return _steered(options)
    from tests.fuzz.targets import TARGETS, fuzz_one  # noqa: PLC0415 - after atheris has its hooks

    tracemalloc.start()
    if options.replay is not None:
        fuzz_one(TARGETS[options.target], options.replay.read_bytes())
        _say("nothing is wrong with this document")
        return 0
    names = [options.target] if options.target else list(TARGETS)
    chance, ends_at = random.Random(options.seed), time.monotonic() + options.seconds
    counts = dict.fromkeys(names, 0)
    while time.monotonic() < ends_at:
        name = names[sum(counts.values()) % len(names)]
        data = chance.randbytes(chance.randrange(_MOST_CHANCE))
        counts[name] += 1
        try:
            fuzz_one(TARGETS[name], data)
        except BaseException:
            _say(f"{name}: kept as {_keep(name, data)}")
            raise
    _say(f"{sum(counts.values())} documents for {len(names)} parsers, none broke a promise")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--target", help="one parser only; needed for --steered and --replay")
    parser.add_argument("--seed", type=int, default=None, help="of the blind loop's chance")
    parser.add_argument("--replay", type=Path, help="a kept document")
    parser.add_argument("--steered", action="store_true", help="steer by coverage, with atheris")
    options = parser.parse_args(arguments)
    if (options.replay or options.steered) and not options.target:
        parser.error("--replay and --steered need --target NAME")
    if options.steered and importlib.util.find_spec("atheris") is None:
        parser.error("--steered needs atheris, which has no wheel for this Python")
    if options.seed is None:
        options.seed = random.randrange(1 << 32)
        _say(f"--seed {options.seed}")
    return options


def _steered(options: argparse.Namespace) -> int:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - where it has a wheel

    with atheris.instrument_imports(include=["overland"]):
        from tests.fuzz.targets import TARGETS, fuzz_one  # noqa: PLC0415 - instrumented
    target = TARGETS[options.target]
    tracemalloc.start()
    corpus = _KEPT / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)

    def one(data: bytes) -> None:
        try:
            fuzz_one(target, data)
        except BaseException:
            _say(f"{target.name}: kept as {_keep(target.name, data)}")
            raise

    limits = [f"-max_total_time={options.seconds}", f"-max_len={_MOST_CHANCE}", "-timeout=20"]
    limits.append("-rss_limit_mb=4096")
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()  # ends the process: 0, or 77 after a broken promise
    return _FAILED


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _keep(name: str, data: bytes) -> Path:
    _KEPT.mkdir(parents=True, exist_ok=True)
    path = _KEPT / f"{name}-{time.time_ns():x}"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
