"""Fallback lists: their sources, and what they must never hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.base.types import Behaviour
from models.ranking.catalogue import build_catalogue
from models.ranking.fallback import UserVectors, WithoutModel
from models.ranking.pipeline import Pipeline, RankedList
from tests.support import tiny_models
from tests.support.tiny_models import window

pytestmark = pytest.mark.model

MAKES = WithoutModel(k=5, n_candidates=10, max_length=10, alpha=10.0, regularisation=1.0)


def vectors_of(behaviours: Sequence[Behaviour]) -> UserVectors:
    """Return the model's vectors of a window."""
    (made,) = Pipeline(tiny_models.artifact()).recommend(tiny_models.catalogue(), [behaviours])
    return UserVectors(made.user_vector, made.factors)


def ids(made: RankedList) -> list[str]:
    """Return the items of a list."""
    return [item.item_id for item in made.items]


def test_a_stored_vector_gives_the_nearest_unseen_items() -> None:
    """The list equals a brute-force search without seen items."""
    behaviours, extra = window("i01", "i02"), {"i03"}
    stored = vectors_of(behaviours)
    (made,) = MAKES.lists(tiny_models.catalogue(), [behaviours], [extra], [stored])
    scores = tiny_models.catalogue().vectors @ stored.vector
    unseen = [row for row in np.argsort(-scores) if tiny_models.catalogue().item_ids[row] not in {"i01", "i02", "i03"}]
    assert ids(made) == [tiny_models.catalogue().item_ids[row] for row in unseen[:5]]
    assert made.degraded == "stale-vector"
    best = scores[unseen[:10]].astype(np.float64)
    shares = np.exp(best - best.max()) / np.exp(best - best.max()).sum()
    assert [item.score for item in made.items] == pytest.approx(shares[:5].tolist(), rel=1e-4)
    assert made.items[0].sources["retrieval"] == pytest.approx((1, float(best[0])), rel=1e-5)


def test_without_a_vector_the_window_is_folded_in() -> None:
    """The factors equal the model's fold-in; scores are sigmoids of the logits."""
    behaviours = window("i01", "i02", "i05")
    artifact = tiny_models.artifact()
    makes = WithoutModel(5, 10, 10, artifact.manifest.alpha, artifact.manifest.regularisation)
    (made,) = makes.lists(tiny_models.catalogue(), [behaviours], [set()], [None])
    logits = tiny_models.catalogue().factors @ np.append(vectors_of(behaviours).factors, 1.0)
    unseen = [row for row in np.argsort(-logits) if tiny_models.catalogue().item_ids[row] not in {"i01", "i02", "i05"}]
    assert (ids(made), made.degraded) == ([tiny_models.catalogue().item_ids[row] for row in unseen[:5]], "mf-only")
    assert made.items[0].score == pytest.approx(1 / (1 + np.exp(-logits[unseen[0]])), rel=1e-4)


@pytest.mark.parametrize("behaviours", [[], window("unknown")])
def test_nothing_known_gives_popular_items(behaviours: list[Behaviour]) -> None:
    """Without a vector and without a known item there is only popularity."""
    (made,) = MAKES.lists(tiny_models.catalogue(), [behaviours], [{"i00"}], [None])
    popular = [
        tiny_models.catalogue().item_ids[row]
        for row in tiny_models.catalogue().popular_rows
        if tiny_models.catalogue().item_ids[row] != "i00"
    ]
    assert (ids(made), made.degraded) == (popular[:5], "popular")


@pytest.mark.parametrize("has_vector", [True, False])
def test_seen_items_never_come_back_and_lists_are_filled_up(has_vector: bool) -> None:
    """All but four of the catalogue seen: a list of those four, each once."""
    behaviours, extra = window("i00", "i01"), {f"i{n:02}" for n in range(2, 20)}
    stored = vectors_of(behaviours) if has_vector else None
    (made,) = MAKES.lists(tiny_models.catalogue(), [behaviours], [extra], [stored])
    assert sorted(ids(made)) == ["i20", "i21", "i22", "i23"]


def test_lists_do_not_depend_on_who_else_is_served() -> None:
    """A user's list does not depend on the batch."""
    windows = [window("i01"), window("i02", "i07"), window("unknown")]
    stored = [vectors_of(windows[0]), None, None]
    together = MAKES.lists(tiny_models.catalogue(), windows, [set()] * 3, stored)
    alone = [MAKES.lists(tiny_models.catalogue(), [w], [set()], [s])[0] for w, s in zip(windows, stored, strict=True)]
    assert [made.items for made in together] == [made.items for made in alone]
    assert [made.degraded for made in together] == ["stale-vector", "mf-only", "popular"]


def test_an_empty_catalogue_gives_empty_lists() -> None:
    """An empty catalogue is no error."""
    empty = build_catalogue(tiny_models.artifact(), {}, generation=1)
    stored = vectors_of(window("i01"))
    made = MAKES.lists(empty, [window("i01")] * 2, [set()] * 2, [stored, None])
    assert [(m.items, m.degraded) for m in made] == [((), "popular")] * 2
