"""The weights of a blend: those that planted cases were drawn with, and none without cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.base.experts import EXPERTS
from models.base.scalar_features import feature_names
from models.fusion import FusionData
from models.training.blend_fit import STAYS, blended, fit_blend, fit_fusion_alone, fit_with_blend

pytestmark = pytest.mark.model

NAMES = feature_names(("view",))


def cases(n: int, share_of_again: float, seed: int = 0, c: int = 30) -> FusionData:
    """Return cases: with this probability the user returns to an item, else takes what follows.

    All other features are those of items of which nothing is known.
    """
    rng = np.random.default_rng(seed)
    step, again = (rng.dirichlet(np.full(c, 0.1), n).astype(np.float32) for _ in range(2))
    features = np.zeros((n, c, len(NAMES)), dtype=np.float32)
    for name, offset in (
        ("next_share", 1e-3),
        ("neighbour_score", 1e-3),
        ("again_next", 1e-3),
        ("again_next_pair", 1e-3),
    ):
        features[..., NAMES.index(name)] = np.log(offset)
    features[..., NAMES.index("trail")] = np.log(1e-4)
    features[..., NAMES.index("recent_popularity")] = np.log(0.05)
    features[..., NAMES.index("retrieval_share")] = rng.dirichlet(np.full(c, 0.1), (n,)) * 0 - 20.0
    features[..., NAMES.index("step")] = np.log(step + 1e-4)
    features[..., NAMES.index("again_weight")] = np.log(again + 1e-3)
    shares = share_of_again * again + (1 - share_of_again) * step
    targets = np.array([rng.choice(c, p=one / one.sum()) for one in shares.astype(np.float64)])
    nothing = torch.zeros((n, 1)), torch.zeros((c, 1))
    rows = torch.arange(c).expand(n, c).contiguous()
    valid = torch.ones(n, c, dtype=torch.bool)
    return FusionData(torch.from_numpy(features), rows, valid, *nothing, torch.from_numpy(targets))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_planted_weights_are_found_again(share: float) -> None:
    blend = fit_blend(cases(800, share))
    assert blend is not None
    assert blend["again"] == pytest.approx(share, abs=0.06)
    assert blend["step"] == pytest.approx(1 - share, abs=0.06)
    assert sum(blend.values()) == pytest.approx(1.0)
    assert set(blend) <= set(EXPERTS)
    assert STAYS in blend


def test_without_a_next_item_among_the_candidates_there_is_no_blend() -> None:
    data = replace(cases(20, 0.5), targets=torch.full((20,), -1))
    assert fit_blend(data) is None
    network, blend = fit_with_blend(data, 1, 2, lambda _done, _of: None)
    assert blend is None
    assert len(network.feature_mean) == len(NAMES)


def test_the_blend_is_one_more_feature_and_padding_changes_nothing() -> None:
    data = cases(300, 0.5)
    blend = {"step": 0.5, "again": 0.4, "even": 0.1}
    made = blended(data, blend)
    torch.testing.assert_close(made.features[..., :-1], data.features)
    padded = replace(
        data,
        features=torch.cat([data.features, torch.full((300, 4, len(NAMES)), 7.0)], dim=1),
        valid=torch.cat([data.valid, torch.zeros(300, 4, dtype=torch.bool)], dim=1),
    )
    assert torch.equal(blended(padded, blend).features[:, :30], made.features)
    assert bool(torch.isfinite(blended(padded, blend).features).all())


def test_a_network_with_the_blend_is_ahead_of_each_expert_and_of_one_without() -> None:
    """A few cases of a user who now returns and now goes on: no single order tells both."""
    few, fresh = cases(120, 0.5, seed=1), cases(800, 0.5, seed=2)
    with_one, blend = fit_with_blend(few, 1, 5, lambda _done, _of: None)
    without_one, _ = fit_fusion_alone(few, 1, 5, lambda _done, _of: None)
    assert blend is not None

    def loss(logits: torch.Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(logits, fresh.targets))

    with torch.inference_mode():
        ours = loss(blended(fresh, blend).logits(with_one))
        assert ours < loss(fresh.logits(without_one))
    for expert in ("step", "again_weight"):
        assert ours < loss(fresh.features[..., NAMES.index(expert)])
