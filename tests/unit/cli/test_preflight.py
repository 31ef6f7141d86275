"""`overland preflight`: each prerequisite of a first copy by drive, met and not met."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.support.registered import SourceComputer, registered, typed

from overland.agent.policy import Progress, SeedPhase
from overland.agent.preflight import CHECKS
from overland.cli.outcome import Exit
from overland.cloud import tables
from overland.cloud.capabilities import allow_seeding
from overland.cloud.identity import authenticate

OTHER = "99999999-2222-3333-4444-555555555555"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with registered(tmp_path) as made:
        yield made


def failed(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: each["code"] for name, each in findings.items() if each["verdict"] == "fail"}


@pytest.mark.requirement("R11", "R12", "R13", "R15", "R16", "R17", "R18", "R19", "R20", "R21")
@pytest.mark.requirement("R31", "R32")
def test_where_everything_is_met_every_check_passes_by_name(computer: SourceComputer) -> None:
    findings = computer.checked()
    assert list(findings) == list(CHECKS)
    assert failed(findings) == {}
    warned = {name for name, each in findings.items() if each["verdict"] == "warn"}
    assert warned <= {"staging"}, "a test's folders may share one disk"
    assert {each["verdict"] for each in findings.values()} <= {"pass", "warn"}


@pytest.mark.requirement("R11", "R12")
def test_an_unregistered_computer_fails_and_every_other_check_is_made(
    tmp_path: Path, computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "another"))
    findings = computer.checked(code=Exit.REFUSED)
    assert findings["registration"]["code"] == "agent-not-initialised"
    assert findings["vault"]["code"] == "agent-not-registered"
    assert "overland agent register" in findings["vault"]["found"] + findings["vault"]["advice"]
    assert findings["container"]["advice"] == "see vault", "the reason is told once"
    assert findings["publish-settings"]["verdict"] == "pass", "no failure ends another check"
    assert findings["sources"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("field", "value", "check", "code"),
    [
        ("subscription", OTHER, "subscription", "subscription-unknown"),
        ("subscription", OTHER, "publish-settings", "subscription-not-in-file"),
        ("storage_account", "another", "storage-account", "account-not-in-subscription"),
        ("container", "another", "container", "container-absent"),
        ("publish_settings", "/nowhere", "publish-settings", "publish-settings-invalid"),
        ("staging", "/nowhere", "staging", "staging-not-writable"),
        ("staging", "/nowhere", "rights", "staging-not-writable"),
    ],
)
@pytest.mark.requirement("R13", "R15", "R16", "R21")
def test_what_is_not_met_fails_under_its_own_code(
    computer: SourceComputer, field: str, value: str, check: str, code: str
) -> None:
    findings = computer.checked(code=Exit.REFUSED, **{field: value})
    assert failed(findings)[check] == code
    assert len(findings) == len(CHECKS), "it goes on after a failure"
    assert findings[check]["found"]


@pytest.mark.requirement("R13")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "publish-settings-invalid"),
        ("<x/>", "publish-settings-invalid"),
        ("not xml", "publish-settings-invalid"),
        ("<publishData/>", "web-deploy-profile"),
    ],
)
def test_a_file_that_is_no_publish_settings_fails(
    computer: SourceComputer, text: str, code: str
) -> None:
    computer.publish_settings.write_text(text)
    assert failed(computer.checked(code=Exit.REFUSED)) == {"publish-settings": code}


@pytest.mark.requirement("R7")
def test_the_endpoint_is_that_of_the_file(computer: SourceComputer) -> None:
    text = computer.publish_settings.read_text()
    url = computer.cloud.services.endpoints.url
    assert computer.checked()["publish-settings"]["verdict"] == "pass"
    computer.publish_settings.write_text(text.replace(url, "http://127.0.0.1:9"))
    found = computer.checked(code=Exit.REFUSED)["publish-settings"]
    assert (found["verdict"], found["code"]) == ("fail", "unreachable"), found
    assert "127.0.0.1:9" in found["found"]


@pytest.mark.requirement("R14")
def test_the_account_may_be_in_another_subscription_than_the_vault(
    computer: SourceComputer,
) -> None:
    cloud, world = computer.cloud, computer.world
    admin = cloud.http(world.admin)
    other = admin.ok("POST", "/v1/subscriptions", {"name": "other"})["subscription_id"]
    group = f"/subscriptions/{other}/resourceGroups/rg-other"
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/otherdata"
    where, version = {"location": "westeurope"}, "?api-version=2021-01-01"
    admin.ok("PUT", group + version, where)
    admin.ok("PUT", account + version, where)
    admin.ok("PUT", f"{account}/blobServices/default/containers/seeds{version}", {})
    issued = admin.ok("POST", f"/v1/subscriptions/{other}/publish-settings", {})
    computer.publish_settings.write_text(issued["xml"])
    page = {"subscription": other, "storage_account": "otherdata"}
    findings = computer.checked(**page)
    assert findings["vault"]["verdict"] == "warn"
    assert "another" in findings["vault"]["found"]
    assert computer.create(**page).exit_code == Exit.OK


@pytest.mark.requirement("R17")
def test_a_container_that_is_not_empty_warns(computer: SourceComputer) -> None:
    world = computer.world
    computer.cloud.put_object(f"accounts/{world.account}/{world.container}", "old", b"old")
    found = computer.checked()["container"]
    assert (found["verdict"], "new container" in found["advice"]) == ("warn", True)


@pytest.mark.requirement("R5")
def test_a_subscription_without_the_capability_seeds_not_and_backs_up_over_the_network(
    computer: SourceComputer,
) -> None:
    root = computer.cloud.http(computer.cloud.root_token)
    path = f"/v1/subscriptions/{computer.world.subscription_id}/capabilities"
    root.ok("PUT", path, {"seeding_allowed": False})
    assert failed(computer.checked(code=Exit.REFUSED)) == {"capability": "seeding-not-allowed"}
    refused = computer.create()
    assert refused.exit_code == Exit.REFUSED
    assert "seeding-not-allowed" in refused.stderr
    online = typed("policy", "create", "docs", "--source", computer.source, "--online")
    assert online.exit_code == Exit.OK, online.output
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    root.ok("PUT", path, {"seeding_allowed": True})
    assert failed(computer.checked()) == {}


@pytest.mark.requirement("R5")
def test_only_the_provider_says_what_a_subscription_may_do(computer: SourceComputer) -> None:
    path = f"/v1/subscriptions/{computer.world.subscription_id}/capabilities"
    refused = computer.cloud.http(computer.world.admin).request(
        "PUT", path, json={"seeding_allowed": True}
    )
    assert refused.status == 403


@pytest.mark.requirement("R5")
def test_the_cloud_itself_refuses_a_seed_of_such_a_subscription(computer: SourceComputer) -> None:
    assert computer.create().exit_code == Exit.OK
    cloud = computer.cloud
    root = authenticate_as(computer)
    with cloud.services.call(root) as call:
        allow_seeding(call, computer.world.subscription_id, allowed=False)
    refused = typed("backup", "now", "docs")
    assert refused.exit_code == Exit.REFUSED
    assert "does not allow this subscription" in refused.stderr
    assert list(computer.staging.iterdir()) == [], "nothing was staged"


def authenticate_as(computer: SourceComputer):  # type: ignore[no-untyped-def] # a principal
    cloud = computer.cloud
    with cloud.database.connect() as connection:
        return authenticate(connection, cloud.root_token, at=cloud.clock.now())


@pytest.mark.requirement("R20")
def test_too_little_room_fails_before_anything_is_written(computer: SourceComputer) -> None:
    """The room is that of a small volume of its own, where root can make one."""
    small = computer.folder / "small"
    small.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small volume")
    (computer.source / "large").write_bytes(os.urandom(3 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=True)
    try:
        findings = computer.checked(code=Exit.REFUSED, staging=small)
        assert failed(findings) == {"space": "out-of-space"}
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.requirement("R31")
def test_the_cache_needs_a_twentieth_of_the_data(computer: SourceComputer) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small volume")
    fill = computer.source / "large"
    fill.write_bytes(os.urandom(8 << 20))
    home = computer.home
    kept = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=352k", "none", home], check=True)
    try:
        for path, content in kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        found = computer.checked(code=Exit.REFUSED)["scratch"]
        assert (found["verdict"], found["code"]) == ("fail", "scratch-too-small"), found
    finally:
        subprocess.run(["umount", home], check=True)


@pytest.mark.requirement("R32")
@pytest.mark.parametrize(
    ("minutes", "verdict"), [(-6, "fail"), (-2, "warn"), (0, "pass"), (2, "warn"), (6, "fail")]
)
def test_a_clock_that_is_wrong_is_told_before_sign_in_fails(
    computer: SourceComputer, minutes: int, verdict: str
) -> None:
    computer.cloud.clock.sleep(minutes * 60)
    code = Exit.REFUSED if verdict == "fail" else Exit.OK
    found = computer.checked(code=code)["clock"]
    assert found["verdict"] == verdict
    assert found["code"] == ("clock-skewed" if verdict == "fail" else "")


@ROOT
@pytest.mark.requirement("R21")
def test_a_staging_location_that_only_the_operator_can_write_fails(
    computer: SourceComputer,
) -> None:
    for folder in [computer.staging, *computer.staging.parents][:-1]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    computer.staging.chmod(0o755)
    words = ("--source", computer.source, *computer.six(), "--service-account", "nobody")
    found = computer.findings(*words, code=Exit.REFUSED)["rights"]
    assert (found["verdict"], found["code"]) == ("fail", "staging-not-writable")
    assert "nobody" in found["found"]
    computer.staging.chmod(0o777)
    assert computer.findings(*words)["rights"]["verdict"] == "pass"
    assert list(computer.staging.iterdir()) == [], "the probe leaves nothing"
    words = (*words[:-1], "no-such-account")
    assert computer.findings(*words, code=3)["rights"]["code"] == "service-account-absent"


@pytest.mark.requirement("R23", "R24")
def test_sources_that_need_more_drives_than_a_job_takes_fail(computer: SourceComputer) -> None:
    (computer.source / "large").write_bytes(os.urandom(1 << 20))
    page = ("--source", computer.source, *computer.six())
    assert computer.findings(*page, "--drive-size", "200kB")["drives"]["verdict"] == "pass"
    found = computer.findings(*page, "--drive-size", "90kB", code=Exit.REFUSED)["drives"]
    assert found["code"] == "seed-too-large"


@pytest.mark.requirement("R53")
def test_a_job_name_that_the_storage_account_has_is_refused(computer: SourceComputer) -> None:
    """A job of another seed, as a finished first seed leaves it."""
    assert computer.create("first").exit_code == Exit.OK
    assert typed("backup", "now", "first").exit_code == Exit.OK
    seed_id = computer.policies.progress("first").seed_id
    body = {
        "location": "westeurope",
        "tags": {"overland-seed": seed_id},
        "properties": {
            "storageAccountId": computer.world.account_id,
            "jobType": "Import",
            "driveList": [
                {
                    "driveId": "DRIVE-1",
                    "bitLockerKey": "1" * 48,
                    "manifestFile": "\\DriveManifest.xml",
                    "manifestHash": "0" * 32,
                }
            ],
            "returnAddress": {
                "recipientName": "A",
                "streetAddress1": "B 1",
                "city": "C",
                "postalCode": "1",
                "countryOrRegion": "NL",
                "phone": "1",
                "email": "a@example.com",
            },
            "returnShipping": {"carrierName": "D", "carrierAccountNumber": "1"},
        },
    }
    admin = computer.cloud.http(computer.world.admin)
    admin.ok("PUT", computer.world.job_path("harbour-import-07"), body)
    assert failed(computer.checked(code=Exit.REFUSED)) == {"job-name": "job-name-taken"}
    assert computer.create("second").exit_code == Exit.REFUSED
    assert computer.create("second", job_name="harbour-import-08").exit_code == Exit.OK
    assert failed(computer.findings("first")) == {}, "it is that policy's own"


def test_a_check_is_left_out_by_name_only(computer: SourceComputer) -> None:
    computer.publish_settings.write_text("<x/>")
    assert computer.create().exit_code == Exit.REFUSED
    page = ("--source", computer.source, "--offline", *computer.six())
    made = typed("policy", "create", "docs", *page, "--skip-check", "publish-settings")
    assert made.exit_code == Exit.OK, made.output
    assert "publish-settings" in made.stderr, "what was left out is told"
    wrong = typed("policy", "create", "more", *page, "--skip-check", "everything")
    assert wrong.exit_code == Exit.USAGE


def test_a_policy_over_the_network_has_nothing_to_check(computer: SourceComputer) -> None:
    typed("policy", "create", "docs", "--source", computer.source)
    refused = typed("preflight", "docs")
    assert (refused.exit_code, "[policy-invalid]" in refused.stderr) == (Exit.REFUSED, True)


def test_the_table_says_what_to_do_below_each_row(computer: SourceComputer) -> None:
    ended = typed("preflight", "--source", computer.source, *computer.six(container="another"))
    assert ended.exit_code == Exit.REFUSED
    lines = ended.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("FAIL  container"))
    assert "[container-absent]" in lines[at]
    assert "do: make a new one with `overland cloud container create another" in lines[at + 1]
    assert "policy" not in json.loads(typed("policy", "list", "--json").stdout or "[]")


def test_a_policy_whose_first_copy_is_staged_needs_no_room_any_more(
    computer: SourceComputer,
) -> None:
    assert computer.create().exit_code == Exit.OK
    computer.policies.record("docs", Progress(phase=SeedPhase.AWAITING_IMPORT))
    assert computer.findings("docs")["space"]["found"] == "the first copy is written already"


@pytest.mark.requirement("R30")
def test_no_other_program_is_needed(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert failed(computer.checked()) == {}
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK


@pytest.mark.requirement("R18")
def test_an_account_of_a_kind_without_page_blobs_fails(computer: SourceComputer) -> None:
    """Such an account cannot be made here; one that an older cloud holds is found all the same."""
    with computer.cloud.database.begin() as connection:
        connection.execute(update(tables.storage_accounts).values(kind="BlobStorage"))
    findings = computer.checked(code=Exit.REFUSED)
    assert failed(findings) == {"account-kind": "account-without-page-blobs"}


@pytest.mark.requirement("R12")
def test_a_computer_that_is_older_than_the_cloud_is_warned(
    computer: SourceComputer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overland.cloud.preflight.__version__", "99.0")
    found = computer.checked()["version"]
    assert (found["verdict"], "update" in found["advice"]) == ("warn", True)
