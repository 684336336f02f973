"""Bins of a reliability curve.

Merging loses no case, and no bin is too small to mean something.
"""

from __future__ import annotations

import pytest

from tools.reports.reliability import LEAST_CASES, Bin, merged_bins, wilson

TAIL = [(0.05, 0.04, 90_000.0), (0.3, 0.4, 600.0), (0.5, 0.2, 30.0), (0.7, 1.0, 5.0), (0.9, 0.0, 2.0)]


def moments(bins: list[Bin]) -> tuple[float, float, float]:
    """Return the cases, and the sums of probabilities and of positives."""
    return sum(b.cases for b in bins), sum(b.mean * b.cases for b in bins), sum(b.share * b.cases for b in bins)


def test_few_cases_at_the_end_join_their_neighbour() -> None:
    """Three bins of 37 cases leaped from 0.2 to 1 to 0.

    Merged, they are part of a bin with enough cases.
    """
    found = merged_bins(TAIL)
    assert [one.cases for one in found] == [90_000, 637]
    assert found[1].share == pytest.approx((600 * 0.4 + 30 * 0.2 + 5) / 637)


@pytest.mark.parametrize(
    "rows", [TAIL, TAIL[::-1], TAIL[2:], [(i / 15, i / 15, 40.0 * (i % 3)) for i in range(15)], [(0.5, 0.5, 1.0)]]
)
def test_merging_keeps_every_case_and_leaves_no_small_bin_but_one_alone(rows: list[tuple[float, float, float]]) -> None:
    found = merged_bins(rows)
    assert moments(found) == pytest.approx(moments([Bin(m, s, 0, 1, n) for m, s, n in rows]))
    assert len(found) == 1 or min(one.cases for one in found) >= LEAST_CASES
    assert all(0 <= one.low <= one.share + 1e-12 and one.share <= one.high + 1e-12 <= 1 + 1e-9 for one in found)


def test_no_rows_give_no_bins() -> None:
    assert merged_bins([]) == []


def test_an_interval_is_that_of_wilson() -> None:
    """10 of 100 gives 0.0552 to 0.1744 by the formula.

    More cases make the interval narrower; it stays within 0 and 1.
    """
    assert wilson(0.1, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert wilson(0.0, 5)[0] == 0.0 and wilson(1.0, 5)[1] == pytest.approx(1.0)
    assert wilson(0.1, 10_000)[1] < wilson(0.1, 100)[1]
