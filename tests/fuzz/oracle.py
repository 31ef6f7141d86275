"""What every parser of foreign bytes has to keep to, whatever the bytes.

A target is one parser with valid documents to begin from.  `judge` runs it once and asserts what
`docs/threat-model.md` promises: only documented errors, bounded time, bounded memory, and no
changed document where a seal or a signature covers every byte.
"""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from overland.errors import IntegrityError, OverlandError, RefusedError, TransientError

__all__ = ["MAX_CPU_S", "MAX_MESSAGE", "Kind", "Target", "judge"]

MAX_CPU_S: Final = 1.0
"""CPU time of one document; the documents here are at most a few hundred KiB."""

MAX_MESSAGE: Final = 8192
"""Characters of an error's message: what a stranger wrote must not fill the log."""

_FAMILIES: Final = {each.code for each in (OverlandError, IntegrityError, RefusedError)} | {
    TransientError.code
}

Kind = Literal["binary", "json", "xml", "text", "request"]
"""How a document is mutated; see `mutation`."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser.

    Attributes:
        name: What `--target` calls it.
        kind: How its documents are built.
        make_seeds: Makes valid documents to begin from.
        attempt: Parses a document and, where it can, writes it again and compares; returns whether
            it was accepted.  May raise `OverlandError` leaves and what `refusals` names.
        tokens: Words of the format, to be put anywhere.
        refusals: Documented errors outside of our families (`ValueError` of a port).
        is_sealed: Every byte is covered: nothing but the seeds may be accepted.
        bytes_per_byte: Memory that may be taken for each byte of the document.
        constant_bytes: Memory that may be taken for any document.
    """

    name: str
    kind: Kind
    make_seeds: Callable[[], Sequence[bytes]]
    attempt: Callable[[bytes], bool]
    tokens: Sequence[bytes] = ()
    refusals: tuple[type[Exception], ...] = ()
    is_sealed: bool = False
    bytes_per_byte: int = 64
    constant_bytes: int = 2 << 20

    @cached_property
    def seeds(self) -> tuple[bytes, ...]:
        """The valid documents; made once."""
        return tuple(self.make_seeds())


def judge(target: Target, document: bytes) -> bool:
    """Return whether the target accepted the document.

    Raises:
        AssertionError: It broke a promise; the message says which.
        Exception: What the parser raised and never documented.
    """
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    started, refusal = time.process_time(), None
    try:
        is_accepted = target.attempt(document)
    except target.refusals:
        is_accepted = False
    except OverlandError as error:
        is_accepted, refusal = False, error
    cpu_s = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    if not was_tracing:
        tracemalloc.stop()
    if refusal is not None:
        assert refusal.code not in _FAMILIES, f"{type(refusal).__name__} has no code of its own"
        assert len(str(refusal)) <= MAX_MESSAGE, f"a message of {len(str(refusal))} characters"
    allowed = target.bytes_per_byte * len(document) + target.constant_bytes
    assert peak - before <= allowed, f"{peak - before} bytes for a document of {len(document)}"
    assert cpu_s < MAX_CPU_S, f"{cpu_s:.2f} s of CPU for a document of {len(document)} bytes"
    if target.is_sealed:
        assert not is_accepted or document in target.seeds, "a changed document was accepted"
    return is_accepted
