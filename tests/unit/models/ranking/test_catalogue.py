"""The catalogue: arrays in one order, tables by its rows, new items by text, full features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.artifact.artifact import Artifact
from models.base.types import Float32, Int64
from models.ranking.catalogue import build_catalogue
from tests.support.tiny_models import artifact, catalogue, featured_artifact, featured_data, item_features, text_vectors

pytestmark = pytest.mark.model


def pairs(rows: Int64, weights: Float32, names: Sequence[str]) -> dict[str, float]:
    """Return one line of a table by item id."""
    return {names[row]: float(weight) for row, weight in zip(rows, weights, strict=True) if row >= 0}


def tables(model: Artifact) -> dict[str, tuple[Int64, Float32]]:
    """Return the artifact's tables."""
    return {
        "next": (model.next_rows, model.next_weights),
        "neighbour": (model.neighbour_rows, model.neighbour_weights),
    }


@pytest.mark.parametrize("name", ["next", "neighbour"])
@pytest.mark.parametrize("added", [(), ("a-new-one", "z-new-one")])
def test_tables_are_renamed_to_the_catalogues_rows(name: str, added: tuple[str, ...]) -> None:
    """A known item has the artifact's entries that the catalogue has; a new one has none."""
    model = artifact()
    shown_ids = [item_id for item_id in model.manifest.item_ids if item_id not in ("i03", "i10")]
    shown = build_catalogue(model, text_vectors(shown_ids) | {i: np.ones(16, dtype=np.float32) for i in added}, 0)
    rows, weights = getattr(shown, f"{name}_rows"), getattr(shown, f"{name}_weights")
    all_ids = tuple(model.manifest.item_ids)
    for row, item_id in enumerate(shown.item_ids):
        if item_id in added:
            assert (rows[row] == -1).all()
            continue
        trained_rows, trained_weights = tables(model)[name]
        trained = all_ids.index(item_id)
        expected = pairs(trained_rows[trained], trained_weights[trained], all_ids)
        found = pairs(rows[row], weights[row], shown.item_ids)
        assert found == {other: w for other, w in expected.items() if other in shown.row_of}


def test_fusion_knows_an_item_by_vector_bias_and_features() -> None:
    """Fusion's input follows the catalogue's order; without features it is vector and bias."""
    data, model = featured_data(), featured_artifact()
    features = dict(reversed(list(data.item_features.items())))
    shown = build_catalogue(model, dict(reversed(list(data.vectors.items()))), 0, features=features)
    np.testing.assert_array_equal(shown.side[:, :17], shown.vectors)
    rows = [item_features(shown.item_ids).get(item_id, {}) for item_id in shown.item_ids]
    text = model.whitening.apply(np.stack([data.vectors[item_id] for item_id in shown.item_ids]))
    np.testing.assert_allclose(shown.side[:, 17:], model.item_features.encode(rows, text), atol=1e-6)
    np.testing.assert_array_equal(catalogue().side, catalogue().vectors)


def test_missing_features_are_imputed() -> None:
    """Missing features are filled with training's values, for new items too."""
    data, model = featured_data(), featured_artifact()
    vectors = {**data.vectors, "new": np.ones(16, dtype=np.float32)}
    shown = build_catalogue(model, vectors, 0, features={"i01": {"category": "odd"}})
    statistics = model.item_features.imputer.statistics
    np.testing.assert_allclose(shown.side[shown.row_of["new"], 17:], statistics, atol=1e-6)
    np.testing.assert_allclose(shown.side[shown.row_of["i02"], 17:], statistics, atol=1e-6)
    known = shown.side[shown.row_of["i01"], 17:]
    assert known[0] == pytest.approx(float(statistics[0]))
    full = build_catalogue(model, vectors, 0, features=data.item_features)
    np.testing.assert_allclose(known[1:], full.side[full.row_of["i01"], 18:], atol=1e-6)
    assert np.isfinite(full.side).all()


def test_new_popularity_leaves_everything_else() -> None:
    """New counts change popularity alone, in a copy."""
    before = catalogue().popular_rows.copy()
    now = catalogue().with_popularity(np.arange(24, dtype=np.float32))
    assert now.popular_rows.tolist() == list(range(23, -1, -1))
    assert now.vectors is catalogue().vectors
    np.testing.assert_array_equal(catalogue().popular_rows, before)


def test_an_empty_catalogue_has_every_array() -> None:
    """Each array has length 0 and the right width."""
    shown = build_catalogue(featured_artifact(), {}, 0)
    assert shown.side.shape == (0, 20)
    assert shown.neighbour_rows.shape[0] == shown.next_rows.shape[0] == 0
