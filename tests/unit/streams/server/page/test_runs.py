"""Reports of runs, side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streams.server.page import runs_page
from streams.server.page.runs_page import cell, read_runs, run_of, tables

EVALUATION = {
    "protocol": "loo", "targets": "last", "ties": "file", "policy": "never", "cases": 10, "data": {"log": "a.csv"},
    "artifact": "art", "models": {"pipeline": {"hr@10": 0.5, "hr@10_ci": [0.1, 0.2]}, "popularity": {"hr@10": 0.1}},
}  # fmt: skip


def test_runs_are_compared_only_where_they_can_be() -> None:
    """Another log, or other cases, is another table; a drill says its longest pause."""
    drill = {"kind": "kill", "problems": ["a", "b"], "lost": 2, "downtime_s": {"max": 6.25, "each": [1]}, "faults": []}
    runs = [
        run_of("one", EVALUATION),
        run_of("two", EVALUATION | {"artifact": "new"}),
        run_of("three", EVALUATION | {"cases": 11}),
        run_of("kill", drill),
        run_of("old", {"run": "r", "sent": 5, "first_ts": 1}),
        run_of("bench", {"events_per_s": 7.5, "name": "x"}),
    ]
    found = tables(runs)
    assert [(table.kind, [name for name, _ in table.rows]) for table in found] == [
        ("drill", ["kill"]), ("evaluation", ["one", "two"]), ("evaluation", ["three"]),
        ("other", ["bench"]), ("replay", ["old"]),
    ]  # fmt: skip
    assert found[0].columns == ["kind", "lost", "downtime_s.max", "problems"]
    assert found[0].rows == [("kill", ["kill", "2", "6.25", "2"])]
    assert found[1].columns == ["artifact", "hr@10"] and found[1].rows[1] == ("two", ["new", "0.5"])
    assert "a.csv" in found[1].group and "n=10" in found[1].group
    assert (found[3].columns, found[4].columns) == (["events_per_s"], ["run", "sent"])


def test_the_newest_reports_are_read_and_what_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress before the report is passed over; no link is followed and no long file is read."""
    monkeypatch.setattr(runs_page, "MAX_BYTES", 2_000)
    (tmp_path / "a.json").write_text(f"12 events\n{json.dumps(EVALUATION)}\n")
    (tmp_path / "b.json").write_text(json.dumps(EVALUATION, indent=1))
    (tmp_path / "c.json").write_text("[]")
    (tmp_path / "d.json").write_bytes(b"\xff")
    (tmp_path / "e.json").write_text(json.dumps(EVALUATION | {"pad": "x" * 2_000}))
    (tmp_path / "f.json").symlink_to(tmp_path / "a.json")
    (tmp_path / "g.txt").write_text("{}")
    for n, name in enumerate("ab"):
        os.utime(tmp_path / f"{name}.json", (n, n))
    runs, left_out = read_runs(str(tmp_path))
    assert [run.name for run in runs] == ["b", "a"]
    assert sorted(left_out) == ["c.json", "d.json", "e.json", "f.json"]
    assert read_runs(str(tmp_path / "none")) == ([], [f"{tmp_path}/none: No such file or directory"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "true"), (12_345, "12,345"), (0.123456, "0.1235"), (123_456.7, "123,457"),
     (float("nan"), "-"), ([1, 2], "2"), ({}, "-"), ("x" * 99, f"{'x' * 59}…")],
)  # fmt: skip
def test_a_cell_is_readable(value: object, text: str) -> None:
    """Numbers are short, a list is counted, and what is no value is a dash."""
    assert cell(value) == text
