"""The drawing of `bench.scale`'s curves."""

from xml.dom import minidom

from bench.plot import drawn


def test_every_measurement_is_a_mark_and_higher_costs_are_drawn_higher() -> None:
    files = [
        {
            "run": run,
            "files": count,
            "cpu_us_per_file": cost,
            "user_us_per_file": cost / 2,
            "peak_mib": 100,
        }
        for run, cost in (("first", 30.0), ("unchanged", 5.0))
        for count in (100_000, 1_000_000, 2_000_000)
    ]
    index = [
        {"terabytes": 1.0, "known_us_per_chunk": 2.0, "new_us_per_chunk": 1.0, "searched_gib": 0.1}
    ]
    marks = minidom.parseString(drawn({"files": files, "index": index})).getElementsByTagName(
        "circle"
    )
    assert len(marks) == 3 * len(files) + 3
    first, unchanged, program = (float(marks[at].getAttribute("cy")) for at in (0, 3, 6))
    assert first < program < unchanged, "upwards is less"


def test_what_was_not_measured_has_no_panel() -> None:
    assert "chunk index" not in drawn({"files": [], "index": []})


def test_figures_of_an_older_version_are_drawn_as_far_as_they_go() -> None:
    files = [{"run": "first", "files": 1000, "cpu_us_per_file": 3.0, "peak_mib": 100}]
    marks = minidom.parseString(drawn({"files": files})).getElementsByTagName("circle")
    assert len(marks) == 2
