"""`overland group`, and what is settled once an offline policy is saved."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.registered import SourceComputer, registered, typed

from overland.adapters.posix import PosixFiles
from overland.agent.policy import Progress, SeedPhase
from overland.cli.outcome import Exit
from overland.seeding.staging import StagingLocation

SIX = (
    *("staging_location", "publish_settings", "job_name", "subscription_id", "storage_account"),
    "container",
)
OPTIONS = (
    *("--staging", "--publish-settings", "--job-name", "--subscription", "--storage-account"),
    "--container",
)


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with registered(tmp_path) as made:
        yield made


def ok(*words: object) -> Any:  # Any: JSON
    at = words.index("--") if "--" in words else len(words)  # behind it is another program's
    done = typed(*words[:at], "--json", *words[at:])
    assert done.exit_code == Exit.OK, done.output
    lines = done.stdout.splitlines()  # events come first: the program's own log is not set up here
    return json.loads("\n".join(lines[next(i for i, x in enumerate(lines) if x in "{[") :]))


def staged(computer: SourceComputer) -> dict[str, bytes]:
    return {
        str(path.relative_to(computer.staging)): path.read_bytes()
        for path in computer.staging.rglob("*")
        if path.is_file()
    }


def newest_files(target: Path) -> dict[str, bytes]:
    done = typed("restore", "newest", "--target", target)
    assert done.exit_code == Exit.OK, done.output
    return {
        "/" + str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }


@pytest.mark.requirement("R2", "R3", "R60", "R61", "R62", "R67", "R69", "R72")
def test_files_a_database_an_image_and_system_state_are_seeded_as_one(
    computer: SourceComputer,
) -> None:
    image = computer.folder / "disk.img"
    image.write_bytes(b"image" * 5000)
    create = ("group", "create", "harbour", "--source", computer.source, "--image", image)
    database = ("--command", "db/shop.sql", "--", "printf", "table")
    made = typed(*create, "--offline", *computer.six(), *database)
    assert made.exit_code == Exit.OK, made.output
    more = ok("group", "add", "harbour", "--system-state")["members"]
    kinds = {each["kind"] for each in more}
    assert kinds == {"files", "image", "command"}
    assert "/system-state/accounts" in {each["name"] for each in more}
    assert ok("group", "list")[0]["images"] == 1

    first = typed("group", "create-recovery-point", "harbour", "--online")
    assert first.exit_code == Exit.OK, first.output
    assert f"staging location: {computer.staging}" in first.stderr, "the policy's own value"
    assert "The first copy is complete" in first.stdout
    assert "Next: on the copy computer, overland disk prepare" in first.stdout
    assert str(computer.staging) in first.stdout

    world = computer.world
    assert list(computer.cloud.spaces.open(f"vaults/{world.vault_id}").names("packs/")) == [], (
        "nothing of the data went over the network"
    )
    files = newest_files(computer.folder / "restored")
    assert files[str(computer.source / "letter.txt")] == b"plain words\n" * 100
    assert files[str(image)] == image.read_bytes()
    assert files["/db/shop.sql"] == b"table"
    assert b"root" in files["/system-state/accounts"]

    before = staged(computer)
    again = ok("backup", "now", "harbour")
    assert again["outcome"]["phase"] == "AwaitingImport"
    assert staged(computer) == before, "neither a second full nor a delta goes to staging"


@pytest.mark.requirement("R58")
def test_a_group_may_grow_while_its_seed_travels_and_nothing_else_changes(
    computer: SourceComputer,
) -> None:
    assert computer.create("harbour").exit_code == Exit.OK
    assert typed("backup", "now", "harbour").exit_code == Exit.OK
    before = staged(computer)
    (computer.folder / "more").mkdir()
    (computer.folder / "more" / "new.txt").write_text("came later")

    for words in (
        ("policy", "change", "harbour", "--at", "12:00"),
        ("policy", "change", "harbour", "--keep-daily", "30"),
        ("policy", "change", "harbour", "--exclude", "*.tmp"),
        ("group", "remove", "harbour", computer.source),
        ("policy", "delete", "harbour", "--yes"),
    ):
        refused = typed(*words)
        assert (refused.exit_code, "[seed-under-way]" in refused.stderr) == (Exit.REFUSED, True)

    added = typed("group", "add", "harbour", "--source", computer.folder / "more")
    assert added.exit_code == Exit.OK, added.output
    assert "over the network; the drives travel as they are" in added.stdout
    ran = ok("backup", "now", "harbour")["outcome"]
    assert ran["phase"] == "AwaitingImport"
    files = newest_files(computer.folder / "restored")
    assert files[str(computer.folder / "more" / "new.txt")] == b"came later"
    assert str(computer.source / "letter.txt") in files
    assert staged(computer) == before

    replaced = typed("group", "add", "harbour", "--command", "x", "--", "true")
    assert replaced.exit_code == Exit.OK
    replaced = typed("group", "add", "harbour", "--command", "x", "--", "false")
    assert "[seed-under-way]" in replaced.stderr, "another program under its name is an edit"
    waiting = typed("policy", "change", "harbour", "--in-transit", "wait")
    assert waiting.exit_code == Exit.OK
    assert "when the seed is in the vault" in typed("group", "show", "harbour").stdout


@pytest.mark.parametrize("phase", [SeedPhase.AWAITING_IMPORT, SeedPhase.ADOPTING])
@pytest.mark.requirement("R58")
def test_members_are_removed_all_or_none(computer: SourceComputer, phase: SeedPhase) -> None:
    assert computer.create("harbour").exit_code == Exit.OK
    assert ok("group", "add", "harbour", "--command", "x", "--", "true")
    computer.policies.record("harbour", Progress(phase=phase))
    assert "[seed-under-way]" in typed("group", "remove", "harbour", "x").stderr
    computer.policies.record("harbour", Progress(phase=SeedPhase.ONLINE))
    refused = typed("group", "remove", "harbour", "x", "no-such-member")
    assert "[policy-invalid]" in refused.stderr
    assert len(ok("group", "show", "harbour")["members"]) == 2, "none was removed"
    assert len(ok("group", "remove", "harbour", "x")["members"]) == 1
    refused = typed("group", "remove", "harbour", computer.source)
    assert "at least one" in refused.stderr


@pytest.mark.requirement("R57")
def test_the_first_copy_method_cannot_be_changed_and_what_to_do_is_said(
    computer: SourceComputer,
) -> None:
    assert computer.create().exit_code == Exit.OK
    refused = typed("policy", "change", "docs", "--online")
    assert (refused.exit_code, "[first-copy-fixed]" in refused.stderr) == (Exit.REFUSED, True)
    for command in ("seed abandon docs", "policy delete docs", "policy create"):
        assert f"overland {command}" in refused.stderr
    assert "recovery points in the vault stay" in refused.stderr
    assert ok("policy", "show", "docs")["policy"]["first_copy"] == "offline"
    assert typed("policy", "change", "docs", "--offline", "--at", "12:00").exit_code == Exit.OK
    typed("policy", "create", "more", "--source", computer.source, "--online")
    assert "over the network" in typed("policy", "change", "more", "--offline").stderr


@pytest.mark.requirement("R54")
def test_a_job_name_belongs_to_one_account_and_several_policies_may_share_both(
    computer: SourceComputer,
) -> None:
    world = computer.world
    admin = computer.cloud.http(world.admin)
    other = world.account_id.replace(world.account, "otherdata")
    version = "?api-version=2021-01-01"
    admin.ok("PUT", other + version, {"location": "westeurope"})
    admin.ok("PUT", f"{other}/blobServices/default/containers/seeds{version}", {})
    assert computer.create("first").exit_code == Exit.OK
    refused = computer.create("second", storage_account="otherdata")
    assert (refused.exit_code, "[job-name-elsewhere]" in refused.stderr) == (Exit.REFUSED, True)
    assert computer.policies.names() == ["first"], "all or nothing"
    assert computer.create("second").exit_code == Exit.OK, "the same pair is accepted"
    for name in ("first", "second"):
        assert typed("backup", "now", name).exit_code == Exit.OK
    seeds = [json.loads(path.read_bytes()) for path in computer.staging.glob("seed-*/seed.json")]
    assert {seed["job_name"] for seed in seeds} == {"harbour-import-07"}
    assert {seed["policy"] for seed in seeds} == {"first", "second"}


@pytest.mark.requirement("R50", "R60")
@pytest.mark.parametrize("field", [name.removeprefix("--") for name in OPTIONS])
def test_each_of_the_six_is_needed(computer: SourceComputer, field: str) -> None:
    nothing: dict[str, Any] = {field.replace("-", "_"): None}
    refused = computer.create(**nothing)
    assert refused.exit_code == Exit.USAGE
    assert f"--{field}" in refused.stderr
    assert computer.policies.names() == []


@pytest.mark.requirement("R56", "R59")
def test_all_six_values_are_read_back_as_they_were_given(computer: SourceComputer) -> None:
    made = computer.create()
    assert f"staging location   {computer.staging}" in made.stdout
    assert "import job name    harbour-import-07" in made.stdout
    shown = ok("policy", "show", "docs")["policy"]
    given = dict(zip(computer.six()[0::2], computer.six()[1::2], strict=True))
    assert shown["first_copy"] == "offline"
    assert [shown["offline"][name] for name in SIX] == list(given.values())
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    [record] = computer.staging.glob("seed-*/seed.json")
    kept = json.loads(record.read_bytes())
    assert [kept[name] for name in SIX[2:]] == list(given.values())[2:], "staging holds them too"


@pytest.mark.requirement("R55")
def test_of_the_publish_settings_only_the_path_is_kept(computer: SourceComputer) -> None:
    text = computer.publish_settings.read_text()
    token = text.partition('Token="')[2].partition('"')[0].encode()
    assert token
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    kept = [*computer.home.rglob("*"), *computer.staging.rglob("*")]
    assert not any(token in path.read_bytes() for path in kept if path.is_file())


@pytest.mark.requirement("R8")
def test_a_new_member_of_a_kind_that_cannot_be_seeded_is_refused(computer: SourceComputer) -> None:
    assert computer.create("harbour").exit_code == Exit.OK
    refused = typed("group", "add", "harbour", "--source", "/proc")
    assert (refused.exit_code, "[system-state-refused]" in refused.stderr) == (Exit.REFUSED, True)
    refused = typed("group", "add", "harbour", "--source", computer.folder / "gone")
    assert "[source-offline]" in refused.stderr
    assert len(ok("group", "show", "harbour")["members"]) == 1
    assert typed("group", "add", "harbour").exit_code == Exit.USAGE


@pytest.mark.requirement("R4")
def test_system_state_is_refused_before_staging_and_files_of_the_computer_are_not(
    computer: SourceComputer,
) -> None:
    page = ("--offline", *computer.six())
    refused = typed("policy", "create", "docs", "--source", "/proc", *page)
    assert refused.exit_code == Exit.REFUSED
    assert "[system-state-refused]" in refused.stderr
    assert list(computer.staging.iterdir()) == []
    assert computer.create().exit_code == Exit.OK


def test_a_consistency_check_reads_what_size_and_times_hide(computer: SourceComputer) -> None:
    assert "[point-not-made]" in _checked_early(computer)
    letter = computer.source / "letter.txt"
    assert typed("group", "create-recovery-point", "docs", "--online").exit_code == Exit.OK
    state = letter.stat()
    letter.write_bytes(b"other words\n" * 100)
    os.utime(letter, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = typed("group", "consistency-check", "docs")
    assert done.exit_code == Exit.OK, done.output
    files = newest_files(computer.folder / "restored")
    assert files[str(letter)] == letter.read_bytes()


def _checked_early(computer: SourceComputer) -> str:
    assert typed("policy", "create", "docs", "--source", computer.source).exit_code == Exit.OK
    return typed("group", "consistency-check", "docs").stderr


def test_points_are_made_in_the_vault_only(computer: SourceComputer) -> None:
    assert computer.create("harbour").exit_code == Exit.OK
    assert typed("group", "create-recovery-point", "harbour").exit_code == Exit.USAGE


@pytest.mark.requirement("R63")
def test_the_schedule_writes_the_first_copy_when_nobody_did(computer: SourceComputer) -> None:
    assert computer.create().exit_code == Exit.OK
    done = typed("backup", "run-schedule", "--once")
    assert done.exit_code == Exit.OK, done.output
    [folder] = computer.staging.glob("seed-*")
    assert (folder / "READY").is_file()


@pytest.mark.requirement("R27")
def test_the_copy_computer_may_reach_staging_by_another_path(computer: SourceComputer) -> None:
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    elsewhere = computer.folder / "another" / "way"
    shutil.copytree(computer.staging, elsewhere)
    place = StagingLocation(str(elsewhere), files_of=lambda path: PosixFiles(Path(path)))
    [seed] = place.seeds()
    assert seed.why_not is None
    assert seed.record is not None
    assert seed.record.job_name == "harbour-import-07"


@pytest.mark.requirement("R31")
def test_a_cache_that_is_lost_while_drives_travel_costs_a_reading_and_nothing_else(
    computer: SourceComputer,
) -> None:
    assert computer.create().exit_code == Exit.OK
    assert typed("backup", "now", "docs").exit_code == Exit.OK
    before = staged(computer)
    shutil.rmtree(computer.home / "repository")
    made = ok("backup", "now", "docs")["outcome"]["made"]["statistics"]
    assert made["new_bytes"] < 1024, "the content is known from staging"
    assert staged(computer) == before
    files = newest_files(computer.folder / "restored")
    assert files[str(computer.source / "letter.txt")] == b"plain words\n" * 100


@pytest.mark.requirement("R10")
def test_both_guides_exist_and_name_each_other() -> None:
    guides = Path(__file__).parents[3] / "docs" / "how-to"
    server, group = "protect-a-server.md", "protect-several-workloads-as-a-group.md"
    for guide, other in ((server, group), (group, server)):
        text = (guides / guide).read_text()
        assert f"]({other})" in text
        assert "This guide is for" in text
