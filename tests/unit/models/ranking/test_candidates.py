"""Candidates: each at most once, ranked among the valid ones, each feature by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.base.scalar_features import FEATURES
from models.base.types import Behaviour, Float32
from models.ranking.candidates import (
    N_MF,
    NEXT_WEIGHTS,
    Candidates,
    dense,
    followers_of,
    gather,
    neighbours_of,
    seen_rows,
    user_side,
)
from models.ranking.catalogue import build_catalogue
from models.rules.repeats import ALL_REPEATS
from models.sequence.packing import pack
from tests.support.tiny_models import artifact, catalogue, featured_artifact, text_vectors, window

pytestmark = pytest.mark.model

WINDOWS = [window("i03", "i09", "i01"), window("i12"), []]


def gathered(windows: Sequence[Sequence[Behaviour]] = WINDOWS) -> Candidates:
    """Return the candidates of windows from the whole tiny catalogue."""
    return gather(artifact(), catalogue(), windows, None, 100)


def feature(found: Candidates, user: int, name: str) -> dict[str, float]:
    """Return one feature of a user's valid candidates, by item."""
    shown = found.valid[user]
    values = found.features[user, shown, FEATURES.index(name)].tolist()
    return dict(zip((catalogue().item_ids[row] for row in found.rows[user, shown]), values, strict=True))


def test_every_valid_candidate_is_there_once_and_was_not_had() -> None:
    """Candidates are all items except the window's, each once; the rest is padding."""
    found = gathered()
    for user, window_ in enumerate(WINDOWS):
        shown = found.rows[user, found.valid[user]]
        expected = set(range(24)) - {catalogue().row_of[b.item_id] for b in window_}
        assert sorted(shown.tolist()) == sorted(expected)
    assert found.features.shape == (*found.rows.shape, len(FEATURES))
    assert found.rows.min() >= 0
    assert np.isfinite(found.features[found.valid]).all()


def test_scores_are_products_of_the_vectors_that_are_returned() -> None:
    """The score of retrieval and the logit of matrix factorisation, with their biases."""
    found = gathered()
    for user in range(3):
        factors = np.append(found.factors[user], 1.0)
        for item, score in feature(found, user, "retrieval_score").items():
            row = catalogue().row_of[item]
            assert score == pytest.approx(float(catalogue().vectors[row] @ found.user_vectors[user]), abs=1e-4)
            assert feature(found, user, "mf_logit")[item] == pytest.approx(
                float(catalogue().factors[row] @ factors), abs=1e-4
            )


@pytest.mark.parametrize(("rank", "score"), [("retrieval_rank", "retrieval_score"), ("mf_rank", "mf_logit")])
def test_ranks_count_valid_candidates_only(rank: str, score: str) -> None:
    """Ranks start at 1 without gaps: padding and seen items do not count."""
    found = gathered()
    for user in range(3):
        ranks, scores = feature(found, user, rank), feature(found, user, score)
        ordered = sorted(scores, key=lambda item: ranks[item])
        assert [scores[item] for item in ordered] == sorted(scores.values(), reverse=True)
        np.testing.assert_allclose([ranks[item] for item in ordered], np.log1p(np.arange(1, len(ordered) + 1)), 1e-5)


def test_followers_of_the_newest_items_count_by_age() -> None:
    """Shares of followers of the newest three, weighted 1, 1/2, 1/4, by hand."""
    found = gathered()
    shown = catalogue()
    for user, window_ in enumerate(WINDOWS):
        expected = np.zeros(24)
        for weight, behaviour in zip(NEXT_WEIGHTS, window_[::-1], strict=False):
            row = shown.row_of[behaviour.item_id]
            for follower, share in zip(shown.next_rows[row], shown.next_weights[row], strict=True):
                if follower >= 0:
                    expected[follower] += weight * share
        for item, value in feature(found, user, "next_score").items():
            assert value == pytest.approx(float(np.log(expected[shown.row_of[item]] + 1e-3)), abs=1e-4)


def test_the_first_item_of_the_catalogue_is_a_follower_like_any_other() -> None:
    """Padding has row 0, and the item of row 0 must not lose its score to it."""
    shown = catalogue()
    leading = next(row for row in range(24) if 0 in shown.next_rows[row])
    others = (item_id for row, item_id in enumerate(shown.item_ids) if row not in (0, leading))
    # who has had more has fewer candidates
    found = gathered([[], window(next(others), shown.item_ids[leading])])
    assert (found.rows[1] == 0).sum() > 1  # there is padding beside it
    place = shown.next_rows[leading].tolist().index(0)
    share = float(shown.next_weights[leading][place])
    assert feature(found, 1, "next_share")[shown.item_ids[0]] == pytest.approx(np.log(share + 1e-3), abs=1e-4)


def test_similarities_are_to_the_window_not_to_padding() -> None:
    """The greatest cosine to an item, even negative, and the cosine to the mean text."""
    found = gathered()
    shown = catalogue()
    n_negative = 0
    for user, window_ in enumerate(WINDOWS):
        rows = [shown.row_of[b.item_id] for b in window_]
        mean = shown.text_unit[rows].sum(axis=0)
        for item, value in feature(found, user, "similarity").items():
            expected = float((shown.unit[rows] @ shown.unit[shown.row_of[item]]).max(initial=-1.0)) if rows else 0.0
            n_negative += expected < 0
            assert value == pytest.approx(expected, abs=1e-4)
        for item, value in feature(found, user, "text_similarity").items():
            text = float(shown.text_unit[shown.row_of[item]] @ mean) / max(float(np.linalg.norm(mean)), 1e-9)
            assert value == pytest.approx(text, abs=1e-4)
    assert n_negative > 0


def test_plain_features() -> None:
    """Popularity in training and now, newness, and the window's length."""
    counts = replace(catalogue().counts, recent=np.arange(24, dtype=np.float32))
    shown = replace(catalogue(), counts=counts)
    found = gather(artifact(), shown, WINDOWS, None, 100)
    for user, length in enumerate((3, 1, 0)):
        for item, value in feature(found, user, "recent_popularity").items():
            assert value == shown.row_of[item]
        for item, value in feature(found, user, "popularity").items():
            assert value == shown.popularity[shown.row_of[item]]
        assert set(feature(found, user, "is_new").values()) == {0.0}
        lengths = feature(found, user, "window_length").values()
        assert set(lengths) == {float(np.float32(np.log1p(length)))}


def test_retrieval_brings_as_many_as_asked_whoever_is_in_the_batch() -> None:
    """A long window beside a short one adds no candidates to it."""
    names = [f"n{i:03}" for i in range(200)]
    rng = np.random.default_rng(6)
    new = {name: rng.normal(size=16).astype(np.float32) for name in names}
    shown = build_catalogue(artifact(), text_vectors(artifact().manifest.item_ids) | new, 0)
    short, long = window("i03"), window(*(f"i{i:02}" for i in range(10)))
    alone, beside = (gather(artifact(), shown, windows, None, 5) for windows in ([short], [short, long]))
    rows: list[list[int]] = [found.rows[0, found.valid[0]].tolist() for found in (alone, beside)]
    assert rows[0] == rows[1]


def test_matrix_factorisation_brings_no_new_items() -> None:
    """New items have no factors, so matrix factorisation must not bring them."""
    names = [f"n{i:03}" for i in range(200)]
    new: dict[str, Float32] = {name: np.full(16, i, dtype=np.float32) for i, name in enumerate(names)}
    shown = build_catalogue(artifact(), text_vectors(artifact().manifest.item_ids) | new, 0)
    rows, _ = shown.factor_index.search(np.ones((1, 9), dtype=np.float32), N_MF)
    assert rows.shape == (1, 24)
    assert not shown.is_new[rows].any()
    found = gather(artifact(), shown, [window("i03")], None, 5)
    assert not found.given["mf"][0][shown.is_new[found.rows[0]]].any()
    assert found.given["mf"][0].any()


def test_a_catalogue_of_new_items_alone() -> None:
    """A catalogue of new items is ranked by text."""
    shown = build_catalogue(artifact(), text_vectors([f"i{i}" for i in range(50, 60)]), 0)
    found = gather(artifact(), shown, [window("i50"), []], None, 5)
    assert found.valid.sum(axis=1).tolist() == [9, 10]
    assert np.isfinite(found.features).all()


def test_seen_rows_hold_what_the_catalogue_has_of_windows_and_more() -> None:
    """Items outside the catalogue are no error."""
    rows = seen_rows(catalogue(), [window("i03", "gone", "i03"), []], [{"i05", "lost"}, {"i00"}])
    assert [sorted(found.tolist()) for found in rows] == [[3, 5], [0]]
    assert [found.tolist() for found in seen_rows(catalogue(), [window("i03"), []], None)] == [[3], []]


def test_without_the_mask_what_a_window_holds_is_a_candidate_too() -> None:
    """Without the mask, each item is a candidate once, except those of ``extra_seen``."""
    found = gather(artifact(), catalogue(), WINDOWS, [{"i05"}, set(), {"i00"}], 100, repeats=ALL_REPEATS)
    for user, left_out in enumerate([{5}, set(), {0}]):
        assert set(found.rows[user, found.valid[user]].tolist()) == set(range(24)) - left_out


def test_each_candidate_says_which_sources_brought_it() -> None:
    """Each valid candidate has a source, the item of row 0 included."""
    found = gathered()
    shown = catalogue()
    for user, window_ in enumerate(WINDOWS):
        packed = pack([window_], shown.row_of, 10)
        expected = {
            "next": set(followers_of(shown, packed)[0][0].tolist()),
            "neighbours": set(neighbours_of(shown, packed)[0][0].tolist()),
            "retrieval": set(range(24)) if window_ else set(),
            "mf": set(range(24)) if packed.lengths[0] else set(),
            "popular": set(range(24)),
        }
        valid = set(found.rows[user, found.valid[user]].tolist())
        for name, rows in expected.items():
            given = set(found.rows[user, found.given[name][user] & found.valid[user]].tolist())
            assert given == rows & valid, name
    assert set(found.given) == {"retrieval", "mf", "next", "neighbours", "popular", "social", "features", "again"}
    assert not found.given["again"].any()  # no item may come back


def test_neighbours_of_the_window_count_by_age() -> None:
    """Cosines of the newest ten behaviours, each decayed by a fifth, by hand."""
    found, shown = gathered(), catalogue()
    for user, window_ in enumerate(WINDOWS):
        expected = np.zeros(24)
        for age, behaviour in enumerate(window_[::-1][:10]):
            row = shown.row_of[behaviour.item_id]
            for other, cosine in zip(shown.neighbour_rows[row], shown.neighbour_weights[row], strict=True):
                if other >= 0:
                    expected[other] += 0.8**age * cosine
        for item, value in feature(found, user, "neighbour_score").items():
            assert value == pytest.approx(float(np.log(expected[shown.row_of[item]] + 1e-3)), abs=1e-4)
        totals = dense(neighbours_of(shown, pack([window_], shown.row_of, 10)), 24)
        np.testing.assert_allclose(totals[0], expected, atol=1e-5)


def test_the_share_of_followers_is_of_the_newest_behaviour_alone() -> None:
    """Only the newest behaviour counts in this feature."""
    found, shown = gathered(), catalogue()
    for user, window_ in enumerate(WINDOWS):
        expected = np.zeros(24)
        for behaviour in window_[-1:]:
            row = shown.row_of[behaviour.item_id]
            for other, share in zip(shown.next_rows[row], shown.next_weights[row], strict=True):
                expected[other] += share if other >= 0 else 0.0
        for item, value in feature(found, user, "next_share").items():
            assert value == pytest.approx(float(np.log(expected[shown.row_of[item]] + 1e-3)), abs=1e-4)


def test_retrieval_shares_are_a_softmax_over_the_valid_candidates() -> None:
    """The shares add up to 1 and differ as the scores do."""
    found = gathered()
    for user in range(3):
        scores, shares = feature(found, user, "retrieval_score"), feature(found, user, "retrieval_share")
        assert sum(np.exp(list(shares.values()))) == pytest.approx(1.0, abs=1e-4)
        gaps = [shares[item] - scores[item] for item in scores]
        assert max(gaps) - min(gaps) < 1e-3


def test_text_similarity_to_the_newest_behaviour() -> None:
    """The similarity is to the newest behaviour alone; 0 without one."""
    found, shown = gathered(), catalogue()
    for user, window_ in enumerate(WINDOWS):
        for item, value in feature(found, user, "newest_text_similarity").items():
            expected = 0.0
            if window_:
                newest = shown.text_unit[shown.row_of[window_[-1].item_id]]
                expected = float(shown.text_unit[shown.row_of[item]] @ newest)
            assert value == pytest.approx(expected, abs=1e-4)


def test_a_batch_of_empty_windows_alone() -> None:
    """Empty windows get only popular items."""
    found = gathered([[], []])
    assert found.valid.sum(axis=1).tolist() == [24, 24]
    assert not any(found.given[name].any() for name in ("retrieval", "next", "neighbours"))
    assert np.isfinite(found.features).all()


def test_a_users_side_is_vector_and_features() -> None:
    """Known features are standardised, missing ones imputed; no features are no error."""
    vectors = np.ones((2, 17), dtype=np.float32)
    side = user_side(featured_artifact(), vectors, [{"features.age": 1e9}, {}])
    assert side.shape == (2, 18)
    np.testing.assert_array_equal(side[:, :17], vectors)
    assert side[0, 17] == 10.0  # cut
    assert side[1, 17] == pytest.approx(float(featured_artifact().user_features.imputer.statistics[0]))
    np.testing.assert_array_equal(user_side(featured_artifact(), vectors, None)[0], side[1])
    assert user_side(artifact(), vectors, None).shape == (2, 17)
