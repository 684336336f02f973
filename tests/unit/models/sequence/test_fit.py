"""Fitting the sequence model: learns a rule, keeps the best epoch, stops, repeats."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from models.sequence import fit as sequence_training
from models.sequence.fit import (
    WARM_UP_SHARE,
    FitControl,
    SequenceData,
    SequenceFit,
    SequenceTraining,
    fit_sequence,
    learning_rate_share,
)
from models.sequence.model import SequenceConfig, SequenceModel

pytestmark = pytest.mark.model

CONFIG = SequenceConfig(dim=8, text_dim=4, max_length=5)
TRAINING = SequenceTraining(epochs=3, refit_epochs=2, batch_size=16, learning_rate=1e-2)


def circle(n_users: int = 24, length: int = 9, n_items: int = 8) -> SequenceData:
    """Return events of users on a circle of items; texts narrower than the model's."""
    rng = np.random.default_rng(0)
    users, steps = (a.ravel() for a in np.meshgrid(np.arange(n_users), np.arange(length), indexing="xy"))
    text = rng.normal(size=(n_items, 3)).astype(np.float32)
    return SequenceData(users, (users + steps) % n_items, rng.integers(3, size=len(users)), 60_000 * steps, text)


def fit(
    training: SequenceTraining = TRAINING,
    control: FitControl | None = None,
    *,
    seed: int = 1,
    config: SequenceConfig = CONFIG,
) -> SequenceFit:
    """Fit the small model to the circle."""
    return fit_sequence(circle(), config, training, seed=seed, device="cpu", control=control or FitControl())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether two sets of weights are equal in every bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class RecordingValidator:
    """A fake validator: returns given scores and records the weights."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.asked: list[dict[str, Tensor]] = []

    def __call__(self, model: SequenceModel) -> float:
        assert not model.training
        self.asked.append({name: value.clone() for name, value in model.state_dict().items()})
        return self.scores[len(self.asked) - 1]


@pytest.mark.parametrize("n_negatives", [None, 6])
@pytest.mark.parametrize("kind", ["linear_recurrence", "transformer"])
def test_the_loss_falls_where_there_is_a_rule(
    kind: Literal["linear_recurrence", "transformer"], n_negatives: int | None
) -> None:
    """From about that of guessing to far below it, with either kind and either loss."""
    training = replace(TRAINING, epochs=12, learning_rate=2e-2, n_negatives=n_negatives, id_dropout=0.0)
    config = replace(CONFIG, kind=kind, dropout=0.0, input_dropout=0.0)
    found = fit(training, config=config)
    assert [epoch for epoch, _ in found.losses] == list(range(1, 13))
    assert found.losses[0][1] == pytest.approx(np.log(8), rel=0.15)
    assert found.losses[-1][1] < 0.5 * np.log(8)


def test_the_fitted_weights_are_a_models() -> None:
    """They load, they are numbers, and they are on the CPU, apart from the model that made them."""
    found = fit()
    SequenceModel(CONFIG, 8).load_state_dict(found.state)
    assert all(value.isfinite().all() and not value.requires_grad for value in found.state.values())
    assert found.epochs == 3
    assert found.scores == []


@pytest.mark.parametrize("n_negatives", [None, 6])
def test_a_seed_gives_the_same_weights_again(n_negatives: int | None) -> None:
    """In every bit, whatever torch's generator did before; another seed gives others."""
    training = replace(TRAINING, epochs=2, n_negatives=n_negatives)
    one = fit(training)
    torch.rand(3)
    again = fit(training)
    assert same(one.state, again.state)
    assert one.losses == again.losses
    assert not same(one.state, fit(training, seed=2).state)


def test_negatives_change_the_fit() -> None:
    """The sampled loss is another one than that over all items."""
    assert not same(fit().state, fit(replace(TRAINING, n_negatives=6)).state)


def test_id_dropout_of_all_items_leaves_their_own_vectors_as_they_began() -> None:
    """Without its own part an item learns only through its text; otherwise through both."""
    torch.manual_seed(1)  # as the fit does before it makes its model
    before = SequenceModel(CONFIG, 8)
    for share, stays in ((1.0, True), (0.5, False), (0.0, False)):
        after = fit(replace(TRAINING, id_dropout=share, weight_decay=0.0, epochs=1)).state
        assert torch.equal(after["id_embedding.weight"], before.id_embedding.weight) is stays
        assert not torch.equal(after["text_projection.weight"], before.text_projection.weight)


def test_the_best_epoch_is_kept() -> None:
    """The fit keeps the first best weights, and scores and losses of all epochs."""
    validator = RecordingValidator(0.1, 0.5, 0.2, 0.5)
    found = fit(replace(TRAINING, epochs=4), FitControl(validate=validator))
    assert found.epochs == 2
    assert same(found.state, validator.asked[1])
    assert not same(found.state, validator.asked[3])
    assert found.scores == [(1, 0.1), (2, 0.5), (3, 0.2), (4, 0.5)]
    assert len(found.losses) == 4


def test_a_validator_only_watches() -> None:
    """The losses are the same with and without one: its mode of evaluation does not stay."""
    watched = fit(control=FitControl(validate=RecordingValidator(0.1, 0.2, 0.3)))
    assert watched.losses == fit().losses
    assert same(watched.state, fit().state)


def test_patience_stops_the_fit() -> None:
    """After two epochs without a better score no other is begun."""
    validator = RecordingValidator(0.1, 0.4, 0.3, 0.4, 0.9)
    found = fit(replace(TRAINING, epochs=5, patience=2), FitControl(validate=validator))
    assert len(found.losses) == 4
    assert found.epochs == 2


@pytest.mark.parametrize("step_s", [1, 7, 45, 90])
def test_minutes_stop_the_fit_and_bring_the_learning_rate_down(step_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves on whenever it is asked.

    Only the first batch begins within the minute.

    An epoch may be longer than the minute: it is cut, and the rate has come down all the same.
    """
    now, shares = iter(range(0, 100_000, step_s)), []

    def record(share: float) -> float:
        shares.append(share)
        return learning_rate_share(share)

    monkeypatch.setattr(sequence_training, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    monkeypatch.setattr(sequence_training, "learning_rate_share", record)
    found = fit(replace(TRAINING, epochs=50, batch_size=2), FitControl(minutes=1.0))
    assert found.epochs == len(found.losses) == {1: 3}.get(step_s, 1)
    assert next(now) <= 60 + 10 * step_s
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(step_s / 60)
    assert shares[-1] > 1 - 2 * step_s / 60


def test_enough_minutes_change_nothing() -> None:
    """A limit that is never near leaves the learning rate to the epochs."""
    assert same(fit(control=FitControl(minutes=1e6)).state, fit().state)


def test_a_refit_begins_from_the_weights_it_is_given() -> None:
    """A refit moves the weights by its own epochs and rate, and not at a rate of 0."""
    start = fit()
    control = FitControl(start=start)
    for training in (replace(TRAINING, refit_epochs=0), replace(TRAINING, refit_learning_rate=0.0)):
        assert same(fit(training, control, seed=9).state, start.state)
    moved = fit(TRAINING, control)
    assert len(moved.losses) == moved.epochs == 2
    assert not same(moved.state, start.state)
    assert moved.losses[0][1] < start.losses[0][1]


def test_a_refit_leaves_what_it_began_from_as_it_was() -> None:
    """The first fit's weights are not changed in place."""
    start = fit()
    kept = {name: value.clone() for name, value in start.state.items()}
    fit(TRAINING, FitControl(start=start))
    assert same(start.state, kept)


def test_on_epoch_is_told_of_each() -> None:
    """Epochs done, of how many, with loss and score."""
    told: list[tuple[int, int, float, float | None]] = []
    control = FitControl(validate=RecordingValidator(0.3, 0.2, 0.1), on_epoch=lambda *of: told.append(of))
    found = fit(control=control)
    assert [(done, total) for done, total, _, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert [loss for _, _, loss, _ in told] == [loss for _, loss in found.losses]
    assert [score for _, _, _, score in told] == [0.3, 0.2, 0.1]


@pytest.mark.parametrize("n_users", [0, 5])
def test_a_log_without_a_next_item_is_no_error(n_users: int) -> None:
    """Without users, or with one event each, the weights stay as they began."""
    data = replace(circle(n_users, 1), text=circle().text)
    found = fit_sequence(data, CONFIG, TRAINING, seed=1, device="cpu", control=FitControl())
    assert [loss for _, loss in found.losses] == [0.0] * 3
    torch.manual_seed(1)
    assert same(found.state, SequenceModel(CONFIG, 8).state_dict())


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    """Little at the start, all after the warm-up, half midway down, nothing at the end."""
    assert 0.0 < learning_rate_share(0.0) < 0.05
    assert learning_rate_share(WARM_UP_SHARE) == 1.0
    assert learning_rate_share(WARM_UP_SHARE - 1e-9) == pytest.approx(1.0)
    assert learning_rate_share((1.0 + WARM_UP_SHARE) / 2) == pytest.approx(0.5)
    assert learning_rate_share(1.0) == pytest.approx(0.0, abs=1e-12)
    assert learning_rate_share(1.5) == pytest.approx(0.0, abs=1e-12)
    shares = [learning_rate_share(step / 100) for step in range(101)]
    peak = shares.index(max(shares))
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
