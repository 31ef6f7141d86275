"""Every requirement has a test, or a sentence that says what is done instead."""

from tests.support.conformance import requirements, shown_by

from overland.cli.explain import explanations, originals

_LAST = 136


def test_the_catalogue_has_every_requirement_once_and_in_order() -> None:
    assert list(requirements()) == [f"R{number}" for number in range(1, _LAST + 1)]


def test_every_requirement_has_a_test_or_a_written_deviation() -> None:
    bare = [
        each.number
        for each in requirements().values()
        if not each.deviation and each.number not in shown_by()
    ]
    assert not bare, f"mark a test with these, or write what is done instead: {bare}"


def test_marks_name_requirements_that_exist() -> None:
    unknown = {
        number: tests for number, tests in shown_by().items() if number not in requirements()
    }
    assert not unknown


def test_every_code_of_the_original_leads_to_a_code_or_to_a_reason() -> None:
    for each in originals().values():
        assert bool(each.code) != bool(each.instead), each.original
        assert not each.code or each.code in explanations(), each.original
