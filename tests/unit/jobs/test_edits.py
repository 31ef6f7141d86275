"""What of an import job may be changed, and when."""

import itertools

import pytest

from overland.jobs.edits import EDITABLE, EditRefused, allow_edit
from overland.jobs.states import JobState

# The rules once more, as until which state each holds.
LAST = {
    "state": "Creating",
    "driveList": "Creating",
    "deliveryPackage": "Shipping",
    "cancelRequested": "Transferring",
    "returnAddress": "Transferring",
    "returnShipping": "Transferring",
    "logLevel": "Transferring",
    "backupDriveManifest": "Transferring",
    "tags": "Closed",
}
ORDER: list[JobState] = [state for state in JobState if state is not JobState.DELETED]


@pytest.mark.parametrize(("name", "state"), list(itertools.product(LAST, ORDER)))
@pytest.mark.requirement("R101")
def test_a_property_can_be_changed_until_its_last_state(name: str, state: JobState) -> None:
    if ORDER.index(state) <= ORDER.index(JobState(LAST[name])):
        allow_edit(name, state=state)
    else:
        with pytest.raises(EditRefused):
            allow_edit(name, state=state)


def test_a_refused_edit_says_until_when_it_was_possible() -> None:
    with pytest.raises(EditRefused, match="while the import job is Creating, Shipping; it is Rec"):
        allow_edit("deliveryPackage", state=JobState.RECEIVED)


def test_there_is_a_rule_for_everything_that_can_be_changed() -> None:
    assert set(EDITABLE) == set(LAST)
