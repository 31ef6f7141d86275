"""The wizard of `overland policy create`, at a real pseudo-terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.registered import SourceComputer, Terminal, registered, typed

from overland.cli.outcome import Exit

STOPPED = "stopped; run the same command again to go on"


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceComputer]:
    monkeypatch.setenv("OVERLAND_HOME", str(tmp_path / "home"))
    with registered(tmp_path) as made:
        yield made


def at_terminal(computer: SourceComputer, *words: object) -> Terminal:
    home = {"OVERLAND_HOME": str(computer.folder / "home")}
    return Terminal(["policy", "create", *words], environment=home)


def to_the_page(computer: SourceComputer) -> Terminal:
    """Answer what comes before the six fields."""
    terminal = at_terminal(computer)
    for question, answer in (
        ("Name of the policy: ", "docs"),
        ("Folder or file to protect: ", str(computer.source)),
        ("Another one (- for no more) [-]: ", ""),
        ("Times of day [22:00]: ", ""),
        ("1 or 2: ", "2"),
    ):
        terminal.until(question)
        terminal.answer(answer)
    return terminal


@pytest.mark.requirement("R49", "R50", "R51", "R52", "R56")
def test_every_rule_is_kept_at_its_own_prompt_and_the_question_comes_again(
    computer: SourceComputer,
) -> None:
    terminal = at_terminal(computer)
    world, other = computer.world, "99999999-2222-3333-4444-555555555555"
    for question, wrong, code, right in (
        ("Name of the policy: ", ["Docs", ""], "policy-invalid", "docs"),
        ("Folder or file to protect: ", ["-"], "policy-invalid", str(computer.source)),
        ("Another one (- for no more) [-]: ", [], "", "-"),
        ("Times of day [22:00]: ", ["22:15", "1:00"], "policy-invalid", "12:30, 22:00"),
        ("1 or 2: ", ["3", "yes"], "policy-invalid", "2"),
        ("copy computer sees: ", [r"\\files", "C:"], "staging-path-malformed", computer.staging),
        ("settings file: ", ["/nowhere"], "publish-settings-invalid", computer.publish_settings),
        ("Import job name: ", ["a", "9a", "Ab", "a b", "a" * 65], "policy-invalid", "ab"),
        ("Subscription id: ", [other], "subscription-not-in-file", world.subscription_id),
        ("Storage account: ", ["ab", "A" * 3, "a" * 25], "policy-invalid", world.account),
        (
            "Container: ",
            ["ab", "a--b", "-ab", "a" * 64],
            "policy-invalid",
            computer.world.container,
        ),
    ):
        for answer in wrong:
            terminal.until(question)
            terminal.answer(answer)
            if answer:  # an empty line is no answer; the question comes again by itself
                assert f"[{code}]" in terminal.until(f"[{code}]")
        terminal.until(question)
        terminal.answer(str(right))
    summary = terminal.until("Save the policy docs? Type yes to go on")
    assert str(computer.staging) in summary
    terminal.answer("Yes")
    assert terminal.end() == Exit.OK, terminal.shown
    kept = terminal.shown.partition("Keep these two")[2]
    assert str(computer.staging) in kept
    assert "import job name    ab" in kept

    shown = json.loads(typed("policy", "show", "docs", "--json").stdout)["policy"]
    assert shown["schedule"]["times"] == ["12:30", "22:00"]
    assert shown["first_copy"] == "offline"
    assert shown["offline"] == {
        "staging_location": str(computer.staging),
        "publish_settings": str(computer.publish_settings),
        "job_name": "ab",
        "subscription_id": computer.world.subscription_id,
        "storage_account": computer.world.account,
        "container": computer.world.container,
    }


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["ctrl-c", "end-of-input"])
def test_who_goes_away_in_the_middle_has_saved_nothing(
    computer: SourceComputer, key: bytes
) -> None:
    terminal = to_the_page(computer)
    terminal.until("copy computer sees: ")
    assert terminal.interrupt(key) == Exit.ERROR
    assert STOPPED in terminal.shown
    assert "Traceback" not in terminal.shown
    assert computer.policies.names() == []


def test_whatever_is_not_yes_saves_nothing(computer: SourceComputer) -> None:
    terminal = to_the_page(computer)
    for question, answer in (
        ("copy computer sees: ", computer.staging),
        ("settings file: ", computer.publish_settings),
        ("Import job name: ", "ab"),
        ("Subscription id: ", computer.world.subscription_id),
        ("Storage account: ", computer.world.account),
        ("Container: ", computer.world.container),
        ("Type yes to go on", "y"),
    ):
        terminal.until(question)
        terminal.answer(str(answer))
    assert terminal.end() == Exit.REFUSED
    assert "[declined]" in terminal.shown
    assert computer.policies.names() == []


@pytest.mark.requirement("R49")
def test_over_the_network_no_field_of_the_page_is_asked_for(computer: SourceComputer) -> None:
    terminal = at_terminal(computer, "docs", "--source", computer.source, "--at", "12:00")
    assert terminal.end() == Exit.OK, "options say it all"
    assert computer.policies.load("docs").first_copy == "network"
    terminal = at_terminal(computer, "more", "--at", "12:00", "--online")
    terminal.until("Folder or file to protect: ")
    terminal.answer(str(computer.source))
    terminal.until("Another one (- for no more) [-]: ")
    terminal.answer("")
    terminal.until("Save the policy more?")
    terminal.answer("yes")
    assert terminal.end() == Exit.OK, terminal.shown
    assert "Staging location" not in terminal.shown


def test_a_failed_preflight_is_shown_and_nothing_is_saved(computer: SourceComputer) -> None:
    terminal = to_the_page(computer)
    for question, answer in (
        ("copy computer sees: ", computer.staging),
        ("settings file: ", computer.publish_settings),
        ("Import job name: ", "ab"),
        ("Subscription id: ", computer.world.subscription_id),
        ("Storage account: ", computer.world.account),
        ("Container: ", "another"),
    ):
        terminal.until(question)
        terminal.answer(str(answer))
    assert terminal.end() == Exit.REFUSED
    assert "[container-absent]" in terminal.shown
    assert "[preflight-failed]" in terminal.shown
    assert computer.policies.names() == []


def test_without_a_terminal_nobody_is_asked() -> None:
    assert typed("policy", "create").exit_code == Exit.USAGE
