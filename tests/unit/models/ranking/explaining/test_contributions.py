"""Contributions to fusion's logit: they sum exactly, on known networks and on a trained one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.base.scalar_features import FEATURES
from models.fusion import N_PROJECTED, FusionModel
from models.ranking.explaining.contributions import (
    GROUPS,
    ITEM,
    OTHERS,
    FusionExplainer,
    calibrated,
)
from models.ranking.explaining.tracing import Trace, traced
from models.ranking.pipeline import Pipeline
from tests.support.tiny_models import artifact, catalogue, window

pytestmark = pytest.mark.model

WIDTH = 3


def silent_network() -> FusionModel:
    """Return a network whose logit is 0 for every input."""
    model = FusionModel(WIDTH, WIDTH)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.eval()


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features and items of seven candidates, and a user."""
    rng = np.random.default_rng(5)
    shapes = (7, len(FEATURES)), (7, WIDTH), (WIDTH,)
    features, items, user = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return features, items, user


def test_each_feature_is_in_one_group() -> None:
    """No feature is forgotten and none is counted twice."""
    explainer = FusionExplainer(silent_network(), FEATURES, *inputs())
    found = [name for one in explainer.explain(0).contributions for name in one.inputs]
    assert sorted(found) == sorted(FEATURES)
    assert {one.group for one in explainer.explain(0).contributions} <= {*GROUPS, OTHERS, ITEM}


def test_a_linear_network_gives_each_group_its_own_terms() -> None:
    """Weight times distance from the mean candidate."""
    model, (features, items, user) = silent_network(), inputs()
    weights = np.linspace(-1, 1, len(FEATURES)).astype(np.float32)
    with torch.no_grad():
        model.shortcut.weight.copy_(torch.from_numpy(weights)[None])
    fused = FusionExplainer(model, FEATURES, features, items, user).explain(2)
    distance = features[2].astype(np.float64) - features.astype(np.float64).mean(axis=0)
    for one in fused.contributions:
        places = [FEATURES.index(name) for name in one.inputs]
        assert one.value == pytest.approx(float(weights[places] @ distance[places]), abs=1e-6)
    assert fused.of_group[ITEM] == 0


def test_groups_that_act_alike_add_the_same() -> None:
    """One unit reads ``mf_rank`` and ``next_score`` with one weight: equal inputs add equally."""
    model, (features, items, user) = silent_network(), inputs()
    places = [FEATURES.index("mf_rank"), FEATURES.index("next_score")]
    features[:, places[1]] = features[:, places[0]]
    with torch.no_grad():
        model.body.get_parameter("0.weight")[0, places] = 1.0
        model.body.get_parameter("3.weight")[0, 0] = 1.0
    fused = FusionExplainer(model, FEATURES, features, items, user).explain(4)
    assert fused.of_group["mf"] == pytest.approx(fused.of_group["next"], abs=1e-12)
    assert fused.of_group["mf"] != 0
    assert fused.of_group["popularity"] == 0


def test_the_product_of_user_and_item_belongs_to_the_item() -> None:
    """The user is the same for all candidates, so what differs in the product is the item."""
    model, (features, items, user) = silent_network(), inputs()
    with torch.no_grad():
        model.user_projection.weight[0, 0] = 1.0
        model.item_projection.weight[0, 0] = 1.0
        model.body.get_parameter("0.weight")[0, -N_PROJECTED] = 1.0
        model.body.get_parameter("3.weight")[0, 0] = 1.0
    explainer = FusionExplainer(model, FEATURES, features, items, user)
    fused = explainer.explain(3)
    assert fused.of_group[ITEM] == pytest.approx(fused.logit - fused.baseline, abs=1e-12)
    assert fused.logit == pytest.approx(
        float(torch.nn.functional.gelu(torch.tensor(float(user[0]) * float(items[3, 0]), dtype=torch.float64))),
        abs=1e-9,
    )


def trace_of(*item_ids: str) -> Trace:
    """Return the trace of a window of the tiny artifact."""
    pipeline = Pipeline(artifact(), k=5, n_candidates=100)
    return traced(pipeline, artifact(), catalogue(), window(*item_ids), frozenset(), 100)


def test_contributions_of_a_trained_network_sum_to_the_logit() -> None:
    """To the rounding of double precision, for each candidate."""
    trace = trace_of("i03", "i09", "i01")
    logits = trace.explainer.logits()
    for column in range(len(trace.rows)):
        fused = trace.explainer.explain(column)
        assert fused.logit == pytest.approx(logits[column], abs=1e-12)
        assert sum(fused.of_group.values()) == pytest.approx(fused.logit - fused.baseline, abs=1e-9)


def test_the_way_from_logits_gives_the_probabilities_that_are_served() -> None:
    trace = trace_of("i03", "i09", "i01")
    np.testing.assert_allclose(trace.calibrated.probabilities, trace.probabilities, atol=1e-6)


def test_an_item_without_events_has_the_share_of_retrieval() -> None:
    """As in serving: its logit is retrieval's share beside the others, not the network's.

    Fusion never saw such an item in training.
    """
    logits, shares = np.array([1.0, 2.0, 9.0]), np.array([-1.0, -2.0, -0.5], dtype=np.float32)
    made = calibrated(silent_network(), logits, shares, np.array([False, False, True]))
    assert made.logits[2] == pytest.approx(-0.5 + np.logaddexp(1.0, 2.0))
    shares_of_all = made.probabilities / (1 - made.probabilities)
    assert shares_of_all.sum() == pytest.approx(1.0), "with slope 1 and offset 0 the odds are shares"
