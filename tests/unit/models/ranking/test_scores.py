"""Live popularity by row is that of the counts, however the catalogue and the counts change."""

from __future__ import annotations

import numpy as np
import pytest

from models.popularity import HALF_LIFE_MS, CountsWithPrior
from models.ranking.catalogue.scores import ScoresByRow
from models.ranking.catalogue.store import CatalogueStore, Entry
from tests.support.tiny_models import artifact, text_vectors

pytestmark = pytest.mark.model
IDS = [f"i{number:02}" for number in range(24)]


def test_scores_by_row_are_those_of_the_counts() -> None:
    """After counts, new versions, new items, a rebuild, and a move of the reference time."""
    counts = CountsWithPrior({"i01": 5.0, "i07": 2.0}, at_ms=0)
    model, vectors = artifact(), text_vectors(IDS)
    by_row, store = ScoresByRow(counts, counts.shares(model.manifest.item_ids)), CatalogueStore(model)
    store.apply([Entry(item_id, {}, vectors[item_id]) for item_id in IDS[:20]])
    rng = np.random.default_rng(4)
    for step in range(12):
        for item_id in rng.choice(IDS, size=5).tolist():
            counts.add(item_id, 1_000 * step)
        changed = rng.choice(IDS, size=3, replace=False).tolist()
        store.apply([Entry(item_id, {}, vectors[item_id]) for item_id in changed])
        if step == 6:
            store.rebuild_now()
        now_ms = 400 * HALF_LIFE_MS if step == 9 else 1_000 * step
        if step == 9:
            counts.add("i02", now_ms)
        catalogue = store.snapshot()
        found, expected = by_row.scores(catalogue, now_ms), counts.scores(catalogue.item_ids, now_ms)
        current = catalogue.is_shown
        np.testing.assert_allclose(found[current], expected[current], rtol=1e-6)
