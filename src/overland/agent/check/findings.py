"""What a check found: what is not right in a store, and which recovery points it costs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from overland.values import PointId

__all__ = ["HARMLESS", "CheckReport", "Finding", "FindingKind", "excused"]

FindingKind = Literal["missing", "corrupt", "foreign", "replaced"]
HARMLESS: Final = frozenset[FindingKind]({"foreign", "replaced"})
"""What no recovery point lacks anything by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not right: an object's name, what is wrong, and what it costs.

    `missing`: a recovery point or a keyring needs it and it is not there; `corrupt`: its bytes are
    not what was written, or whoever signed it does not count; `foreign`: no object of a repository
    has such a name; `replaced`: its bytes are not what was written, and nothing needs them any
    more, because other packs stand in for it.
    """

    name: str
    kind: FindingKind
    reason: str


@dataclass(slots=True, kw_only=True)
class CheckReport:
    """What was checked, and what was found; `restorable` says it for each recovery point.

    Without keys, a point is restorable as far as can be seen: all its objects are there and whole.
    """

    with_keys: bool
    objects: int = 0
    size_bytes: int = 0
    chunks: int = 0
    findings: list[Finding] = field(default_factory=list)
    restorable: dict[PointId, bool] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every recovery point can be restored in full, and nothing is damaged."""
        return all(finding.kind in HARMLESS for finding in self.findings) and all(
            self.restorable.values()
        )


def excused(findings: Iterable[Finding], unneeded: Collection[str]) -> list[Finding]:
    """Return findings with damage called by its lesser name in what nothing needs any more."""
    return [
        replace(each, kind="replaced") if each.kind == "corrupt" and each.name in unneeded else each
        for each in findings
    ]
