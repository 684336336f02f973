"""The validator: NDCG@10 by hand, seen items masked, unfitted items by text alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.base.types import Float32
from models.interactions import Interactions
from models.sequence import validation as sequence_validation
from models.sequence.model import SequenceConfig, SequenceModel
from models.sequence.validation import Validator
from tests.support.tiny_models import T0, tiny_log

pytestmark = pytest.mark.model

CONFIG = SequenceConfig(dim=4, text_dim=3, max_length=5)


def log_of(*pairs: str) -> Interactions:
    """Return a log of pairs ``user item``, a second apart."""
    return Interactions.from_rows((*pair.split(), "view", T0 + 1_000 * i) for i, pair in enumerate(pairs))  # type: ignore[misc]


def text_of(log: Interactions) -> Float32:
    """Return one text vector per item, narrower than the model's."""
    return np.random.default_rng(0).normal(size=(len(log.item_ids), 2)).astype(np.float32)


def model_of(log: Interactions, biases: dict[str, float]) -> SequenceModel:
    """Return a model that ranks by these biases alone: its item vectors are zero."""
    model = SequenceModel(CONFIG, len(log.item_ids)).eval()
    with torch.no_grad():
        model.id_embedding.weight.zero_()
        model.text_projection.weight.zero_()
        model.item_bias.copy_(torch.tensor([biases[item_id] for item_id in log.item_ids]))
    return model


def test_ndcg_by_hand() -> None:
    """One target in the first place, one in the third: (1 + 1 / log2(4)) / 2."""
    log = log_of("u a", "v b", "u c", "v d")
    # For u, a is masked: c is first. For v, b is masked: c and a stand before d.
    model = model_of(log, {"a": 3.0, "b": 9.0, "c": 10.0, "d": 2.0})
    assert Validator(log, [2, 3], log, text_of(log), CONFIG)(model) == pytest.approx((1.0 + 1.0 / math.log2(4.0)) / 2)


def test_seen_items_are_masked_even_when_the_window_has_lost_them() -> None:
    """The mask covers all items the user ever had, and no others."""
    log = log_of(*(f"u {item}" for item in "abcdefg"), "v x", "u y")
    model = model_of(log, {item: 5.0 for item in "abcdefg"} | {"x": 4.0, "y": 3.0})
    assert Validator(log, [8], log, text_of(log), CONFIG)(model) == pytest.approx(1.0 / math.log2(3.0))


def test_a_target_that_the_user_had_before_is_asked_for_all_the_same() -> None:
    """The mask does not apply to the target."""
    log = log_of("u a", "u b", "u a")
    model = model_of(log, {"a": 1.0, "b": 2.0})
    assert Validator(log, [2], log, text_of(log), CONFIG)(model) == 1.0


def test_ties_count_against_the_target() -> None:
    """With equal scores the target is last: third of four items, one masked."""
    log = log_of("u a", "v c", "v d", "u b")
    model = model_of(log, dict.fromkeys("abcd", 0.0))
    assert Validator(log, [3], log, text_of(log), CONFIG)(model) == pytest.approx(1.0 / math.log2(4.0))


def test_places_after_the_tenth_are_worth_nothing() -> None:
    """The eleventh place is a miss."""
    items = "abcdefghijkl"
    log = log_of("u l", *(f"v {item}" for item in items[:11]), "u k")
    biases = {item: -float(i) for i, item in enumerate(items)}
    assert Validator(log, [12], log, text_of(log), CONFIG)(model_of(log, biases)) == 0.0
    assert Validator(log, [12], log, text_of(log), CONFIG)(model_of(log, biases | {"k": -8.5})) > 0.28


def pointing_model(log: Interactions) -> SequenceModel:
    """Return a model with user vectors (1, 0, 0, 0) and a large own vector of item c."""
    model = model_of(log, dict.fromkeys(log.item_ids, 0.0))
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        model.id_embedding.weight[:, 0] = torch.tensor([9.0 if item == "c" else 1.0 for item in log.item_ids])
        model.text_projection.weight[0, 0] = 1.0
    return model


def test_items_unseen_in_the_fit_have_their_text_only() -> None:
    """An item's own vector counts only if it has a fitted event."""
    log = log_of("u a", "v b", "v d", "u c")
    text = np.zeros((4, 2), dtype=np.float32)
    model = pointing_model(log)
    assert Validator(log, [3], log, text, CONFIG)(model) == 1.0
    early = log.where(slice(0, 3))
    assert Validator(log, [3], early, text, CONFIG)(model) == pytest.approx(1.0 / math.log2(4.0))
    text[log.item_ids.index("c"), 0] = 1.5
    assert Validator(log, [3], early, text, CONFIG)(model) == 1.0


def test_batches_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches keep each window with its own target and mask."""
    log = tiny_log()
    torch.manual_seed(0)
    model = SequenceModel(CONFIG, len(log.item_ids)).eval()
    positions = list(range(200, 231))
    whole = Validator(log, positions, log, text_of(log), CONFIG)(model)
    one_by_one = [Validator(log, [position], log, text_of(log), CONFIG)(model) for position in positions]
    monkeypatch.setattr(sequence_validation, "BATCH", 4)
    assert Validator(log, positions, log, text_of(log), CONFIG)(model) == pytest.approx(whole)
    assert whole == pytest.approx(sum(one_by_one) / len(one_by_one))
    assert 0.0 < whole < 1.0


def test_a_users_first_event_is_ranked_by_bias_alone() -> None:
    """An empty window has a vector of zeros."""
    log = log_of("u a", "v b", "w a")
    model = pointing_model(log)
    with torch.no_grad():
        model.item_bias.copy_(torch.tensor([2.0, 1.0]))
    assert Validator(log, [2], log, text_of(log), CONFIG)(model) == 1.0


def test_weights_that_are_no_numbers_are_an_error() -> None:
    """A diverged fit is never the best."""
    log = log_of("u a", "v b", "u b")
    model = model_of(log, {"a": float("nan"), "b": float("nan")})
    with pytest.raises(ValueError, match="rank|NaN"):
        Validator(log, [2], log, text_of(log), CONFIG)(model)
