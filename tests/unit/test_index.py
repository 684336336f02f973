"""The FAISS index against exact search, and what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from models.index import ItemIndex


def vectors(n: int, dim: int = 8, seed: int = 1) -> np.ndarray:
    """Return seeded vectors."""
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def test_equals_exact_search() -> None:
    """A flat index is exact: same rows, same order, same scores."""
    items, queries = vectors(200), vectors(7, seed=2)
    rows, scores = ItemIndex.build(items).search(queries, 10)
    exact = queries @ items.T
    assert rows.tolist() == np.argsort(-exact, axis=1)[:, :10].tolist()
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :10], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_items_than_asked_for(n: int) -> None:
    """FAISS's -1 never escapes: the answer is as wide as there are items."""
    rows, _ = ItemIndex.build(vectors(n)).search(vectors(2), 10)
    assert rows.shape == (2, n)
    assert (rows >= 0).all()


def test_upsert_replaces_and_leaves_the_old_one_alone() -> None:
    """A reader keeps its snapshot; a row has one vector."""
    old = ItemIndex.build(vectors(5))
    far = np.full((1, 8), 100.0, dtype=np.float32)
    new = old.upserted(far, np.array([3]))
    assert len(new) == 5
    assert new.search(far, 1)[0].tolist() == [[3]]
    assert old.search(far, 5)[1].max() < 1_000 < new.search(far, 1)[1].max()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_finite(bad: float) -> None:
    """One NaN vector would poison every search."""
    items = vectors(3)
    items[1, 2] = bad
    with pytest.raises(ValueError):
        ItemIndex.build(items)


def test_refuses_repeated_rows_and_other_widths() -> None:
    """FAISS keeps duplicate ids and returns both."""
    with pytest.raises(ValueError):
        ItemIndex.build(vectors(2), np.array([4, 4]))
    with pytest.raises(ValueError):
        ItemIndex.build(vectors(3)).search(vectors(1, dim=5), 1)
