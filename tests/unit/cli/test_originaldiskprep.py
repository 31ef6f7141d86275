"""The original's program, typed as its runbooks say, at a real terminal."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import reportlab.pdfbase.ttfonts
import reportlab.pdfgen.canvas  # noqa: F401 - here once: each program is a fork of this process
import segno  # noqa: F401 - the same
from tests.support import staged
from tests.support.importservice import JOB_PATH, FakeImportService
from tests.support.terminal import CTRL_C, CTRL_D, Terminal
from typing_extensions import override

from overland.adapters.posix import PosixFiles
from overland.adapters.volumes import create_folder_volume
from overland.cli import copycomputer, originaldiskprep
from overland.cli.originaldiskprep import CommandLine, parse
from overland.cli.outcome import Exit
from overland.diskprep.record import Preparation
from overland.ports.http import Reply
from overland.seeding.staging import StagingLocation

JOB = "harbour-import-07"
FORM = [
    ("Carrier:", "FedEx"),
    ("Tracking number:", "000123456789"),
    ("Return address: name:", "Ada Quist"),
    ("Return address: street:", "12 Quay Lane"),
    ("Return address: line 2", ""),
    ("Return address: postal code:", "8000"),
    ("Return address: city:", "Aarhus"),
    ("Return address: state", ""),
    ("Return address: country:", "Denmark"),
    ("Return address: phone:", "+45 0000 0000"),
    ("Return address: e-mail:", "disks@example.org"),
    ("Return carrier:", "FedEx"),
    ("Return carrier account number:", "000111222"),
]
WHOLE = [
    ("Next drive", "E"),
    ("Fill drive D1?", "yes"),
    ("Next drive", "F:"),
    ("Fill drive D2?", "Yes"),
    ("shipping information now?", "yes"),
    *FORM,
    ("may it be sent?", "Yes"),
]
"""Every question of a first preparation on the source computer, and an answer to it."""

SETTINGS = f"""<PublishData xmlns:overland="urn:overland:publish-settings:1">
  <PublishProfile SchemaVersion="2.0" PublishMethod="AzureServiceManagementAPI">
    <Subscription ServiceManagementUrl="https://cloud.test" Id="{staged.SUBSCRIPTION_ID}"
      Name="Harbour" overland:Token="t0ken" {{extra}} />
  </PublishProfile>
</PublishData>"""


class StoredImportService(FakeImportService):
    """The fake, with its jobs in a file: the program runs in another process than the test."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @override
    def request(
        self, method: str, path: str, *, json: Any = None, raw: bytes | None = None
    ) -> Reply:
        self.jobs = self.stored()
        reply = super().request(method, path, json=json, raw=raw)
        self._path.write_bytes(msgspec.json.encode(self.jobs))
        return reply

    def stored(self) -> dict[str, Any]:
        return json.loads(self._path.read_bytes()) if self._path.exists() else {}


class Scene:
    """A source computer, its staging location, two drives, and a copy computer elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging = folder / "staging area"  # with a blank, as in C:\\Backup Staging
        self.staging.mkdir()
        self.settings = folder / "harbour.publishsettings"
        self.settings.write_text(SETTINGS.format(extra=""), encoding="utf-8")
        self.service = StoredImportService(folder / "jobs.json")
        self.stage(staged.SEED_ID, JOB)
        for name, serial, size_bytes in (("E", "D1", 200_000), ("F", "D2", 1 << 20)):
            create_folder_volume(folder / "drives" / name, serial=serial, capacity_bytes=size_bytes)
        self._agent()

    def stage(self, seed_id: Any, job_name: str) -> None:
        location = StagingLocation(str(self.staging), files_of=lambda path: PosixFiles(Path(path)))
        draft = location.begin(staged.record(seed_id, job_name=job_name), needed_bytes=0)
        content = staged.objects(packs=(100_352, 100_864))
        for name, data in content.items():
            draft.files.write(name, data)
        staged.finish(draft, content, seed_id)

    def _agent(self) -> None:
        agent = self.folder / "source" / "agent"
        (agent / "policies").mkdir(parents=True)
        (agent / "agent.json").write_text(json.dumps({"repository_id": staged.REPOSITORY_ID}))
        self.policy(publish_settings=self.settings)

    def policy(self, *, publish_settings: Path, sources: Sequence[str] = ("/srv/files",)) -> None:
        offline = {
            "staging_location": str(self.staging),
            "publish_settings": str(publish_settings),
            "job_name": JOB,
        }
        policy = {"name": "nightly", "sources": list(sources), "offline": offline}
        path = self.folder / "source" / "agent" / "policies" / "nightly.policy.json"
        path.write_text(json.dumps(policy))

    def run(self, *words: str, home: str = "source") -> Terminal:
        env = {
            "OVERLAND_HOME": str(self.folder / home),
            "OVERLAND_PUBLISH_SETTINGS": "",
            "OVERLAND_DRIVES": str(self.folder / "drives"),
            "TERM": "dumb",
        }
        return Terminal(originaldiskprep.main, *words, env=env)

    def prepare(self, *, home: str = "source") -> Terminal:
        words = [f"s:{self.staging}"]
        return self.run(*words, *([f"p:{self.settings}"] if home != "source" else []), home=home)

    def record(self, home: str = "source") -> Preparation:
        [path] = (self.folder / home / "disk-preparation").glob("*/record.json")
        return msgspec.json.decode(path.read_bytes(), type=Preparation)

    def job(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.stored()[JOB_PATH]
        return found

    def drive(self, name: str) -> dict[str, str]:
        """Every file of a drive, with the digest of its bytes."""
        root = self.folder / "drives" / name
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def written(self) -> dict[str, int]:
        """When each file on the drives was written."""
        root = self.folder / "drives"
        return {str(p): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path)
    monkeypatch.setattr(copycomputer, "UrllibHttp", lambda _url, **_: made.service)
    return made


def answer(terminal: Terminal, questions: Sequence[tuple[str, str]]) -> Terminal:
    for question, text in questions:
        terminal.answer(question, text)
    return terminal


# -- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["s:/mnt/staging"], ("/mnt/staging", "", False)),
        (
            ["S:/mnt/staging", "P:/x/a.publishsettings"],
            ("/mnt/staging", "/x/a.publishsettings", False),
        ),
        (["p:/x/a b.publishsettings", "s:/mnt/s"], ("/mnt/s", "/x/a b.publishsettings", False)),
        (["s:/mnt/staging", "area", "p:/x/y", "z"], ("/mnt/staging area", "/x/y z", False)),
        (["s:<*/mnt/staging area*>"], ("/mnt/staging area", "", False)),
        (["*s:/mnt/staging*"], ("/mnt/staging", "", False)),
        (["s:<*/mnt/staging", "area*>"], ("/mnt/staging area", "", False)),
        (["u:"], ("", "", True)),
        (["*u:*"], ("", "", True)),
        (["u:", "s:/mnt/s", "p:/p"], ("/mnt/s", "/p", True)),
        (["s:/mnt/s", "p:/p", "u:"], ("/mnt/s", "/p", True)),
        (["s:", "/mnt/s"], ("/mnt/s", "", False)),
        ([r"s:\\server\share"], (r"\\server\share", "", False)),
    ],
    ids=str,
)
@pytest.mark.requirement("R74", "R75")
def test_the_command_lines_of_the_runbook_mean_what_they_say(
    words: list[str], meant: tuple[str, str, bool]
) -> None:
    staging, settings, is_update = meant

    assert parse(words) == CommandLine(
        staging=staging, publish_settings=settings, is_update=is_update
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "s: is missing"),
        (["p:/x"], "s: is missing"),
        (["s:"], "s: needs a path"),
        (["s:*"], "s: needs a path"),
        (["u:", "s:/a", "p:"], "p: needs a path"),
        (["s:/a", "s:/b"], "twice"),
        (["u:now"], "u: takes nothing"),
        (["prepare"], "'prepare' is not"),
    ],
    ids=str,
)
@pytest.mark.requirement("R74")
def test_another_command_line_is_wrong_usage(words: list[str], problem: str) -> None:
    with pytest.raises(click.UsageError, match=problem):
        parse(words)


@pytest.mark.requirement("R73", "R74")
def test_the_program_alone_prints_its_usage_and_ends_with_2() -> None:
    command = [sys.executable, "-m", "overland.cli.originaldiskprep"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == Exit.USAGE
    assert "AzureOfflineBackupDiskPrep s:<staging location>" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("[usage]")
    assert helped.returncode == Exit.OK
    assert "AzureOfflineBackupDiskPrep u: s:" in helped.stdout


# -- preparing -------------------------------------------------------------------------------


@pytest.mark.requirement("R77", "R78", "R83", "R84", "R85", "R87", "R96", "R97", "R98", "R102")
def test_the_whole_runbook_on_the_source_computer(scene: Scene) -> None:
    terminal = answer(scene.prepare(), WHOLE)

    assert terminal.finish() == Exit.OK, terminal.output
    shown = terminal.output
    assert "Which of them" not in shown, "one job: no question"
    assert shown.index("E: drive D1") < shown.index("Next drive"), "what is attached is offered"
    assert "Example Import Dock" in shown
    for text in ("harbourdata", "rg-harbour", "westeurope", "D1, D2", "Ada Quist", "FedEx, UPS"):
        assert text in shown, f"{text} is in the review"
    job = scene.job()
    assert job["name"] == JOB, "the name of the wizard, which nobody typed"
    assert job["properties"]["state"] == "Shipping"
    assert job["properties"]["returnShipping"]["carrierAccountNumber"] == "000111222"
    [place] = [
        line.removeprefix("stored in ")
        for line in shown.splitlines()
        if line.startswith("stored in")
    ]
    assert "000123456789" in Path(place).read_text(encoding="utf-8")
    listed = Path(place).with_name("packing-list.txt").read_text(encoding="utf-8")
    assert "Example Import Dock" in listed, "the address is saved"


@pytest.mark.requirement("R75")
def test_elsewhere_the_publish_settings_have_to_be_named(scene: Scene) -> None:
    without = scene.run(f"s:{scene.staging}", home="elsewhere")
    assert without.finish() == Exit.USAGE
    assert "p: is missing" in without.output
    assert list(scene.drive("E")) == [".overland-volume.json"]

    assert answer(scene.prepare(home="elsewhere"), WHOLE).finish() == Exit.OK
    assert scene.job()["properties"]["state"] == "Shipping"


@pytest.mark.parametrize("refusal", ["no", "y", "", "yes please", "ye s"])
@pytest.mark.requirement("R79")
def test_anything_but_consent_leaves_the_drive_byte_identical(scene: Scene, refusal: str) -> None:
    before = scene.drive("E")

    terminal = answer(
        scene.prepare(), [("Next drive", "E"), ("Fill drive D1?", refusal), ("Next drive", "-")]
    )

    assert terminal.finish() == Exit.REFUSED
    assert scene.drive("E") == before
    assert scene.service.stored() == {}


@pytest.mark.requirement("R79")
def test_a_drive_with_data_is_erased_for_its_serial_alone(scene: Scene) -> None:
    (scene.folder / "drives" / "F" / "holiday.jpg").write_bytes(b"precious")
    before = scene.drive("F")

    terminal = answer(
        scene.prepare(), [("Next drive", "F"), ("serial number D2", "yes"), ("Next drive", "-")]
    )

    assert terminal.finish() == Exit.REFUSED
    assert scene.drive("F") == before


@pytest.mark.requirement("R77")
def test_of_two_jobs_the_operator_chooses_and_of_none_there_is_an_error(scene: Scene) -> None:
    scene.stage(staged.OTHER_SEED_ID, "harbour-import-08")

    terminal = scene.run(f"s:{scene.staging}", f"p:{scene.settings}")
    terminal.answer("Which of them", "3").answer("1 to 2", "2")
    terminal.answer("Next drive", "F").answer("Fill drive D2?", "yes").answer(
        "information now?", "no"
    )

    assert terminal.finish() == Exit.OK, terminal.output
    assert scene.record().job_name == "harbour-import-08"
    empty = scene.folder / "empty"
    empty.mkdir()
    none = scene.run(f"s:{empty}", f"p:{scene.settings}")
    assert none.finish() == Exit.REFUSED
    assert "[no-seed-to-prepare]" in none.output


@pytest.mark.requirement("R78", "R80")
def test_drives_of_staging_sources_and_system_are_neither_offered_nor_taken(scene: Scene) -> None:
    drives = scene.folder / "drives"
    create_folder_volume(drives / "S", serial="SRC", capacity_bytes=1 << 20)
    (drives / "S" / "home").mkdir()
    scene.policy(publish_settings=scene.settings, sources=[str(drives / "S" / "home")])

    terminal = scene.prepare()
    terminal.answer("Next drive", "S").expect("[drive-holds-source]")
    terminal.answer("Next drive", str(scene.staging)).expect("refused: ")
    terminal.answer("Next drive", "/").expect("refused: ")
    terminal.answer("Next drive", "X:").expect("there is no drive at X")
    terminal.answer("Next drive", "-")

    assert terminal.finish() == Exit.REFUSED
    assert "S: drive SRC" not in terminal.output
    assert "F: drive D2" in terminal.output


@pytest.mark.requirement("R87", "R96")
def test_every_field_is_asked_again_until_it_is_right(scene: Scene) -> None:
    wrong = {
        "Tracking number:": "1Z 99",
        "Return address: name:": " ",
        "Return address: postal code:": "?",
        "Return address: country:": "4",
        "Return address: phone:": "call me",
        "Return address: e-mail:": "disks@nowhere",
    }
    terminal = answer(scene.prepare(), WHOLE[:5])
    for question, text in FORM:
        if question in wrong:
            terminal.answer(question, wrong[question])
            if wrong[question].strip():
                terminal.expect("needs")
        terminal.answer(question, text)
    terminal.answer("may it be sent?", "YES")

    assert terminal.finish() == Exit.OK, terminal.output
    assert scene.job()["properties"]["returnAddress"]["email"] == "disks@example.org"


@pytest.mark.parametrize("word", ["y", "ye", "no", "yes!", ""])
@pytest.mark.requirement("R97")
def test_nothing_shorter_than_yes_sends_the_shipping_information(scene: Scene, word: str) -> None:
    terminal = answer(scene.prepare(), [*WHOLE[:-1], ("may it be sent?", word)])

    assert terminal.finish() == Exit.REFUSED
    assert scene.job()["properties"]["state"] == "Creating"
    assert scene.record().form().tracking_number == "000123456789", "what was typed is kept"


# -- nothing is lost -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl-c", "end-of-input"])
@pytest.mark.parametrize("at", range(len(WHOLE)), ids=lambda at: f"{at:02d}-{WHOLE[at][0][:24]}")
@pytest.mark.requirement("R79", "R86", "R88")
def test_stopping_at_any_question_loses_nothing(scene: Scene, at: int, key: str) -> None:
    drives = {"E": scene.drive("E"), "F": scene.drive("F")}
    terminal = answer(scene.prepare(), WHOLE[:at])
    terminal.expect(WHOLE[at][0].removesuffix(":")).expect(": ").stop(key)

    assert terminal.finish() == Exit.ERROR, terminal.output
    assert "stopped" in terminal.output
    assert "Traceback" not in terminal.output
    if at <= 1:
        assert scene.drive("E") == drives["E"], "not before consent"
    if at <= 3:
        assert scene.drive("F") == drives["F"], "not before consent"
    assert (JOB_PATH in scene.service.stored()) == (at > 3)
    typed = scene.record().form()
    known = {**msgspec.structs.asdict(typed), **msgspec.structs.asdict(typed.return_address)}
    for question, text in WHOLE[5:at]:
        assert not text or text in known.values() or question.startswith("Return carrier"), question

    written = scene.written()
    again = scene.prepare()
    if at <= 3:
        # One drive takes everything now, or what is left of it; E is kept if it was finished.
        if at > 1:
            answer(again, [("Next drive", "E")]).expect("finished already")
        answer(again, [("Next drive", "F"), ("Fill drive D2?", "yes")])
    answer(again, [("information now?", "yes")])
    for number, (question, text) in enumerate(FORM, start=5):
        again.answer(question.removesuffix(":"), "" if number < at else text)
    again.answer("may it be sent?", "yes")

    assert again.finish() == Exit.OK, again.output
    assert scene.job()["properties"]["deliveryPackage"]["trackingNumber"] == "000123456789"
    assert scene.job()["properties"]["returnAddress"]["email"] == "disks@example.org"
    if at > 3:
        assert scene.written() == written, "a finished drive is not written again"


# -- u: --------------------------------------------------------------------------------------


@pytest.mark.requirement("R86", "R95", "R101", "R116")
def test_later_u_finds_the_job_shows_it_and_goes_on(scene: Scene) -> None:
    assert answer(scene.prepare(), [*WHOLE[:4], ("information now?", "later")]).finish() == Exit.OK

    first = scene.run("u:")
    first.expect(f"import job {JOB}: Creating").answer("information now?", "yes")
    answer(first, FORM).answer("may it be sent?", "yes")
    assert first.finish() == Exit.OK, first.output

    corrected = scene.run("u:").expect("Shipping").answer("information now?", "Yes")
    for question, _ in FORM:
        corrected.answer(
            question.removesuffix(":"), "000999999999" if question == "Tracking number:" else ""
        )
    corrected.answer("may it be sent?", "yes")
    assert corrected.finish() == Exit.OK, corrected.output
    numbers = [entry.form.tracking_number for entry in scene.record().shipping if entry.committed]
    assert numbers == ["000123456789", "000999999999"], "the old value is kept"
    assert scene.job()["properties"]["deliveryPackage"]["trackingNumber"] == "000999999999"


@pytest.mark.requirement("R95")
def test_u_elsewhere_needs_both_paths_and_finds_the_jobs_of_the_staging_location(
    scene: Scene,
) -> None:
    assert answer(scene.prepare(), [*WHOLE[:4], ("information now?", "no")]).finish() == Exit.OK
    for words in (["u:"], ["u:", f"s:{scene.staging}"], ["u:", f"p:{scene.settings}"]):
        refused = scene.run(*words, home="elsewhere")
        assert refused.finish() == Exit.USAGE
        assert "both s: and p:" in refused.output

    found = scene.run("u:", f"s:{scene.staging}", f"p:{scene.settings}", home="elsewhere")
    found.expect(f"import job {JOB}: Creating").answer("information now?", "yes")
    answer(found, FORM).answer("may it be sent?", "yes")

    assert found.finish() == Exit.OK, found.output
    assert scene.job()["properties"]["state"] == "Shipping"


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl-c", "end-of-input"])
@pytest.mark.requirement("R86")
def test_stopping_u_at_its_question_changes_nothing(scene: Scene, key: str) -> None:
    assert answer(scene.prepare(), [*WHOLE[:4], ("information now?", "no")]).finish() == Exit.OK
    before = scene.record()

    terminal = scene.run("u:").expect("information now?").expect(": ").stop(key)

    assert terminal.finish() == Exit.ERROR
    assert scene.record() == before
    assert scene.job()["properties"]["state"] == "Creating"


# -- publish settings ------------------------------------------------------------------------


@pytest.mark.requirement("R13")
def test_missing_publish_settings_are_asked_for_until_a_file_can_be_used(scene: Scene) -> None:
    scene.policy(publish_settings=scene.folder / "gone.publishsettings")
    web = scene.folder / "web.publishsettings"
    web.write_text("<publishData><publishProfile/></publishData>", encoding="utf-8")
    broken = scene.folder / "broken.publishsettings"
    cut = base64.b64encode(b"\x30\x82\x09\x00\x02\x01\x03").decode()
    broken.write_text(SETTINGS.format(extra=f'ManagementCertificate="{cut}"'), encoding="utf-8")

    terminal = scene.prepare()
    terminal.expect("[publish-settings-invalid]")
    terminal.answer("Path of the publish settings", str(web)).expect("[web-deploy-profile]")
    terminal.answer("Path of the publish", str(broken)).expect("[management-certificate-broken]")
    terminal.answer("Path of the publish settings", str(scene.settings))
    terminal.answer("Next drive", "-")

    assert terminal.finish() == Exit.REFUSED
    assert scene.record().publish_settings == str(scene.settings)


def test_a_private_key_in_the_file_is_told_of_and_kept_nowhere(scene: Scene) -> None:
    content = b"\x30\x23\x02\x01\x03" + b"the account's secret, for a test"
    key = base64.b64encode(content).decode()
    scene.settings.write_text(
        SETTINGS.format(extra=f'ManagementCertificate="{key}"'), encoding="utf-8"
    )

    terminal = answer(scene.prepare(), [*WHOLE[:4], ("information now?", "no")])

    assert terminal.finish() == Exit.OK, terminal.output
    assert "neither used nor stored" in terminal.output
    places = [*(scene.folder / "source").rglob("*"), *(scene.folder / "drives").rglob("*")]
    for path in places:
        if path.is_file():
            assert key.encode() not in path.read_bytes()
            assert content not in path.read_bytes()


@pytest.mark.requirement("R27")
def test_the_staging_location_is_known_by_what_is_in_it_and_not_by_its_path(scene: Scene) -> None:
    other = scene.folder / "mounted elsewhere"
    scene.staging.rename(other)

    terminal = answer(
        scene.run(f"s:{other}"),
        [("Next drive", "F"), ("Fill drive D2?", "yes"), ("information now?", "no")],
    )

    assert terminal.finish() == Exit.OK, terminal.output
    assert scene.job()["name"] == JOB


@pytest.mark.slow
@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl-c", "end-of-input"])
@pytest.mark.parametrize("question", ["Which of them", "Path of the publish", "serial number D2"])
@pytest.mark.requirement("R79", "R86")
def test_stopping_at_a_rarer_question_changes_nothing(
    scene: Scene, question: str, key: str
) -> None:
    if question == "Which of them":
        scene.stage(staged.OTHER_SEED_ID, "harbour-import-08")
    if question == "Path of the publish":
        scene.policy(publish_settings=scene.folder / "gone.publishsettings")
    (scene.folder / "drives" / "F" / "holiday.jpg").write_bytes(b"precious")
    before = scene.drive("F")

    terminal = scene.prepare()
    if question == "serial number D2":
        terminal.answer("Next drive", "F")
    terminal.expect(question).expect(": " if question != "serial number D2" else ":").stop(key)

    assert terminal.finish() == Exit.ERROR, terminal.output
    assert "stopped" in terminal.output
    assert scene.drive("F") == before
    assert scene.service.stored() == {}
