"""The parts of the model: sequence model, factors, fusion, cold start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.cold_start import HALF_LIFE_MS, DecayedCounts, log_share
from models.factors import FactorsConfig, fit_factors, fold_in, gram
from models.fusion import FEATURES, fit_fusion
from models.sequence import N_GAPS, SequenceConfig, SequenceModel, gap_bucket, pack
from models.types import Behaviour

CONFIG = SequenceConfig(dim=16, text_dim=8, max_length=6, n_layers=1, n_heads=2)


@pytest.fixture
def model() -> SequenceModel:
    """Give a small sequence model with random weights, as in serving."""
    torch.manual_seed(0)
    return SequenceModel(CONFIG, 10).eval()


def states(model: SequenceModel, items: torch.Tensor) -> torch.Tensor:
    """Return the states of item vectors, all of one type and gap."""
    zeros = torch.zeros(items.shape[:2], dtype=torch.long)
    with torch.inference_mode():
        return model(items, zeros, zeros)  # type: ignore[no-any-return]


def test_states_look_back_only(model: SequenceModel) -> None:
    """Causality: what comes later must not change an earlier state, or training would see its answer."""
    items = torch.randn(1, 6, 16)
    changed = items.clone()
    changed[0, 4:] = torch.randn(2, 16)
    before, after = states(model, items), states(model, changed)
    torch.testing.assert_close(before[0, :4], after[0, :4])
    assert not torch.allclose(before[0, 4], after[0, 4])


def test_padding_changes_no_state(model: SequenceModel) -> None:
    """A window alone and the same window padded in a batch have one state."""
    items = torch.randn(1, 3, 16)
    padded = torch.cat([items, torch.randn(1, 3, 16)], dim=1)
    torch.testing.assert_close(states(model, items)[0, 2], states(model, padded)[0, 2])


def test_text_alone_gives_a_vector(model: SequenceModel) -> None:
    """With the id part left out an item is its text's projection; equal texts are equal items."""
    text = torch.ones(10, 8)
    table = model.item_table(text, torch.zeros(10, 1))
    torch.testing.assert_close(table[0], table[9])
    assert table.abs().sum() > 0


def test_pack_keeps_the_newest_known_items() -> None:
    """Unknown items are left out, the newest max_length behaviours stay, oldest first, padded at the end."""
    window = [Behaviour(f"i{i}", "click", 1_000 * i) for i in range(9)]
    row_of = {f"i{i}": i for i in range(9) if i != 5}
    packed = pack([window, window[:2], []], row_of, 6)
    assert packed.rows[0].tolist() == [2, 3, 4, 6, 7, 8]
    assert packed.lengths.tolist() == [6, 2, 0]
    assert packed.rows[1].tolist() == [0, 1, 0, 0, 0, 0]
    assert packed.gaps[1, 2:].tolist() == [0, 0, 0, 0]


def test_gap_buckets_are_bounded_and_grow() -> None:
    """Any gap, also a negative one, has a bucket of the embedding table."""
    buckets = gap_bucket(np.array([-5, 0, 1_000, 10**9, 10**18]))
    assert (np.diff(buckets) >= 0).all()
    assert buckets.min() >= 1
    assert buckets.max() == N_GAPS - 1


def test_fold_in_solves_the_normal_equations() -> None:
    """Equal to the full weighted least squares of Hu, Koren and Volinsky, written out over all items."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((30, 5)).astype(np.float32)
    had, alpha, regularisation = [3, 7, 21], 10.0, 0.5
    weights = np.ones(30)
    weights[had] += alpha
    target = np.zeros(30)
    target[had] = 1.0
    full = np.linalg.solve(
        factors.T @ (weights[:, None] * factors) + regularisation * np.eye(5), factors.T @ (weights * target)
    )
    seen = np.zeros((1, 4, 5), dtype=np.float32)
    seen[0, :3] = factors[had]
    mask = np.array([[True, True, True, False]])
    found = fold_in(seen, mask, gram(factors), alpha=alpha, regularisation=regularisation)
    np.testing.assert_allclose(found[0], full, rtol=1e-3, atol=1e-4)


def test_fold_in_of_nothing_is_zero_and_batches_are_independent() -> None:
    """A user without items gets zeros, and nobody's factors depend on who else is in the batch."""
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((20, 4)).astype(np.float32)
    seen = factors[rng.integers(0, 20, (3, 5))]
    mask = np.array([[True] * 5, [False] * 5, [True, True, False, False, False]])
    arguments = {"alpha": 10.0, "regularisation": 1.0}
    together = fold_in(seen, mask, gram(factors), **arguments)
    alone = fold_in(seen[2:], mask[2:], gram(factors), **arguments)
    assert together[1].tolist() == [0.0] * 4
    np.testing.assert_allclose(together[2], alone[0], rtol=1e-4, atol=1e-5)


def test_factors_find_a_checkerboard() -> None:
    """Users who had even items must be offered even items: the answer is beyond doubt."""
    users = np.repeat(np.arange(40), 10)
    items = np.concatenate([np.random.default_rng(u).permutation(np.arange(u % 2, 30, 2))[:10] for u in range(40)])
    fitted = fit_factors(users, items, 40, 30, FactorsConfig(dim=8, epochs=150, batch_size=128), seed=1)
    seen = fitted.factors[items[:10]][None]
    user = fold_in(seen, np.ones((1, 10), dtype=bool), gram(fitted.factors), alpha=10.0, regularisation=1.0)
    scores = (user @ fitted.factors.T)[0]
    assert scores[0::2].mean() > scores[1::2].mean() + 0.1


def planted(n: int = 4_000) -> tuple[torch.Tensor, ...]:
    """Return candidates whose label follows their first feature."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(n, len(FEATURES), generator=generator)
    labels = (torch.rand(n, generator=generator) < torch.sigmoid(3 * features[:, 0])).float()
    return features, torch.randn(n, 5, generator=generator), torch.randn(n, 5, generator=generator), labels


def test_fusion_learns_and_is_a_probability() -> None:
    """Its sigmoid orders a planted signal and is calibrated on average."""
    features, users, items, labels = planted()
    fusion = fit_fusion(features, users, items, labels, seed=1, epochs=150)
    with torch.inference_mode():
        p = torch.sigmoid(fusion(features, users, items))
    assert bool(((p > 0) & (p < 1)).all())
    assert p[labels == 1].mean() > p[labels == 0].mean() + 0.3
    assert abs(float(p.mean() - labels.mean())) < 0.05


def test_fusion_is_deterministic() -> None:
    """The same seed gives the same network."""
    data = planted(500)
    one, other = (fit_fusion(*data, seed=7, epochs=2).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_counts_halve_with_the_half_life() -> None:
    """An event one half-life old counts a half, whenever it was added."""
    counts = DecayedCounts()
    counts.add_all([("new", 10 * HALF_LIFE_MS), ("old", 9 * HALF_LIFE_MS)])
    assert counts.scores(["old", "new", "never"], 10 * HALF_LIFE_MS).tolist() == [0.5, 1.0, 0.0]


def test_counts_survive_centuries() -> None:
    """The reference time moves on before weights overflow, and ratios stay."""
    counts = DecayedCounts()
    counts.add("a", 0)
    counts.add("a", 300 * HALF_LIFE_MS)
    counts.add("b", 299 * HALF_LIFE_MS)
    scores = counts.scores(["a", "b"], 300 * HALF_LIFE_MS)
    assert scores.tolist() == pytest.approx([1.0, 0.5])


def test_log_share_does_not_depend_on_volume() -> None:
    """A shard that sees a tenth of the traffic gives the same feature."""
    scores = np.array([1.0, 5.0, 0.0], dtype=np.float32)
    np.testing.assert_allclose(log_share(scores), log_share(10 * scores), rtol=1e-6)
