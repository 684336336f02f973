"""The exact and the ivf index pass the same tests, and refuse the same input."""

from __future__ import annotations

import numpy as np
import pytest

import models.index.index as index_module
from models.base.types import Float32, Int64
from models.index.faiss_kinds import Kind, build_ivf
from models.index.index import ItemIndex
from models.index.recall import measured_recall

KINDS: tuple[Kind, ...] = ("exact", "ivf")


def vectors(n: int, dim: int = 8, seed: int = 1) -> Float32:
    """Return seeded vectors in eight clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((8, dim))
    return (centres[rng.integers(8, size=n)] + 0.5 * rng.standard_normal((n, dim))).astype(np.float32)


def exact_rows(items: Float32, queries: Float32, k: int) -> Int64:
    """Return the best rows by comparing with everything."""
    order: Int64 = np.argsort(-(queries @ items.T), axis=1)[:, :k]
    return order


def share_found(found: Int64, wanted: Int64) -> float:
    """Return the mean share of wanted rows that were found."""
    return float(np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)]))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind in turn."""
    return request.param  # type: ignore[no-any-return]


def build(items: Float32, kind: Kind) -> ItemIndex:
    """Return an index of this kind: with a high target a small one would become exact."""
    index = ItemIndex.build(items, kind=kind, recall_target=0.3)
    assert index.kind == (kind if len(items) else "exact")
    return index


def test_an_exact_index_equals_a_sort() -> None:
    """Same rows, same order, same scores."""
    items, queries = vectors(200), vectors(7, seed=2)
    rows, scores = ItemIndex.build(items).search(queries, 10)
    assert rows.tolist() == exact_rows(items, queries, 10).tolist()
    np.testing.assert_allclose(scores, -np.sort(-(queries @ items.T), axis=1)[:, :10], rtol=1e-5, atol=1e-5)


def test_scores_belong_to_their_rows(kind: Kind) -> None:
    """Scores are inner products in full precision, falling; no row repeats."""
    items, queries = vectors(600), vectors(9, seed=2)
    rows, scores = build(items, kind).search(queries, 50)
    for query, found, given in zip(queries, rows, scores, strict=True):
        assert len(set(found.tolist())) == 50
        np.testing.assert_allclose(given, items[found] @ query, rtol=1e-6, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert rows.dtype == np.int64 and scores.dtype == np.float32


@pytest.mark.parametrize("n", [0, 1, 2, 3, 40, 300])
def test_the_answer_is_as_wide_as_promised(kind: Kind, n: int) -> None:
    """A search for more rows than exist returns each row once, and never FAISS's -1."""
    rows, scores = ItemIndex.build(vectors(n), kind=kind, recall_target=0.3).search(vectors(2), 400)
    assert np.sort(rows, axis=1).tolist() == [list(range(n))] * 2
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_vectors_that_are_all_equal(kind: Kind, value: float) -> None:
    """All vectors are equally near: any rows are right, in the number asked for."""
    index = ItemIndex.build(np.full((300, 8), value, np.float32), kind=kind, recall_target=0.3)
    rows, scores = index.search(np.ones((2, 8)), 120)
    assert all(len(set(found.tolist())) == 120 for found in rows)
    assert (scores == 8 * value).all()


def test_what_is_found_too_little_is_filled() -> None:
    """A search for more rows than the cells looked into hold answers exactly."""
    items = np.concatenate([vectors(500) + 20, vectors(500, seed=5) - 20]).astype(np.float32)
    index = build(items, "ivf")
    rows, scores = index.search(items[:3], 900)
    assert all(len(set(found.tolist())) == 900 for found in rows)
    np.testing.assert_allclose(scores, -np.sort(-(items[:3] @ items.T), axis=1)[:, :900], rtol=1e-6)


def test_the_recall_target_holds() -> None:
    """An approximate index has about its measured recall on other queries too."""
    items, queries = vectors(8_000), vectors(200, seed=2)
    index = ItemIndex.build(items, kind="ivf", recall_target=0.95)
    assert index.kind == "ivf" and 0.95 <= index.recall < 1 and not index.tuning.fallback
    assert share_found(index.search(queries, 100)[0], exact_rows(items, queries, 100)) > 0.93


def test_more_recall_takes_more_effort() -> None:
    """The index takes the least effort that reaches the target."""
    efforts = [ItemIndex.build(vectors(3_000), kind="ivf", recall_target=t).tuning.effort for t in (0.2, 0.7, 0.95)]
    assert efforts == sorted(set(efforts))


def test_falls_back_to_exact_and_says_so() -> None:
    """Four bits tell 20,000 values of one column too little apart to find the best 100."""
    values = np.random.default_rng(1).random((20_000, 1)).astype(np.float32)
    index = ItemIndex.build(values, kind="ivf", recall_target=0.98)
    assert index.kind == "exact" and index.recall == 1.0
    assert index.tuning.fallback.startswith("ivf finds 0.")


def test_values_that_are_no_embeddings_are_searched_exactly() -> None:
    """One great value would leave the others no levels of the four bits."""
    items = vectors(600)
    items[7] = 70_000.0
    index = ItemIndex.build(items, kind="ivf", recall_target=0.3)
    assert index.kind == "exact" and index.tuning.fallback.startswith("a value of 7e+04 does not fit")
    assert index.search(-items[7:8], 5)[0].tolist() == exact_rows(items, -items[7:8], 5).tolist()


def test_auto_goes_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` is exact up to the limit and ivf beyond."""
    monkeypatch.setattr(index_module, "EXACT_UP_TO", 500)
    assert ItemIndex.build(vectors(500)).kind == "exact"
    assert ItemIndex.build(vectors(501), recall_target=0.5).kind == "ivf"


def test_recall_counts_ties_and_not_gaps() -> None:
    """Of two answers, with a last exact score of 3, one is as good and one is missing."""
    scores = np.array([[3.0, 9.0]], np.float32)
    exact = np.array([[5.0, 3.0]], np.float32)
    assert measured_recall(scores, np.array([[7, -1]]), exact, np.zeros(1, np.float32)) == 0.5
    assert measured_recall(scores, np.array([[7, 4]]), exact, np.zeros(1, np.float32)) == 1.0
    assert measured_recall(scores - 1, np.array([[7, 4]]), exact, np.zeros(1, np.float32)) == 0.5


def test_one_seed_one_index(kind: Kind) -> None:
    """Two builds give the same answers and tuning; another seed gives other cells."""
    items, queries = vectors(900), vectors(20, seed=2)
    first, second = build(items, kind), build(items, kind)
    assert first.tuning == second.tuning
    assert first.search(queries, 30)[0].tolist() == second.search(queries, 30)[0].tolist()
    if kind == "ivf":
        other = [build_ivf(items, seed) for seed in (1, 2)]
        assert not np.array_equal(*[index.quantizer.reconstruct_n(0, 10) for index in other])


def test_builds_and_searches_in_silence(kind: Kind, capfd: pytest.CaptureFixture[str]) -> None:
    """FAISS would warn on stderr about few training points."""
    build(vectors(60), kind).search(vectors(3), 5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_refuses_what_is_not_finite(kind: Kind, bad: float) -> None:
    """One NaN vector would poison every search; the message names it."""
    items = vectors(300).astype(np.float64)
    items[1, 2] = bad
    with np.errstate(over="ignore"):
        with pytest.raises(ValueError, match="vectors: vector 1 is not finite"):
            ItemIndex.build(items, kind=kind)
        with pytest.raises(ValueError, match="queries: vector 1 is not finite"):
            build(vectors(300), kind).search(items, 5)


def test_refuses_products_beyond_float32(kind: Kind) -> None:
    """Finite vectors can have an infinite product."""
    items = vectors(300)
    items[4] = 1e30
    with pytest.raises(ValueError, match="an inner product is beyond float32"):
        ItemIndex.build(items, kind=kind).search(items[4:5], 5)


def test_refuses_other_shapes(kind: Kind) -> None:
    """The message names what must change."""
    with pytest.raises(ValueError, match="queries of width 5: must be 8"):
        build(vectors(3), kind).search(vectors(1, dim=5), 1)
    with pytest.raises(ValueError, match="k=0: must be at least 1"):
        build(vectors(3), kind).search(vectors(1), 0)


@pytest.mark.parametrize("setting", [{"kind": "hnsw"}, {"recall_target": 0.0}, {"recall_target": 1.01}, {"seed": -1}])
def test_refuses_settings_out_of_range(setting: dict[str, object]) -> None:
    """The message begins with the setting and its value."""
    (name, value), *_ = setting.items()
    with pytest.raises(ValueError, match=f"^{name}={value!r}: must be"):
        ItemIndex.build(vectors(3), **setting)  # type: ignore[arg-type]


def test_a_query_has_one_answer_alone_and_among_others() -> None:
    """Lists do not depend on the batch: cells are compared for each query by itself."""
    items, queries = vectors(5_000, dim=33), vectors(40, dim=33, seed=2)
    index = ItemIndex.build(items, kind="ivf", recall_target=0.95)
    assert index.kind == "ivf"
    together = index.search(queries, 60)[0]
    assert [index.search(queries[row : row + 1], 60)[0][0].tolist() for row in range(40)] == together.tolist()
    assert index.search(queries[::-1], 60)[0].tolist() == together[::-1].tolist()


def test_a_query_that_is_near_nothing_gets_rows_all_the_same() -> None:
    """All products are 0, so any rows are right, in the number asked for."""
    rows, scores = build(vectors(600), "ivf").search(np.zeros((2, 8)), 50)
    assert all(len(set(found.tolist())) == 50 for found in rows)
    assert (scores == 0).all()
