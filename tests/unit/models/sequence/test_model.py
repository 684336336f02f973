"""The sequence model in both kinds: causal states, no effect of padding, exact steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from models.base.types import Behaviour
from models.sequence.model import SequenceConfig, SequenceModel
from models.sequence.packing import N_GAPS, NO_GAP, gap_bucket, pack
from tests.support.tiny_models import T0, artifact, text_vectors, window

pytestmark = pytest.mark.model

CONFIG = SequenceConfig(dim=16, text_dim=8, max_length=12, n_layers=2)
KINDS: tuple[Literal["linear_recurrence", "transformer"], ...] = ("linear_recurrence", "transformer")
ROW_OF = {f"i{row}": row for row in range(20)}


def model_of(kind: Literal["linear_recurrence", "transformer"]) -> SequenceModel:
    """Return a model with random weights, large enough that every input matters."""
    torch.manual_seed(0)
    made = SequenceModel(replace(CONFIG, kind=kind), 20).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Give a model of each kind."""
    return model_of(request.param)


def inputs(length: int, n: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return random items, types and gaps."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, length, CONFIG.dim, generator=generator),
        torch.randint(3, (n, length), generator=generator),
        torch.randint(N_GAPS, (n, length), generator=generator),
    )


@pytest.mark.parametrize("changed", ["item", "type", "gap"])
def test_a_later_behaviour_does_not_change_earlier_states(model: SequenceModel, changed: str) -> None:
    """A change at position 5 changes its own and later states, not earlier ones."""
    items, types, gaps = inputs(8)
    with torch.inference_mode():
        before = model(items, types, gaps)
        items, types, gaps = items.clone(), types.clone(), gaps.clone()
        if changed == "item":
            items[0, 5] *= -1.0
        elif changed == "type":
            types[0, 5] = (types[0, 5] + 1) % 3
        else:
            gaps[0, 5] = (gaps[0, 5] + 1) % N_GAPS
        after = model(items, types, gaps)
    torch.testing.assert_close(after[0, :5], before[0, :5], atol=1e-6, rtol=0)
    assert ((after - before)[0, 5:].abs().amax(dim=1) > 1e-3).all()


def test_an_earlier_behaviour_and_its_place_matter(model: SequenceModel) -> None:
    """The state of the newest behaviour depends on those before it and on their order."""
    items, types, gaps = inputs(4)
    swapped = items[:, [1, 0, 2, 3]]
    with torch.inference_mode():
        assert (model(items, types, gaps) - model(swapped, types, gaps))[0, 3].abs().max() > 1e-3


def test_padding_does_not_change_the_last_real_state(model: SequenceModel) -> None:
    """A window gives the same state alone and in a batch of longer ones."""
    items, types, gaps = inputs(9, n=3)
    with torch.inference_mode():
        together = model(items, types, gaps)
        for row, length in enumerate((1, 4, 9)):
            alone = model(*(x[row : row + 1, :length] for x in (items, types, gaps)))
            torch.testing.assert_close(together[row, length - 1], alone[0, -1], atol=1e-5, rtol=1e-5)


def test_a_users_vector_is_the_state_after_the_newest_behaviour(model: SequenceModel) -> None:
    """Each window's vector is its own last state; an empty window has zeros."""
    table = torch.randn(20, CONFIG.dim, generator=torch.Generator().manual_seed(2)).numpy()
    windows = [window("i1", "i2", "i3"), [], window("i4"), window("nowhere"), window(*ROW_OF, step_ms=10**6)]
    vectors = model.user_vectors(pack(windows, ROW_OF, CONFIG.max_length), table)
    assert vectors.shape == (5, CONFIG.dim)
    assert vectors.dtype == np.float32
    assert not vectors[[1, 3]].any()
    for i in (0, 2, 4):
        packed = pack([windows[i]], ROW_OF, CONFIG.max_length)
        with torch.inference_mode():
            items, types, gaps = (torch.from_numpy(a) for a in (table[packed.rows], packed.types, packed.gaps))
            expected = model(items, types, gaps)[0, -1].numpy()
        np.testing.assert_allclose(vectors[i], expected, atol=1e-5)
        assert np.abs(expected).max() > 0.01


def test_no_window_has_no_vector(model: SequenceModel) -> None:
    """Only empty windows, or none, are no error."""
    table = np.ones((20, CONFIG.dim), dtype=np.float32)
    assert model.user_vectors(pack([], ROW_OF, 5), table).shape == (0, CONFIG.dim)
    assert not model.user_vectors(pack([[], []], ROW_OF, 5), table).any()


def test_a_state_depends_on_type_and_gap() -> None:
    """The same item at another time or of another type gives another state."""
    model = model_of("linear_recurrence")
    items, types, gaps = inputs(1)
    with torch.inference_mode():
        state = model(items, types, gaps)
        other_type = model(items, (types + 1) % 3, gaps)
        other_gap = model(items, types, (gaps + 1) % N_GAPS)
    assert (other_type - state).abs().max() > 1e-3
    assert (other_gap - state).abs().max() > 1e-3


def test_pack_keeps_the_newest_and_leaves_unknown_items_out() -> None:
    """The newest max_length known items stay, in order; unknown ones take no place."""
    packed = pack([window("a", "b", "x", "c", "d", "y"), window("x"), window("a")], {"a": 0, "b": 1, "c": 2, "d": 3}, 3)
    assert packed.lengths.tolist() == [3, 0, 1]
    assert packed.rows.tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0]]
    assert packed.types[0].tolist() == [1, 1, 1]


def test_pack_counts_gaps_between_kept_behaviours() -> None:
    """The first behaviour and padding have no gap; others have the time since the last."""
    one, other = window("a", "b", step_ms=99_000), window("a", "b", "a", step_ms=9_000)
    packed = pack([one, other], {"a": 0, "b": 1}, 5)
    assert packed.gaps.tolist() == [[NO_GAP, 5, NO_GAP], [NO_GAP, 3, 3]]


def test_pack_takes_an_unknown_type_for_a_view() -> None:
    """An unknown type counts as a view."""
    packed = pack([[Behaviour("a", "wish", T0), Behaviour("a", "purchase", T0)]], {"a": 0}, 5)
    assert packed.types.tolist() == [[1, 2]]


@pytest.mark.parametrize("windows", [[], [[]], [window("x")]])
def test_pack_of_nothing_has_one_column(windows: list[list[Behaviour]]) -> None:
    """No windows, an empty one and one of unknown items have a defined shape."""
    packed = pack(windows, {"a": 0}, 5)
    assert packed.rows.shape == packed.types.shape == packed.gaps.shape == (len(windows), 1)
    assert packed.lengths.tolist() == [0] * len(windows)


def test_gap_buckets_are_bounded_and_rise() -> None:
    """Every gap has a bucket, never that of no gap; longer gaps have no lower bucket."""
    gaps = np.array([-(10**15), -1, 0, 999, 9_000, 10**6, 10**9, 10**12, 2**62], dtype=np.int64)
    buckets = gap_bucket(gaps)
    assert buckets[:3].tolist() == [1, 1, 1]
    assert buckets[4] == 3
    assert buckets[-1] == N_GAPS - 1
    assert (np.diff(buckets) >= 0).all()
    assert buckets.min() > NO_GAP


def test_text_alone_gives_an_item_a_vector(model: SequenceModel) -> None:
    """An item's vector is its text's projection, plus its own embedding if kept."""
    text = torch.randn(20, CONFIG.text_dim, generator=torch.Generator().manual_seed(1))
    keep = torch.ones(20, 1)
    keep[7] = 0.0
    with torch.inference_mode():
        table, projected = model.item_table(text, keep), model.text_projection(text)
        torch.testing.assert_close(table[7], projected[7])
        torch.testing.assert_close(table[8], projected[8] + model.id_embedding.weight[8])
        torch.testing.assert_close(model.item_table(text)[7], projected[7] + model.id_embedding.weight[7])
    assert projected[7].abs().max() > 0.01


def test_a_new_items_vector_in_the_catalogue_is_its_texts_projection() -> None:
    """An item without training events has a non-zero vector from its text alone."""
    from models.ranking.pipeline import build_catalogue

    vectors = text_vectors(["i00"]) | {"new": text_vectors(["i01"])["i01"]}
    found = build_catalogue(artifact(), vectors, 0)
    row = found.row_of["new"]
    with torch.inference_mode():
        text = torch.from_numpy(artifact().whitening.apply(vectors["new"][None]))
        expected = artifact().sequence.text_projection(text).numpy()[0]
    np.testing.assert_allclose(found.vectors[row, :-1], expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3
    assert found.is_new.tolist() == [False, True]
