"""Who held which drive: a document that shows every change, and every gap."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.copyscene import SHIPPING_WORDS, Scene, at_copy_computer

from overland.cli.outcome import Exit
from overland.crypto import sign
from overland.crypto.secrets import Secret
from overland.jobs import custodyproof

pytestmark = pytest.mark.requirement("R103")
FORMAT = Path(__file__).parents[3] / "docs" / "format" / "custody-v1.md"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with at_copy_computer(tmp_path, monkeypatch) as made:
        yield made


def shipped(scene: Scene) -> Scene:
    assert scene.prepare(*scene.both(), "--yes").exit_code == Exit.OK
    scene.cloud.clock.advance(timedelta(hours=1))
    assert scene.disk("ship", *SHIPPING_WORDS, "--yes").exit_code == Exit.OK
    return scene


def returned(scene: Scene) -> Scene:
    """Take the parcel through the dock and back."""
    station = shipped(scene).cloud.station()
    scene.cloud.clock.advance(timedelta(days=3))
    serials = ["D1", "D2"]
    parcel = {"tracking_number": "000123456789", "carrier": "FedEx", "serials": serials}
    station.ok("POST", "/v1/station/parcels", parcel)
    job_id = station.ok("GET", "/v1/station/jobs")[0]["job_id"]
    for serial in serials:
        for event in ({"event": "started"}, {"event": "completed", "percent": 100}):
            station.ok("POST", f"/v1/station/jobs/{job_id}/drives/{serial}/events", event)
    back = {"carrier": "FedEx", "tracking_number": "BACK-0001"}
    station.ok("POST", f"/v1/station/jobs/{job_id}/return", back)
    return scene


def exported(scene: Scene, *words: str) -> Path:
    file = scene.folder / "custody.json"
    done = scene.disk("custody", "export", str(file), *words)
    assert done.exit_code == Exit.OK, done.output
    return file


def verified(scene: Scene, file: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = scene.disk("custody", "verify", str(file), *words, "--json", home="auditor")
    return done.exit_code, json.loads(done.stdout)


def test_a_completed_job_has_a_gap_free_log_of_every_drive(scene: Scene) -> None:
    status, report = verified(scene, exported(returned(scene)))

    assert status == Exit.OK, report
    assert [drive["serial"] for drive in report["drives"]] == ["D1", "D2"]
    for drive in report["drives"]:
        assert drive["gaps"] == []
        assert drive["is_ended"]
        events = [step["event"] for step in drive["steps"]]
        way = ["prepared", "sealed", "listed", "handed over", "received", "started", "completed"]
        assert [each for each in events if each in way] == way
        assert events[-1] == "shipped_back"
        assert all(step["by"] and step["at"] for step in drive["steps"])


def test_before_the_end_the_log_is_gap_free_and_under_way(scene: Scene) -> None:
    status, report = verified(scene, exported(shipped(scene)))

    assert status == Exit.OK
    assert [(drive["gaps"], drive["is_ended"]) for drive in report["drives"]] == [([], False)] * 2


def test_without_the_copy_computers_ledger_the_gap_is_named(scene: Scene) -> None:
    file = exported(returned(scene))
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps({**document, "ledger": None}))

    status, report = verified(scene, file)

    assert status == Exit.ERROR
    assert report["drives"][0]["gaps"] == ["prepared", "sealed", "handed over"]


def test_without_a_network_the_ledger_alone_is_exported(scene: Scene) -> None:
    shipped(scene).is_offline = True

    status, report = verified(scene, exported(scene))

    assert report["cloud_key"] == ""
    assert (status, report["drives"][0]["gaps"]) == (Exit.ERROR, ["listed"])


def test_keys_that_are_trusted_are_compared(scene: Scene) -> None:
    file = exported(shipped(scene))
    _, report = verified(scene, file)
    known = ["--key", report["ledger_key"], "--key", report["cloud_key"].upper()]
    assert report["cloud_key"] == sign.public_key(scene.cloud.grant_key).hex()

    assert verified(scene, file, *known)[0] == Exit.OK
    assert verified(scene, file, *known[:2])[0] == Exit.INTEGRITY
    assert verified(scene, file, "--key", "00" * 32)[0] == Exit.INTEGRITY


def run_program(file: Path) -> subprocess.CompletedProcess[str]:
    """Run the program of the format page."""
    [program] = re.findall(r"```python\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    command = [sys.executable, "-I", "-c", program, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _drop(part: str, number: int) -> Callable[[Any], None]:
    return lambda document: document[part]["lines" if part == "ledger" else "events"].pop(number)


def _change(number: int, field: str, value: object) -> Callable[[Any], None]:
    return lambda document: document["cloud"]["events"][number].update({field: value})


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "a line taken out": _drop("ledger", 1),
    "the last line cut off": _drop("ledger", -1),
    "an entry taken out": _drop("cloud", 2),
    "the last entry cut off": _drop("cloud", -1),
    "another actor": _change(1, "actor", "nobody"),
    "another time": _change(1, "at", "2020-01-01T00:00:00.000000+00:00"),
    "another drive": _change(3, "drive", "D9"),
    "another detail": _change(0, "detail", {"name": "other"}),
    "another serial in the ledger": lambda document: document["ledger"]["lines"].__setitem__(
        0, document["ledger"]["lines"][0].replace("D1", "D9")
    ),
    "another seed": lambda document: document["ledger"].update(seed_id="0" * 36),
    "another job": lambda document: document["cloud"].update(job_id="0" * 36),
    "a signature of zeros": lambda document: document["cloud"].update(signature="00" * 64),
    "a signature that is none": lambda document: document["ledger"].update(signature="xyz"),
    "an instant that is none": _change(0, "at", "yesterday"),
    "no entries": lambda document: document["cloud"].update(events=[]),
    "neither part": lambda document: document.update(ledger=None, cloud=None),
}


def test_every_kind_of_change_is_noticed(scene: Scene) -> None:
    file = exported(returned(scene))
    good = file.read_bytes()
    for name, damage in DAMAGES.items():
        document = json.loads(good)
        damage(document)
        file.write_text(json.dumps(document))
        status, answer = verified(scene, file)
        assert status == Exit.INTEGRITY, name
        assert answer["error"]["code"] == "custody-broken", name
    file.write_bytes(good[:-9])
    assert verified(scene, file)[0] == Exit.INTEGRITY


def test_a_signed_ledger_without_a_line_proves_nothing(scene: Scene) -> None:
    file = exported(shipped(scene))
    document = json.loads(file.read_bytes())
    mine = sign.generate_signing_key(lambda count: b"x" * count)
    head = custodyproof.ledger_head(document["ledger"]["seed_id"], [])
    signature = sign.sign(mine, custodyproof.LEDGER_PURPOSE, head).hex()
    signed = {"lines": [], "public_key": sign.public_key(mine).hex(), "signature": signature}
    ledger = {**document["ledger"], **signed}
    file.write_text(json.dumps({**document, "ledger": ledger, "cloud": None}))

    status, answer = verified(scene, file)

    assert (status, answer["error"]["code"]) == (Exit.INTEGRITY, "custody-broken")
    assert run_program(file).returncode != 0


def test_what_nobody_signed_is_not_called_proven(scene: Scene) -> None:
    file = exported(shipped(scene))
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps({**document, "job_name": "any"}))

    done = scene.disk("custody", "verify", str(file), home="auditor")

    assert done.exit_code == Exit.OK
    assert "nothing that is signed was changed" in done.stdout
    assert "the job's name is signed by nobody" in done.stdout


def test_who_rewrites_a_ledger_without_the_key_is_found_out(scene: Scene) -> None:
    file = exported(shipped(scene))
    document = json.loads(file.read_bytes())
    ledger = document["ledger"]
    first = json.loads(ledger["lines"][0])
    line = json.dumps({**first, "by": "nobody"})
    ledger["lines"] = [line]
    mine = sign.generate_signing_key(lambda count: b"x" * count)
    head = custodyproof.ledger_head(ledger["seed_id"], [line.encode()])
    signature = sign.sign(mine, custodyproof.LEDGER_PURPOSE, head).hex()
    file.write_text(json.dumps({**document, "ledger": {**ledger, "signature": signature}}))
    assert verified(scene, file)[0] == Exit.INTEGRITY, "the old key, another's signature"

    ledger |= {"signature": signature, "public_key": sign.public_key(mine).hex()}
    file.write_text(json.dumps({**document, "ledger": ledger}))
    status, report = verified(scene, file)
    assert (status, report["ledger_key"]) != (Exit.OK, sign.public_key(Secret(b"c" * 32)).hex())
    trusted = ["--key", report["cloud_key"]]
    assert verified(scene, file, *trusted)[0] == Exit.INTEGRITY, "a stranger's key is not trusted"


def test_details_that_were_deleted_leave_the_chain_whole(scene: Scene) -> None:
    file = exported(returned(scene))
    document = json.loads(file.read_bytes())
    for event in document["cloud"]["events"]:
        event["detail"] = None
    file.write_text(json.dumps(document))

    assert verified(scene, file)[0] == Exit.OK


def test_the_program_of_the_format_page_verifies_the_same_document(scene: Scene) -> None:
    file = exported(returned(scene))
    good = run_program(file)
    assert good.returncode == 0, good.stderr
    assert hashlib.sha256(file.read_bytes()).hexdigest() in good.stdout
    content = file.read_bytes()
    for name, damage in DAMAGES.items():
        document = json.loads(content)
        damage(document)
        file.write_text(json.dumps(document))
        assert run_program(file).returncode != 0, name
