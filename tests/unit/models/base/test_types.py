"""Behaviours in columns are the same behaviours."""

from __future__ import annotations

import numpy as np

from models.base.types import Behaviour, Behaviours
from models.sequence.packing import pack

ROWS = [Behaviour("i1", "view", 1_000), Behaviour("gone", "click", 2_000), Behaviour("i2", "purchase", 90_000)]


def test_columns_give_the_behaviours_back() -> None:
    columns = Behaviours.of(ROWS)
    assert list(columns) == ROWS and len(columns) == 3
    assert columns[-1] == ROWS[-1] and list(columns[1:]) == ROWS[1:]
    assert Behaviours.of(columns) is columns
    assert list(Behaviours.of([])) == [] == list(Behaviours())


def test_a_window_is_packed_equal_in_columns_and_in_rows() -> None:
    """Unknown items and types that a model does not know included; only the newest count."""
    row_of = {"i1": 4, "i2": 7}
    rows = [*ROWS, Behaviour("i1", "of-tomorrow", 100_000)] * 3
    for max_length in (2, 50):
        one, other = (pack([window, []], row_of, max_length) for window in (rows, Behaviours.of(rows)))
        for name in ("rows", "types", "gaps", "lengths"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert pack([Behaviours.of(rows)], row_of, 50).rows[0].tolist() == [4, 7, 4] * 3
