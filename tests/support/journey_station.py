"""The station's part of a journey: what arrives, what lands of it, what goes back."""

from tests.support.docked import ADDRESS
from tests.support.journey import JOB, Scene
from tests.support.journey_faults import Life

from overland.adapters.volumes import create_folder_volume
from overland.errors import TransientError
from overland.format.copy_log import DriveStatus
from overland.station.ingest import DriveOutcome
from overland.station.intake import DriveGivenTwice, Parcel

__all__ = ["ARM", "TRACKING", "import_drives", "receive", "send_back"]

TRACKING = "794600000001"
ARM = "api-version=2021-01-01"


class DriveStopped(TransientError):
    """A drive's import stopped; the station's operator runs the same command again."""

    code = "drive-stopped"


def receive(scene: Scene, serials: list[str]) -> None:
    """Book the parcel in, with what else is in it."""
    unopened = [serial for serial in serials if serial == scene.broken]
    paths = [scene.drives[each] for each in scene.shuffled(serials) if each not in unopened]
    expected = {serial: {"received", "late", "already-received"} for serial in serials}
    if scene.story.strangers:
        for serial, outcome in _strangers(scene).items():
            paths.insert(scene.rng.randrange(len(paths) + 1), scene.folder / "drives" / serial)
            expected[serial] = {outcome}

    def received(life: Life) -> Parcel:
        return scene.station(life).intake().receive(
            tracking_number=TRACKING, carrier="FedEx", paths=[*map(str, paths)], serials=unopened
        )  # fmt: skip

    if scene.story.doubled:
        copy = scene.copy_drive(scene.rng.choice(serials))
        paths.append(copy)
        try:
            scene.calm(received)
        except DriveGivenTwice as refused:
            scene.note(f"a copied drive is noticed: {refused}")
        else:
            raise AssertionError("two drives have one number")
        paths.remove(copy)
    parcel = scene.do("station receive", received)
    if scene.story.doubled:
        parcel = scene.do("station receive, again", received)
    told = {each.serial: each.outcome for each in parcel.drives}
    assert told.keys() == expected.keys()
    assert all(told[serial] in expected[serial] for serial in told), (told, expected)


def _strangers(scene: Scene) -> dict[str, str]:
    """Put drives into the parcel that are not of this job; return what each is."""
    found = {"X-UNKNOWN": "unknown", "X-EXTRA": "extra"}
    if (scene.folder / "drives" / "X-EXTRA").exists():
        return {}
    for serial in found:
        create_folder_volume(
            scene.folder / "drives" / serial, serial=serial, capacity_bytes=1 << 20
        )
    world = scene.world
    path = f"{world['group']}/providers/Microsoft.ImportExport/jobs/another-job?{ARM}"
    drive = {
        "driveId": "X-EXTRA",
        "bitLockerKey": "none",
        "manifestFile": "\\DriveManifest.xml",
        "manifestHash": "0" * 64,
    }
    properties = {
        "jobType": "Import",
        "storageAccountId": world["account"],
        "returnAddress": ADDRESS,
        "returnShipping": {"carrierName": "UPS", "carrierAccountNumber": "1"},
        "driveList": [drive],
    }
    body = {"location": "westeurope", "properties": properties}
    scene.ask(world["admin"], "PUT", path, body)
    return found


def import_drives(scene: Scene) -> list[DriveOutcome]:
    """Import what is here; the station's operator runs the command until no drive stands."""

    def imported(life: Life) -> list[DriveOutcome]:
        ingest = scene.station(life).ingest()
        outcomes = ingest.run(ingest.choose(job=JOB, paths=()))
        for each in outcomes:
            if each.result == "stopped":
                raise DriveStopped(f"{each.serial}: {each.stop}")
        return outcomes

    outcomes = scene.do("station ingest", imported)
    if scene.story.doubled:
        outcomes = scene.do("station ingest, again", imported)
    if any(each.result == "no-path" for each in outcomes):
        _give_up(scene)
    for each in outcomes:
        if each.serial == scene.broken:
            continue
        bad = [damaged.name for damaged in each.damaged]
        scene.note(f"  drive {each.serial}: {each.result}, {each.landed} landed, damaged: {bad}")
        assert each.result in {"completed", "completed-more-info", "finished"}, each
        flipped = [name for name in scene.flipped if name in scene.loads[each.serial]]
        assert sorted(bad) == sorted(flipped), "exactly what is damaged is named"
        assert each.landed == len(scene.loads[each.serial]) - len(bad), "and the rest lands"
    return outcomes


def _give_up(scene: Scene) -> None:
    """End the import of the drive that cannot be opened."""
    serial = scene.broken
    assert serial is not None, "every other drive has a path"

    def given_up(life: Life) -> DriveOutcome:
        return scene.station(life).ingest().give_up(serial, reason=DriveStatus.DISK_NOT_FOUND)

    outcome = scene.do("station give-up", given_up)
    assert outcome.result == "failed", outcome


def send_back(scene: Scene) -> None:
    def sent(life: Life) -> None:
        returning = scene.station(life).returning()
        returning.send_back(JOB, carrier="FedEx", tracking_number="794600000002")

    scene.do("station return", sent)
    here = scene.calm(lambda life: scene.station(life).records.drives())
    assert not {each.serial for each in here} & set(scene.drives), "what was sent back is gone"
