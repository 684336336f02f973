"""Exact search against NumPy's sort, for any vectors and any filter."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.base.types import Bool, Float32
from models.index.index import ItemIndex


@st.composite
def searches(draw: st.DrawFn) -> tuple[Float32, Float32, int, Bool]:
    """Draw vectors, queries, k and a mask.

    Small whole numbers tie often, and their products are exact.
    """
    n, n_queries, dim = draw(st.integers(0, 40)), draw(st.integers(0, 25)), draw(st.integers(1, 5))
    whole = st.integers(-3, 3).map(float)
    items = draw(arrays(np.float32, (n, dim), elements=whole))
    queries = draw(arrays(np.float32, (n_queries, dim), elements=whole))
    return items, queries, draw(st.integers(1, 50)), draw(arrays(np.bool_, n))


@settings(deadline=None, max_examples=150)
@given(searches())
def test_equals_a_sort(drawn: tuple[Float32, Float32, int, Bool]) -> None:
    """Scores equal those of a sort; each row is allowed, unique and has its score."""
    items, queries, k, mask = drawn
    products = queries @ items.T
    index = ItemIndex.build(items)
    for allowed in (None, mask):
        rows, scores = index.search(queries, k, allowed)
        kept = np.arange(len(items)) if allowed is None else np.flatnonzero(allowed)
        order = np.argsort(-products[:, kept], axis=1, kind="stable")[:, :k]
        assert scores.tolist() == np.take_along_axis(products[:, kept], order, axis=1).tolist()
        assert scores.tolist() == np.take_along_axis(products, rows, axis=1).tolist()
        assert np.isin(rows, kept).all()
        assert all(len(set(found.tolist())) == len(found) for found in rows)
