"""Fusion: a probability for every candidate, learnt, reproducible, and calm about what it never saw vary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.fusion import FEATURES, FusionModel, fit_fusion, popularity_fusion

DIM, NEW = 5, FEATURES.index("is_new")


def rows(n: int = 600, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features, users, items and labels; the label is whether the third feature is positive."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, len(FEATURES), generator=generator)
    users, items = (torch.randn(n, DIM, generator=generator) for _ in range(2))
    return features, users, items, (features[:, 2] > 0).float()


@torch.inference_mode()
def probabilities(model: FusionModel, features: Tensor, users: Tensor, items: Tensor) -> Tensor:
    """Return what serving computes."""
    return torch.sigmoid(model(features, users, items))


def test_a_planted_signal_is_learnt() -> None:
    """Rows that were not trained on get a high probability where the rule says yes, and a low one elsewhere."""
    model = fit_fusion(*rows(), seed=1, epochs=200)
    features, users, items, labels = rows(300, seed=9)
    found = probabilities(model, features, users, items)
    assert ((found > 0.5).float() == labels).float().mean() > 0.9


def test_every_result_is_a_probability() -> None:
    """One number in (0, 1) for each row, also where nothing was trained and where features are unusual."""
    features, users, items, labels = rows()
    for model in (fit_fusion(features, users, items, labels, seed=1, epochs=2), FusionModel(DIM).eval()):
        found = probabilities(model, features * 3.0, users, items)
        assert found.shape == (600,)
        assert bool(((found > 0) & (found < 1)).all())


def test_a_row_gets_the_same_alone_and_in_a_batch() -> None:
    """The fitted model is returned ready to serve: neither dropout nor the statistics of a batch take part."""
    features, users, items, labels = rows()
    model = fit_fusion(features, users, items, labels, seed=1, epochs=2)
    together = probabilities(model, features, users, items)
    alone = torch.cat([probabilities(model, features[i, None], users[i, None], items[i, None]) for i in range(5)])
    torch.testing.assert_close(together[:5], alone, atol=1e-6, rtol=1e-5)


def test_fitting_is_deterministic_by_seed() -> None:
    """The same seed gives the same weights, whatever was drawn before; another seed gives others."""
    one = fit_fusion(*rows(), seed=1, epochs=2).state_dict()
    torch.rand(3)
    same, other = (fit_fusion(*rows(), seed=seed, epochs=2).state_dict() for seed in (1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["shortcut.weight"], other["shortcut.weight"])


def test_a_feature_that_never_varied_has_no_say() -> None:
    """Training without new items leaves is_new constant; a new item in serving must not be outvoted by noise."""
    features, users, items, labels = rows()
    features[:, NEW] = 0.0
    model = fit_fusion(features, users, items, labels, seed=1, epochs=40)
    before = probabilities(model, features, users, items)
    features[:, NEW] = 1.0
    torch.testing.assert_close(probabilities(model, features, users, items), before)
    weights = torch.cat([model.body.get_parameter("0.weight")[:, : len(FEATURES)], model.shortcut.weight])
    assert (weights.abs().amax(dim=0) == 0).nonzero().flatten().tolist() == [NEW]


@pytest.mark.parametrize("n", [1, 2, 4_097])
def test_a_batch_of_one_row_is_no_error(n: int) -> None:
    """Batch normalisation needs two rows; one left over is passed by."""
    told: list[int] = []
    features, users, items, labels = rows(n)
    model = fit_fusion(features, users, items, labels, seed=1, epochs=2, on_epoch=told.append)
    assert bool(torch.isfinite(probabilities(model, features, users, items)).all())
    assert told == [0, 1]


def test_the_fallback_ranks_by_recent_popularity_alone() -> None:
    """A log too small to fit a network must not give lists in random order."""
    features = torch.zeros(3, len(FEATURES))
    features[:, FEATURES.index("recent_popularity")] = torch.tensor([0.5, 2.0, -1.0])
    features[:, 0] = torch.tensor([9.0, 0.0, 5.0])
    with torch.inference_mode():
        logits = popularity_fusion(5)(features, torch.randn(3, 5), torch.randn(3, 5))
    assert logits.argsort(descending=True).tolist() == [1, 0, 2]
