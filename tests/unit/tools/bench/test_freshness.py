"""``headrace bench freshness`` names the highest rate that holds.

It refuses rates out of range.
"""

from __future__ import annotations

import pytest

from streams.errors import InputError
from tests.support.programs import arguments
from tools.bench import freshness
from tools.bench.freshness import highest_below, options_of


def test_the_highest_rate_is_below_every_rate_that_fails() -> None:
    def row(rate: float, p99: float | None, unanswered: int = 0) -> dict[str, object]:
        return {"rate_per_s": rate, "events": {"p99": p99}, "unanswered": unanswered}

    assert highest_below([row(1, 100), row(2, 299.9), row(3, 300), row(4, 10)]) == 2
    assert highest_below([row(1, None)]) is None
    assert highest_below([row(1, 100), row(2, 100, unanswered=1)]) == 1


@pytest.mark.parametrize("rates", ["0", "nan", "x", "50,30000", ""])
def test_rates_out_of_range_are_refused(rates: str) -> None:
    with pytest.raises(InputError, match="--rates"):
        options_of(arguments(freshness, "--rates", rates))
