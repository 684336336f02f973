"""What is asked of a catalogue without a user, on the tiny catalogue of the tests."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranking.asked_items import allowed_rows, popular_items, similar_items
from models.ranking.catalogue.ruled import narrowed
from models.ranking.pipeline import Pipeline
from tests.support import tiny_models

pytestmark = pytest.mark.model

NOW_MS = 1_790_000_000_000


def test_the_nearest_are_those_of_the_greatest_cosines_and_not_the_item_itself() -> None:
    """As a loop over all items finds them."""
    shop = tiny_models.catalogue()
    asked = shop.item_ids[3]
    found = similar_items(shop, asked, 5)
    assert found is not None
    cosines = {item_id: float(shop.unit[row] @ shop.unit[3]) for row, item_id in enumerate(shop.item_ids) if row != 3}
    wanted = sorted(cosines, key=lambda item_id: -cosines[item_id])[:5]
    assert [item_id for item_id, _ in found] == wanted
    assert [score for _, score in found] == pytest.approx([cosines[item_id] for item_id in wanted], abs=1e-5)
    assert similar_items(shop, "unknown", 5) is None
    assert len(similar_items(shop, asked, 10_000) or ()) == len(shop.item_ids) - 1


def test_a_narrowed_catalogue_answers_with_what_is_left() -> None:
    """Hidden items are neither similar nor popular, and a list has none of them."""
    shop = tiny_models.catalogue()
    few = list(shop.item_ids[:4])
    left = narrowed(shop, allowed_rows(shop, NOW_MS, only=[*few, "unknown"], exclude=few[:1]))
    assert {item_id for item_id, _ in popular_items(left, 10)} == set(few[1:])
    assert {item_id for item_id, _ in similar_items(left, shop.item_ids[9], 10) or ()} == set(few[1:])
    made = Pipeline(tiny_models.artifact(), k=5).recommend(left, [tiny_models.window(shop.item_ids[9])])
    assert {item.item_id for item in made[0].items} == set(few[1:])
    assert narrowed(shop, np.ones(len(shop.is_shown), dtype=np.bool_)) is shop


def test_popular_items_fall_in_popularity() -> None:
    """The shares of all items add up to one at most."""
    shop = tiny_models.catalogue()
    shares = [share for _, share in popular_items(shop, 10_000)]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.001
    assert len(shares) == shop.n_items


def test_a_category_chooses_rows_by_the_facts_of_items() -> None:
    """The tiny catalogue has no categories."""
    shop = tiny_models.catalogue()
    assert not allowed_rows(shop, NOW_MS, category="Shoes").any()
