"""Exact search against NumPy's sort, for any vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.base.types import Float32
from models.index.index import ItemIndex


@st.composite
def searches(draw: st.DrawFn) -> tuple[Float32, Float32, int]:
    """Draw vectors, queries and k.

    Small whole numbers tie often, and their products are exact.
    """
    n, n_queries, dim = draw(st.integers(0, 40)), draw(st.integers(0, 25)), draw(st.integers(1, 5))
    whole = st.integers(-3, 3).map(float)
    items = draw(arrays(np.float32, (n, dim), elements=whole))
    queries = draw(arrays(np.float32, (n_queries, dim), elements=whole))
    return items, queries, draw(st.integers(1, 50))


@settings(deadline=None, max_examples=150)
@given(searches())
def test_equals_a_sort(drawn: tuple[Float32, Float32, int]) -> None:
    """Scores equal those of a sort; each row is unique and has its score."""
    items, queries, k = drawn
    products = queries @ items.T
    rows, scores = ItemIndex.build(items).search(queries, k)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    assert scores.tolist() == np.take_along_axis(products, order, axis=1).tolist()
    assert scores.tolist() == np.take_along_axis(products, rows, axis=1).tolist()
    assert all(len(set(found.tolist())) == len(found) for found in rows)
