"""What disk preparation knows of the source computer that it runs on, without its keys."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from overland.cli.drivenames import drive_path
from overland.cli.sourcehere import SourceHere, virtual_machine
from overland.ports.programs import Finished, ProgramAbsent, Running


class Detector:
    """`Programs`: one program, which says what it was told to."""

    def __init__(self, output: bytes | None, status: int = 0) -> None:
        self._output, self._status = output, status

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Finished:
        assert list(argv) == ["systemd-detect-virt", "--vm"], "containers do not count"
        if self._output is None:
            raise ProgramAbsent(argv[0], problem="no such file")
        return Finished(status=self._status, output=self._output, errors=b"")

    def start(self, argv: Sequence[str]) -> Running:
        raise AssertionError("the detector is run to its end, never started")


@pytest.mark.parametrize(
    ("output", "status", "kind"),
    [(b"kvm\n", 0, "kvm"), (b"none\n", 1, ""), (b"microsoft\n", 0, "microsoft"), (None, 0, "")],
    ids=["kvm", "physical", "hyper-v", "no-detector"],
)
@pytest.mark.requirement("R9")
def test_a_virtual_machine_is_told_from_a_physical_one(
    output: bytes | None, status: int, kind: str
) -> None:
    assert virtual_machine(Detector(output, status)) == kind


def test_a_computer_without_agent_is_no_source(tmp_path: Path) -> None:
    here = SourceHere(tmp_path)

    assert here.repository_id() is None
    assert (here.sources(), here.staging_locations(), here.publish_settings("j")) == ((), [], "")


@pytest.mark.requirement("R95")
def test_policies_say_where_staging_and_publish_settings_are(tmp_path: Path) -> None:
    folder = tmp_path / "agent" / "policies"
    folder.mkdir(parents=True)
    (tmp_path / "agent" / "agent.json").write_text('{"format": 1, "repository_id": "r-1"}')
    offline = {"staging_location": "/s", "publish_settings": "/p", "job_name": "job-1"}
    (folder / "a.policy.json").write_text(
        json.dumps({"name": "a", "sources": ["/srv"], "offline": offline})
    )
    (folder / "b.policy.json").write_text(json.dumps({"name": "b", "sources": ["/home", "/srv"]}))
    (folder / "c.policy.json").write_text("{damaged")

    here = SourceHere(tmp_path)

    assert here.repository_id() == "r-1"
    assert here.sources() == ("/home", "/srv")
    assert here.staging_locations() == ["/s"]
    assert (here.publish_settings("job-1"), here.publish_settings("job-2")) == ("/p", "")


@pytest.mark.parametrize("typed", ["E", "E:", "e", " E ", "E:\\"])
@pytest.mark.requirement("R78")
def test_a_drive_is_named_with_or_without_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    (tmp_path / "E").mkdir()
    monkeypatch.setenv("OVERLAND_DRIVES", str(tmp_path))

    assert drive_path(typed) == str(tmp_path / "E")


@pytest.mark.parametrize("typed", ["/mnt/e", "/mnt/e:", "Q", ""])
def test_a_path_stays_a_path_and_an_unknown_name_is_kept_for_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setenv("OVERLAND_DRIVES", str(tmp_path))

    assert drive_path(typed) == typed.removesuffix(":")
