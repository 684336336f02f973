"""Lists: no seen item, no repeat, full length, the same alone and in a batch."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from models.base.scalar_features import FEATURES
from models.base.types import Behaviour
from models.features.columns import Row
from models.ranking.candidates import gather
from models.ranking.pipeline import Catalogue, Pipeline, RankedList, build_catalogue, recent_counts
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import (
    T0,
    artifact,
    catalogue,
    featured_artifact,
    featured_data,
    text_of,
    text_vectors,
    user_features,
    window,
)

pytestmark = pytest.mark.model

WINDOWS = [
    window("i03"),
    window(*(f"i{i:02}" for i in range(0, 24, 2))),
    [],
    window("unknown"),
    window("i05", "unknown", "i05", "i07", "i00"),
    window("i23", "i00", "i01"),
]


def ids(ranked: RankedList) -> list[str]:
    """Return a list's items."""
    return [item.item_id for item in ranked.items]


@cache
def large_catalogue() -> Catalogue:
    """Return a catalogue with many more items than retrieval brings, most of them new."""
    known = text_vectors(artifact().manifest.item_ids)
    names = [f"n{i:03}" for i in range(300)]
    new = FakeEncoder(16).encode([f"word{i} group{i % 3} colour{i % 7}" for i in range(300)])
    return build_catalogue(artifact(), known | dict(zip(names, new, strict=True)), 2)


@pytest.mark.parametrize("n_candidates", [4, 100])
def test_a_batch_gives_what_single_windows_give(n_candidates: int) -> None:
    """Other users in the batch change neither items, scores nor sources."""
    pipeline = Pipeline(artifact(), k=4, n_candidates=n_candidates)
    together = pipeline.recommend(large_catalogue(), WINDOWS)
    assert len(together) == len(WINDOWS)
    for found, single in zip(together, WINDOWS, strict=True):
        alone = pipeline.recommend(large_catalogue(), [single])[0]
        assert ids(found) == ids(alone)
        assert found.degraded == alone.degraded
        assert [item.because for item in found.items] == [item.because for item in alone.items]
        for one, other in zip(found.items, alone.items, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert {name: rank for name, (rank, _) in one.sources.items()} == {
                name: rank for name, (rank, _) in other.sources.items()
            }
        np.testing.assert_allclose(found.user_vector, alone.user_vector, atol=1e-5)
        np.testing.assert_allclose(found.factors, alone.factors, atol=1e-5)


def test_nothing_the_user_has_had_is_listed_and_nothing_twice() -> None:
    """Items of the window, also those beyond the model's length, and of extra_seen never appear."""
    extra = [{"i10", "i11", "gone"}, set(), {"i00", "i01", "i02"}, set(), {"i08"}, {"i02", "i03"}]
    long = window(*(f"i{i:02}" for i in range(16)))  # the model looks at the newest ten
    for window_, had, ranked in zip(
        [*WINDOWS, long],
        [*extra, set()],
        Pipeline(artifact(), k=24).recommend(catalogue(), [*WINDOWS, long], [*extra, set()]),
        strict=True,
    ):
        seen = {behaviour.item_id for behaviour in window_} | had
        assert not seen & set(ids(ranked))
        assert len(set(ids(ranked))) == len(ids(ranked))
        assert set(ids(ranked)) == set(catalogue().item_ids) - seen


@pytest.mark.parametrize("k", [1, 5, 10, 40])
def test_a_list_has_k_items_or_all_there_are(k: int) -> None:
    """A list has k items, or all unseen items where there are fewer."""
    for window_, ranked in zip(WINDOWS, Pipeline(artifact(), k=k).recommend(catalogue(), WINDOWS), strict=True):
        had = {behaviour.item_id for behaviour in window_} & set(catalogue().item_ids)
        assert len(ranked.items) == min(k, 24 - len(had))


def test_a_list_is_filled_with_popular_items_where_all_candidates_were_had() -> None:
    """A user who has had all candidates gets popular items with score 0."""
    found = large_catalogue()
    first = Pipeline(artifact(), k=324, n_candidates=324).recommend(found, [WINDOWS[0]])[0]
    brought = Pipeline(artifact(), k=10, n_candidates=10).recommend(found, [WINDOWS[0]], [set(ids(first)[:-12])])[0]
    assert len(brought.items) == 10
    assert {item.item_id for item in brought.items} <= set(ids(first)[-12:])
    filled = [item for item in brought.items if item.score == 0.0]
    assert filled
    assert brought.items[-len(filled) :] == tuple(filled)
    assert all(set(item.sources) == {"popular"} and item.because is None for item in filled)


def test_scores_fall_and_are_probabilities() -> None:
    """The best item is first."""
    for ranked in Pipeline(artifact(), k=24).recommend(catalogue(), WINDOWS):
        scores = [item.score for item in ranked.items]
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert len(set(scores)) > 1


@pytest.mark.parametrize("cold", [[], window("unknown", "gone")])
def test_without_a_known_item_the_list_is_popular_and_says_so(cold: list[Behaviour]) -> None:
    """Empty windows and unknown items get popular lists, with that source and no reason."""
    ranked, warm = Pipeline(artifact(), k=5).recommend(catalogue(), [cold, window("i03")])
    assert ranked.degraded == "popular"
    assert len(ranked.items) == 5
    assert all(set(item.sources) == {"popular"} and item.because is None for item in ranked.items)
    assert ranked.user_vector.tolist() == [0.0] * 16 + [1.0]
    assert not ranked.factors.any()
    assert warm.degraded == "none"


def test_a_new_item_is_found_by_its_text() -> None:
    """A new item with the text of a window's item is listed, with source content."""
    vectors = text_vectors(artifact().manifest.item_ids)
    vectors["fresh"] = FakeEncoder(16).encode([text_of("i03")])[0]
    found = build_catalogue(artifact(), vectors, 3)
    ranked = Pipeline(artifact(), k=24).recommend(found, [window("i02", "i03")])[0]
    fresh = next(item for item in ranked.items if item.item_id == "fresh")
    assert "content" in fresh.sources
    assert not {"retrieval", "mf", "next", "neighbours"} & set(fresh.sources)
    assert fresh.because == "i03"
    assert not any("content" in item.sources for item in ranked.items if item.item_id != "fresh")


def test_an_item_that_nobody_has_had_keeps_its_share_of_retrieval() -> None:
    """Such an item keeps retrieval's share until its first event; then fusion ranks it."""
    hates_new = copy.deepcopy(artifact().fusion)
    with torch.no_grad():
        hates_new.shortcut.weight[0, FEATURES.index("is_new")] = -1_000.0
        hates_new.feature_scale[FEATURES.index("is_new")] = 1.0
    sullen = replace(artifact(), fusion=hates_new)
    vectors = text_vectors(artifact().manifest.item_ids)
    vectors["fresh"] = FakeEncoder(16).encode([text_of("i03")])[0]
    unseen = build_catalogue(sullen, vectors, 3)
    windows = [window("i02", "i03")]
    found = gather(sullen, unseen, windows, None, 24)
    pipeline = Pipeline(sullen, k=10)
    probabilities = pipeline.probabilities(unseen, found)
    place = np.flatnonzero((found.rows[0] == unseen.row_of["fresh"]) & found.valid[0])[0]
    share = found.features[0, place, FEATURES.index("retrieval_share")]
    scale, offset = hates_new.calibration.tolist()
    others = found.valid[0] & (np.arange(found.rows.shape[1]) != place)
    shrunk = share - np.log1p(np.exp(share))  # the others' mass and its own add up to more than one
    assert probabilities[0, place] == pytest.approx(1 / (1 + np.exp(-scale * shrunk - offset)), rel=1e-4)
    assert probabilities[0, others].max() > 0
    counted = {item_id: 1.0 for item_id in vectors}
    had = unseen.with_popularity(np.array([counted[item_id] for item_id in unseen.item_ids], dtype=np.float32))
    assert not had.is_unseen.any()
    assert pipeline.probabilities(had, found)[0, place] < 1e-6


def test_a_window_of_new_items_alone_is_not_cold() -> None:
    """A behaviour on a new item counts at once."""
    ranked = Pipeline(artifact(), k=5).recommend(large_catalogue(), [window("n001", "n004")])[0]
    assert ranked.degraded == "none"
    reasons = {item.because for item in ranked.items if item.score > 0}
    assert reasons <= {"n001", "n004", None} and reasons != {None}
    assert np.abs(ranked.user_vector[:-1]).max() > 0.01


def test_the_reason_is_an_item_of_the_window_that_has_the_listed_one_among_its_nearest() -> None:
    """A reason is near by vectors, common users or followers; without one it is None."""
    shown, near = catalogue(), 3
    cosines = shown.unit @ shown.unit.T - 3.0 * np.eye(24)
    nearest = [np.argsort(-cosines, axis=1)[:, :near], shown.neighbour_rows[:, :near], shown.next_rows[:, :near]]
    n_without = n_with = 0
    for window_, ranked in zip(WINDOWS, Pipeline(artifact(), k=10).recommend(shown, WINDOWS), strict=True):
        rows = {shown.row_of[b.item_id] for b in window_[-10:] if b.item_id in shown.row_of}
        for item in ranked.items:
            row = shown.row_of[item.item_id]
            pulled = {shown.item_ids[had] for had in rows if any(row in table[had] for table in nearest)}
            assert item.because in pulled if pulled else item.because is None
            n_with, n_without = n_with + bool(pulled), n_without + (bool(rows) and not pulled)
    assert n_with > 5 and n_without > 5


def test_sources_say_what_brought_an_item() -> None:
    """Every item has a source, and each source's best item has rank 1."""
    ranked = Pipeline(artifact(), k=24).recommend(catalogue(), [window("i03", "i04")])[0]
    ranks: dict[str, list[int]] = {}
    for item in ranked.items:
        assert item.sources
        for name, (rank, score) in item.sources.items():
            ranks.setdefault(name, []).append(rank)
            assert np.isfinite(score)
    assert set(ranks) == {"retrieval", "mf", "next", "neighbours", "popular"}
    assert all(min(found) == 1 and len(set(found)) == len(found) for found in ranks.values())
    # they bring everything
    assert {name for name in ranks if len(ranks[name]) == 22} >= {"retrieval", "mf", "popular"}


def test_an_empty_catalogue_gives_empty_lists() -> None:
    """An empty catalogue gives empty lists without an error."""
    empty = build_catalogue(artifact(), {}, 0)
    for ranked in Pipeline(artifact()).recommend(empty, [window("i01"), []]):
        assert ranked.items == ()
        assert ranked.degraded == "popular"
        assert ranked.user_vector.shape == (17,)
        assert ranked.factors.shape == (8,)


def test_no_windows_give_no_lists() -> None:
    """An empty batch is no error."""
    assert list(Pipeline(artifact()).recommend(catalogue(), [])) == []


def test_a_catalogue_of_one_item() -> None:
    """The only item is listed for users who have not had it."""
    one = build_catalogue(artifact(), text_vectors(["i05"]), 0)
    had, unknown, cold = Pipeline(artifact()).recommend(one, [window("i05"), window("i06"), []])
    assert ids(had) == []
    assert ids(unknown) == ids(cold) == ["i05"]


def test_a_user_who_has_had_everything_gets_an_empty_list() -> None:
    """The list is empty rather than repeated; others in the batch get theirs."""
    full, other = Pipeline(artifact(), k=5).recommend(
        catalogue(), [window("i01"), window("i01")], [set(catalogue().item_ids), set()]
    )
    assert full.items == ()
    assert len(other.items) == 5


def test_popularity_of_the_moment_orders_cold_lists() -> None:
    """New counts change popular lists in a copy of the catalogue."""
    counts = recent_counts(artifact())
    before = catalogue().popular_rows.copy()
    for _ in range(1_000):
        counts.add("i17", T0 + 86_400_000)
    now = catalogue().with_popularity(counts.scores(catalogue().item_ids, T0 + 86_400_000))
    assert now.item_ids[now.popular_rows[0]] == "i17"
    assert now.recent_popularity.argmax() == now.row_of["i17"]
    np.testing.assert_array_equal(catalogue().popular_rows, before)


def test_four_events_of_two_strangers_leave_a_cold_list_as_it_is() -> None:
    """Years after training four events change no place; more evidence does."""
    model, shown, pipeline = artifact(), catalogue(), Pipeline(artifact(), k=10)
    now_ms = model.manifest.trained_to_ms + 5 * 31_557_600_000
    strangers = [shown.item_ids[row] for row in shown.popular_rows[-4:]]

    def cold_list(n_events: int) -> RankedList:
        counts = recent_counts(model)
        for n in range(n_events):
            counts.add(strangers[n % 4], now_ms)
        return pipeline.recommend(shown.with_popularity(counts.scores(shown.item_ids, now_ms)), [[]])[0]

    before = pipeline.recommend(shown, [[]])[0]
    assert ids(cold_list(0)) == ids(cold_list(4)) == ids(before)
    heard = [len(set(strangers) & set(ids(cold_list(n)))) for n in (4, 40, 400, 4_000)]
    assert heard[0] == 0 and heard == sorted(heard) and heard[-1] == 4
    assert set(ids(cold_list(4_000))[:4]) == set(strangers)


def test_a_cold_list_is_in_order_of_popularity() -> None:
    """Scores are shares of recent popularity; seen items are skipped."""
    shown = catalogue()
    ranked, had = Pipeline(artifact(), k=24).recommend(
        shown, [[], []], [set(), {shown.item_ids[shown.popular_rows[0]]}]
    )
    assert ids(ranked) == [shown.item_ids[row] for row in shown.popular_rows]
    assert ids(had) == ids(ranked)[1:]
    counts = artifact().recent_popularity
    assert ranked.items[0].score == pytest.approx(counts.max() / counts.sum(), rel=1e-5)
    assert sum(item.score for item in ranked.items) == pytest.approx(1.0, rel=1e-5)
    assert [item.sources["popular"][0] for item in ranked.items] == list(range(1, 25))


def test_counts_go_on_from_training() -> None:
    """Without a live event popularity is the artifact's, as shares, at any age."""
    model = artifact()
    for years in (0, 1, 50):
        found = recent_counts(model).scores(
            model.manifest.item_ids, model.manifest.trained_to_ms + years * 31_557_600_000
        )
        shares = model.recent_popularity / model.recent_popularity.sum()
        np.testing.assert_allclose(found / found.sum(), shares, rtol=1e-5)


def test_a_replay_from_long_before_training_gives_finite_lists() -> None:
    """Popularity as of decades before the end of training breaks no score."""
    now = catalogue().with_popularity(recent_counts(artifact()).scores(catalogue().item_ids, 0))
    for ranked in Pipeline(artifact(), k=5).recommend(now, WINDOWS):
        assert len(ranked.items) == 5
        assert np.isfinite([item.score for item in ranked.items]).all()


def test_all_scores_are_those_of_the_parts() -> None:
    """score_all covers all items and agrees with recommend."""
    pipeline = Pipeline(artifact())
    scores = pipeline.score_all(catalogue(), WINDOWS)
    for i, ranked in enumerate(pipeline.recommend(catalogue(), WINDOWS)):
        np.testing.assert_allclose(scores["sequence"][i], catalogue().vectors @ ranked.user_vector, atol=1e-4)
        with_bias = np.append(ranked.factors, 1.0)
        np.testing.assert_allclose(scores["mf"][i], catalogue().factors @ with_bias, atol=1e-4)


def featured_catalogue(*, known: bool = True) -> Catalogue:
    """Return the catalogue of the artifact with features, with the items' features or without."""
    data = featured_data()
    return build_catalogue(featured_artifact(), data.vectors, 1, features=data.item_features if known else None)


def test_features_of_users_and_items_change_probabilities() -> None:
    """Features of users and items change the probabilities."""
    pipeline, windows = Pipeline(featured_artifact(), k=5), [window("i03")] * 3
    shown, blank = featured_catalogue(), featured_catalogue(known=False)
    found = gather(featured_artifact(), shown, windows, None, 100)
    users = user_features(["u0", "u39"])
    of_users = pipeline.probabilities(shown, found, [users["u0"], users["u39"], {}])
    assert np.abs(of_users[0] - of_users[1]).max() > 1e-6
    assert np.abs(of_users - pipeline.probabilities(blank, found, [users["u0"], users["u39"], {}])).max() > 1e-6


def test_a_user_of_whom_nothing_is_known_gets_what_is_imputed() -> None:
    """No features, an empty row, an unknown name and the median give the same list."""
    pipeline, shown = Pipeline(featured_artifact(), k=5), featured_catalogue()
    ages = [float(str(row["features.age"] or 0.0)) for row in featured_data().user_features.values()]
    rows: list[Row] = [
        {},
        {"features.shoe_size": 44.0},
        {"features.age": None},
        {"features.age": float(np.median(ages))},
    ]
    found = pipeline.recommend(shown, [window("i03")] * 4, user_features=rows)
    unknown = pipeline.recommend(shown, [window("i03")])[0]
    for ranked in found:
        assert ids(ranked) == ids(unknown)
        for one, other in zip(ranked.items, unknown.items, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-7)


def test_the_list_is_that_of_the_probabilities() -> None:
    """Recommend is gather, probabilities and rank; invalid candidates are never listed."""
    pipeline = Pipeline(artifact(), k=24)
    found = gather(artifact(), catalogue(), WINDOWS, None, 100)
    probabilities = pipeline.probabilities(catalogue(), found)
    assert not probabilities[~found.valid].any()
    assert probabilities[found.valid].min() > 0
    turned = np.where(found.valid, 1.0 - probabilities, 0.0).astype(np.float32)
    straight, reverse = (pipeline.rank(catalogue(), found, p) for p in (probabilities, turned))
    for served, one, other in zip(pipeline.recommend(catalogue(), WINDOWS), straight, reverse, strict=True):
        assert ids(one) == ids(served)
        assert ids(other)[0] == ids(one)[-1]
        assert sorted(ids(other)) == sorted(ids(one))


def test_all_scores_have_every_part() -> None:
    """Every part has scores over the whole catalogue."""
    scores = Pipeline(artifact()).score_all(catalogue(), WINDOWS)
    assert set(scores) == {"sequence", "mf", "next", "neighbours", "recent_popularity"}
    assert all(each.shape == (len(WINDOWS), 24) for each in scores.values())
    shown = catalogue()
    row = shown.row_of["i03"]
    expected = np.zeros(24)
    for follower, share in zip(shown.next_rows[row], shown.next_weights[row], strict=True):
        expected[follower] += share if follower >= 0 else 0.0
    np.testing.assert_allclose(scores["next"][0], expected, atol=1e-6)
    assert not scores["next"][2].any()
    assert not scores["neighbours"][2].any()
    np.testing.assert_array_equal(scores["recent_popularity"][4], shown.recent_popularity)
