"""What of an import job may be changed, and in which states.

The documented service lists this for its first generation only; where later pages disagree, the
widest set is accepted, and from `Packaging` on nothing that concerns the drives.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from overland.errors import RefusedError
from overland.jobs.states import JobState

__all__ = ["EDITABLE", "EditRefused", "allow_edit"]

_BEFORE_PACKAGING: Final = frozenset(
    {JobState.CREATING, JobState.SHIPPING, JobState.RECEIVED, JobState.TRANSFERRING}
)

EDITABLE: Final[Mapping[str, frozenset[JobState]]] = {
    "state": frozenset({JobState.CREATING}),
    "driveList": frozenset({JobState.CREATING}),
    "deliveryPackage": frozenset({JobState.CREATING, JobState.SHIPPING}),
    "cancelRequested": _BEFORE_PACKAGING,
    "returnAddress": _BEFORE_PACKAGING,
    "returnShipping": _BEFORE_PACKAGING,
    "logLevel": _BEFORE_PACKAGING,
    "backupDriveManifest": _BEFORE_PACKAGING,
    "tags": frozenset(JobState) - {JobState.DELETED},
}
"""The property's name in the API, and the states in which it may be changed."""


class EditRefused(RefusedError):
    """This property cannot be changed any more."""

    code: ClassVar[str] = "edit-refused"

    def __init__(self, name: str, *, state: JobState) -> None:
        allowed = ", ".join(each for each in JobState if each in EDITABLE[name])
        super().__init__(
            f"{name} can be changed while the import job is {allowed}; it is {state} now"
        )
        self.name, self.state = name, state


def allow_edit(name: str, *, state: JobState) -> None:
    """Return if `name` may be changed in `state`.

    Raises:
        EditRefused: It may not.
    """
    if state not in EDITABLE[name]:
        raise EditRefused(name, state=state)
