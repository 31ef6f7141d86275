"""The drawing of `bench.scale`'s curves."""

from xml.dom import minidom

from bench.plot import drawn


def test_every_measurement_is_a_mark_and_higher_costs_are_drawn_higher() -> None:
    files = [
        {"run": run, "files": count, "cpu_us_per_file": cost, "peak_mib": 100}
        for run, cost in (("first", 30.0), ("unchanged", 5.0))
        for count in (100_000, 1_000_000, 2_000_000)
    ]
    index = [
        {"terabytes": 1.0, "known_us_per_chunk": 2.0, "new_us_per_chunk": 1.0, "searched_gib": 0.1}
    ]
    marks = minidom.parseString(drawn({"files": files, "index": index})).getElementsByTagName(
        "circle"
    )
    assert len(marks) == 2 * len(files) + 3
    first, unchanged = (float(marks[at].getAttribute("cy")) for at in (0, 3))
    assert first < unchanged, "upwards is less"


def test_what_was_not_measured_has_no_panel() -> None:
    assert "chunk index" not in drawn({"files": [], "index": []})
