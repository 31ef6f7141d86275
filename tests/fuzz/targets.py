"""All targets, and the one entry point that hypothesis and atheris share."""

from collections.abc import Mapping
from typing import Final

from tests.fuzz.formats import FORMATS
from tests.fuzz.identity import IDENTITY
from tests.fuzz.indexes import INDEXES
from tests.fuzz.local import LOCAL
from tests.fuzz.mutation import document_of
from tests.fuzz.oracle import Target, judge
from tests.fuzz.papers import PAPERS
from tests.fuzz.services import SERVICES

__all__ = ["TARGETS", "fuzz_one"]

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target for target in (*FORMATS, *INDEXES, *PAPERS, *SERVICES, *LOCAL, *IDENTITY)
}
"""Every parser of foreign bytes, by name."""


def fuzz_one(target: Target, data: bytes) -> bool:
    """Make a document of `data`, give it to the target, and judge it."""
    return judge(target, document_of(target, data))
