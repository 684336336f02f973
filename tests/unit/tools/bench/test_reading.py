"""The benchmark of reading: every program reads every row, and ratios are of one run."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from streams.errors import InputError, RunError
from tools.bench import reading
from tools.bench.reading import Options, as_table, measure, options_of, run, with_ratios


@pytest.mark.model
def test_each_program_reads_all_rows_of_each_format() -> None:
    """A checkout of another commit is one more program; here it is this one."""
    result = run(Options(rows=3_000, repeats=1, before=reading.ROOT))
    found = [(row["format"], row["program"]) for row in result["table"]]
    assert found == [(kind, name) for kind in ("csv", "parquet") for name in ("headrace", "before", "pyarrow")]
    assert all(row["rows_per_s"] > 0 and row["memory_mb"] > 0 for row in result["table"])
    assert len(as_table(result)) == 7 and "1.00 x" in as_table(result)[1]


def test_ratios_are_to_headrace_on_the_same_format() -> None:
    """Twice as many rows a second is 2."""
    rows = [
        {"format": "csv", "program": name, "rows_per_s": rate} for name, rate in (("headrace", 6.0), ("before", 2.0))
    ]
    assert [row["times_as_fast"] for row in with_ratios(rows)] == [1.0, 3.0]


@pytest.mark.parametrize(("rows", "repeats", "before"), [(0, 1, None), (1, 0, None), (1, 1, Path("/nowhere"))])
def test_unusable_options_are_refused(rows: int, repeats: int, before: Path | None) -> None:
    """Each names the option."""
    with pytest.raises(InputError, match="^--(rows|repeats|before)"):
        options_of(argparse.Namespace(rows=rows, repeats=repeats, before=before))


def test_a_program_that_fails_or_loses_rows_ends_the_run(tmp_path: Path) -> None:
    """A rate of rows that were not read is none."""
    with pytest.raises(RunError, match="ended with code 1: ValueError: no"):
        measure("raise ValueError('no')", tmp_path, tmp_path, 1)
    with pytest.raises(RunError, match="has read 1 of 2 rows"):
        measure("print('[1, 1.0, 1.0]')", tmp_path, tmp_path, 2)
