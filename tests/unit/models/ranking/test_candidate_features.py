"""Places of candidates by score: exact, ties by column, padding last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.ranking.candidate_features import places_of


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_place_is_that_in_the_sorted_order(n: int, c: int, seed: int) -> None:
    """Of equal scores the earlier column comes first; candidates that are not valid come last."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, c)).astype(np.float32)
    valid = rng.random((n, c)) < 0.8
    columns = rng.integers(0, c, (n, 3))
    found = places_of(scores, valid, columns)
    for i in range(n):
        order = sorted(np.flatnonzero(valid[i]).tolist(), key=lambda column: (-scores[i, column], column))
        for j, column in enumerate(columns[i].tolist()):
            if valid[i, column]:
                assert found[i, j] == 1 + order.index(column)
