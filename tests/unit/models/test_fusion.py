"""Fusion: learnt by lists, calibrated, reproducible, and never worse than retrieval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import fusion
from models.base.scalar_features import FEATURES, feature_names
from models.fusion import FusionData, FusionModel, fit_fusion, popularity_fusion
from models.metrics.ranking import summarize

pytestmark = pytest.mark.model

DIM, C = 5, 8
NEW, SHARE, MF = (FEATURES.index(name) for name in ("is_new", "retrieval_share", "mf_logit"))


def cases(n: int = 300, seed: int = 0, c: int = C) -> FusionData:
    """Return random valid candidates; the one with the greatest mf_logit is next."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, c, len(FEATURES), generator=generator)
    rows = torch.randint(40, (n, c), generator=generator)
    users, items = torch.randn(n, DIM, generator=generator), torch.randn(40, DIM, generator=generator)
    valid = torch.ones(n, c, dtype=torch.bool)
    return FusionData(features, rows, valid, users, items, features[..., MF].argmax(dim=1))


def drawn(n: int, seed: int, spread: float = 1.5, share_outside: float = 0.0, c: int = 12) -> tuple[FusionData, Tensor]:
    """Return cases with planted probabilities, known to retrieval only, and those.

    With probability ``share_outside`` the next item is no candidate.
    """
    data = cases(n, seed, c)
    generator = torch.Generator().manual_seed(100 + seed)
    shares = torch.log_softmax(spread * torch.randn(n, c, generator=generator), dim=1)
    targets = torch.multinomial(shares.exp(), 1, generator=generator)[:, 0]
    targets[torch.rand(n, generator=generator) < share_outside] = -1
    features = data.features.clone()
    features[..., SHARE] = shares
    return replace(data, features=features, targets=targets), shares.exp() * (1 - share_outside)


def calibrated(model: FusionModel, logits: Tensor, valid: Tensor) -> Tensor:
    """Return each valid candidate's probability, (n, c), as the fit defines it; 0 elsewhere."""
    shares = torch.log_softmax(logits.masked_fill(~valid, -1e9), dim=1)
    return torch.sigmoid(model.calibration[0] * shares + model.calibration[1]) * valid


@torch.inference_mode()
def probabilities(model: FusionModel, data: FusionData) -> Tensor:
    """Return the probabilities of all candidates."""
    return calibrated(model, data.logits(model), data.valid)


@torch.inference_mode()
def ndcg(model: FusionModel, data: FusionData) -> float:
    """Return NDCG@10 of the order of logits."""
    logits = data.logits(model)
    own = logits.gather(1, data.targets[:, None])
    return summarize((logits >= own).sum(dim=1).numpy())["ndcg@10"]


def listwise_loss(scores: Tensor, data: FusionData) -> float:
    """Return the mean of -log softmax(scores)[target], independently of the code under test."""
    known = data.targets >= 0
    exp = scores.masked_fill(~data.valid, -torch.inf)[known].double().softmax(dim=1)
    return float(-exp.gather(1, data.targets[known][:, None]).log().mean())


def test_a_planted_signal_is_learnt() -> None:
    """On cases that were not trained on, the candidate that the rule names is first."""
    model = fit_fusion(cases(400), seed=1, epochs=30)
    logits = cases(200, seed=9).logits(model)
    assert (logits.argmax(dim=1) == cases(200, seed=9).targets).float().mean() > 0.8


@pytest.mark.parametrize("labels", ["random", "retrieval's"])
@pytest.mark.parametrize("n_epochs", [0, 3, 60])
def test_the_order_is_never_worse_than_retrieval_on_the_cases_kept_apart(
    monkeypatch: pytest.MonkeyPatch, n_epochs: int, labels: str
) -> None:
    """The network begins with retrieval's softmax, and keeps no worse weights."""
    seen: list[FusionData] = []
    real = fusion.fit_network

    def spy(model: FusionModel, learnt: FusionData, kept: FusionData, *rest: Any) -> None:
        seen.extend([learnt, kept])
        real(model, learnt, kept, *rest)

    monkeypatch.setattr(fusion, "fit_network", spy)
    data = drawn(60, seed=4)[0]
    if labels == "random":
        data = replace(data, targets=torch.randint(12, (60,), generator=torch.Generator().manual_seed(3)))
    model = fit_fusion(data, seed=1, epochs=n_epochs)
    learnt, kept = seen
    assert (len(kept.targets), len(learnt.targets)) == (12, 48)
    together = torch.cat([kept.features, learnt.features]).sum(dim=(1, 2))
    # each case in one
    torch.testing.assert_close(together.sort().values, data.features.sum(dim=(1, 2)).sort().values)
    with torch.inference_mode():
        found, retrieval = listwise_loss(kept.logits(model), kept), listwise_loss(kept.features[..., SHARE], kept)
    assert found <= retrieval + 1e-2  # the network's noise at its start


def walks(n: int, seed: int, c: int = 40) -> FusionData:
    """Return cases of which only what follows what tells the next item; all else is noise."""
    names = feature_names(("view",))
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, c, len(names), generator=generator)
    shares = torch.log_softmax(1.5 * torch.randn(n, c, generator=generator), dim=1)
    features[..., names.index("step")] = shares
    targets = torch.multinomial(shares.exp(), 1, generator=generator)[:, 0]
    return replace(cases(n, seed, c), features=features, targets=targets)


def test_few_cases_keep_the_order_of_what_follows_what_where_nothing_is_better() -> None:
    """Where items may come back, a line is drawn to that order too, and not to noise."""
    fresh, step = walks(600, seed=5), feature_names(("view",)).index("step")
    for seed in (1, 2, 3):
        found = ndcg(fit_fusion(walks(150, seed), seed=seed, epochs=2), fresh)
        order = fresh.features[..., step]
        ranks = (order >= order.gather(1, fresh.targets[:, None])).sum(dim=1)
        assert found > summarize(ranks.numpy())["ndcg@10"] - 0.02


def test_retrievals_order_is_kept_where_nothing_is_better() -> None:
    """Where only retrieval predicts the next item, new lists keep its order."""
    model = fit_fusion(drawn(150, seed=1)[0], seed=1, epochs=20)
    fresh = drawn(200, seed=2)[0]
    with torch.inference_mode():
        logits = fresh.logits(model)
    places = [scores.argsort(dim=1).argsort(dim=1).double() for scores in (logits, fresh.features[..., SHARE])]
    spearman = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*places, strict=True)]
    assert np.mean(spearman) > 0.97
    untrained = fit_fusion(drawn(150, seed=1)[0], seed=1, epochs=0)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.log_softmax(fresh.logits(untrained), dim=1), fresh.features[..., SHARE], atol=0.05, rtol=0
        )


@pytest.mark.parametrize("share_outside", [0.0, 0.4])
def test_planted_probabilities_come_out_of_the_sigmoid(share_outside: float) -> None:
    """Bin by bin, probabilities match frequencies, even with absent next items.

    Two numbers cannot follow every curve: near the top, where few candidates are, more is allowed.
    """
    data, _ = drawn(1_500, seed=1, share_outside=share_outside)
    model = fit_fusion(data, seed=1, epochs=1)
    fresh, truth = drawn(3_000, seed=2, share_outside=share_outside)
    found = probabilities(model, fresh)
    happened = (torch.arange(12) == fresh.targets[:, None]).float()
    for low, high in ((0.0, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.35), (0.35, 0.6)):
        chosen = (found >= low) & (found < high)
        assert chosen.sum() > 100
        tolerance = 0.03 if high <= 0.35 else 0.1
        assert found[chosen].mean() == pytest.approx(float(happened[chosen].mean()), abs=tolerance)
    assert (found - truth).abs().mean() < 0.03
    assert float(found.sum()) == pytest.approx(float(happened.sum()), rel=0.1)


def test_padding_is_not_learnt_from() -> None:
    """The content of invalid candidates does not change the fitted network."""
    data = cases(40)
    data.valid[:, 6:] = False
    data = replace(data, targets=data.features[:, :6, MF].argmax(dim=1))
    other = data.features.clone()
    other[:, 6:] = 1e6
    one, same = (fit_fusion(replace(data, features=x), seed=1, epochs=2).state_dict() for x in (data.features, other))
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_a_case_gets_the_same_alone_and_in_a_batch() -> None:
    """The fitted model is in evaluation mode: no dropout, no statistics of the batch."""
    data = cases(100)
    model = fit_fusion(data, seed=1, epochs=2)
    alone = torch.cat([probabilities(model, data.part(torch.tensor([i]))) for i in range(5)])
    torch.testing.assert_close(probabilities(model, data)[:5], alone, atol=1e-6, rtol=1e-5)


def test_fitting_is_deterministic_by_seed() -> None:
    """The seed fixes the weights, whatever was drawn before."""
    one = fit_fusion(cases(80), seed=1, epochs=2).state_dict()
    torch.rand(3)
    same, other = (fit_fusion(cases(80), seed=seed, epochs=2).state_dict() for seed in (1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["user_projection.weight"], other["user_projection.weight"])


@pytest.mark.parametrize("constant", [0.0, -6.9])
def test_a_feature_that_never_varied_has_no_say(constant: float) -> None:
    """Without new items in training is_new is constant, and must not count in serving."""
    data = cases(100)
    data.features[..., NEW] = constant
    model = fit_fusion(data, seed=1, epochs=5)
    assert (model.feature_scale == 0).nonzero().flatten().tolist() == [NEW]
    before = probabilities(model, data)
    data.features[..., NEW] = 1.0
    torch.testing.assert_close(probabilities(model, data), before, rtol=0, atol=0)


def test_features_far_outside_training_stay_finite() -> None:
    """Standardised features are cut, so extreme ones give finite logits."""
    data = cases(60)
    model = fit_fusion(data, seed=1, epochs=2)
    far, farther = (replace(data, features=data.features.sign() * size) for size in (1e3, 1e6))
    torch.testing.assert_close(probabilities(model, far), probabilities(model, farther))
    assert bool(torch.isfinite(probabilities(model, farther)).all())


@pytest.mark.parametrize("n", [1, 2, 65])
def test_few_cases_are_no_error(n: int) -> None:
    """One case, or a last batch of one, gives a network and reports each epoch."""
    told: list[int] = []
    model = fit_fusion(cases(n), seed=1, epochs=2, on_epoch=told.append)
    assert bool(torch.isfinite(probabilities(model, cases(n))).all())
    assert told == [0, 1]


def test_cases_without_their_next_item_among_the_candidates_are_no_error() -> None:
    """Such cases teach no order and lower the probabilities."""
    data = cases(100)
    some = data.targets.clone()
    some[::2] = -1
    full, half = (fit_fusion(replace(data, targets=t), seed=1, epochs=5) for t in (data.targets, some))
    assert probabilities(half, data).sum() < 0.8 * probabilities(full, data).sum()


def test_without_any_target_recent_popularity_ranks() -> None:
    """Where no candidate is ever the next item, there is nothing to learn."""
    data = cases(30)
    model = fit_fusion(replace(data, targets=torch.full((30,), -1)), seed=1, epochs=2)
    recent = data.features[..., FEATURES.index("recent_popularity")]
    with torch.inference_mode():
        assert torch.equal(data.logits(model).argsort(dim=1), recent.argsort(dim=1))
    assert bool(torch.isfinite(probabilities(model, data)).all())


def test_labels_of_the_other_class_alone_are_no_error() -> None:
    """Where the only candidate is always next, the probability is near 1 and finite."""
    model = fit_fusion(cases(30, c=1), seed=1, epochs=2)
    found = probabilities(model, cases(30, c=1))
    assert bool(torch.isfinite(found).all())
    assert found.min() > 0.9
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


def test_what_describes_users_and_items_lifts_the_order() -> None:
    """Only the user and item inputs predict the next item here, no scalar feature does."""

    def planted(seed: int) -> FusionData:
        data = cases(600, seed)
        items = torch.zeros(40, 2)
        items[:, 1] = torch.arange(40) % 2 * 2.0 - 1.0
        users = torch.zeros(600, 2)
        users[:, 1] = torch.arange(600) % 2 * 2.0 - 1.0
        fits = (items[data.rows][..., 1] == users[:, None, 1]).float()
        targets = torch.multinomial(fits + 1e-6, 1, generator=torch.Generator().manual_seed(seed))[:, 0]
        return replace(data, users=users, items=items, targets=targets)

    known, fresh = planted(1), planted(2)
    blind = replace(known, users=torch.zeros_like(known.users), items=torch.zeros_like(known.items))
    with_sides, without = (fit_fusion(data, seed=1, epochs=25) for data in (known, blind))
    assert ndcg(with_sides, fresh) > ndcg(without, fresh) + 0.1


def test_the_fallback_ranks_by_recent_popularity_alone() -> None:
    """A log too small to fit a network must not give lists in random order."""
    features = torch.zeros(1, 3, len(FEATURES))
    features[..., FEATURES.index("recent_popularity")] = torch.tensor([0.5, 2.0, -1.0])
    features[..., 0] = torch.tensor([9.0, 0.0, 5.0])
    with torch.inference_mode():
        logits = popularity_fusion(5, 7)(features, torch.randn(1, 5), torch.randn(1, 3, 7))
    assert logits[0].argsort(descending=True).tolist() == [1, 0, 2]
