"""The window as text: the law of user encoders, the written text, the fitted map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
import torch

from models.base.types import Behaviour, Float32
from models.evaluation.window_text import (
    MAX_ITEM_CHARS,
    MAX_WINDOW_CHARS,
    WindowTextData,
    WindowTextEncoder,
    WindowTextTraining,
    fit_window_text,
)
from models.interactions import Interactions, windows_before
from models.ranking.catalogue.parts import unit_rows
from models.sequence.model import SequenceConfig, SequenceModel, UserEncoder
from models.sequence.packing import PackedWindows, pack
from models.text.encoder import FakeEncoder
from models.text.whitening import Whitening, fit_whitening
from tests.support.tiny_models import T0, window

pytestmark = pytest.mark.model

DIM, N_GROUPS = 8, 6
ITEMS: Final = tuple(f"x{i}y{j}" for i in range(N_GROUPS) for j in range(N_GROUPS))
ROW_OF = {item_id: row for row, item_id in enumerate(ITEMS)}
TEXTS = [f"{item_id[:2]} {item_id[2:]}" for item_id in ITEMS]
ENCODER = FakeEncoder(32)
EMBEDDED = ENCODER.encode(TEXTS)


class RecordingEncoder(FakeEncoder):
    """A fake encoder that records its texts."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__(dim)
        self.given: list[str] = []

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text."""
        self.given.extend(texts)
        return super().encode(texts)


def whitening(dim: int = DIM) -> Whitening:
    """Return a whitening of the items' texts."""
    return fit_whitening(EMBEDDED, dim)


def unit(dim: int) -> Float32:
    """Return the items' whitened texts of unit length."""
    return unit_rows(whitening(dim).apply(EMBEDDED))


def window_encoder(texts: Sequence[str] = TEXTS, encoder: FakeEncoder = ENCODER) -> WindowTextEncoder:
    """Return an encoder with the identity for a map."""
    return WindowTextEncoder(encoder, texts, whitening(), np.eye(DIM, dtype=np.float32))


def linear_recurrence() -> UserEncoder:
    """Return a small model of the first kind."""
    torch.manual_seed(0)
    return SequenceModel(SequenceConfig("linear_recurrence", dim=DIM, text_dim=DIM), len(ITEMS)).eval()


def transformer() -> UserEncoder:
    """Return a small model of the second kind."""
    torch.manual_seed(0)
    return SequenceModel(SequenceConfig("transformer", dim=DIM, text_dim=DIM), len(ITEMS)).eval()


def window_text() -> UserEncoder:
    """Return the encoder of windows as text."""
    return window_encoder()


every_user_encoder = pytest.mark.parametrize("make", [linear_recurrence, transformer, window_text])
WINDOWS = [window("x0y1", "x2y3", "x4y5"), [], window("x5y0"), window(*ITEMS[:9]), window("x5y0", "x2y3")]


def packed(windows: Sequence[Sequence[Behaviour]] = WINDOWS) -> PackedWindows:
    """Return windows as arrays."""
    return pack(windows, ROW_OF, 50)


@every_user_encoder
def test_a_user_encoder_gives_a_finite_vector_per_window(make: Callable[[], UserEncoder]) -> None:
    """Vectors have the promised shape; an empty window gives zeros; windows differ."""
    vectors = make().user_vectors(packed(), unit(DIM))
    assert vectors.shape == (len(WINDOWS), DIM)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert vectors.any(axis=1).tolist() == [bool(of_user) for of_user in WINDOWS]
    assert np.abs(vectors[4] - vectors[2]).max() > 1e-3


@every_user_encoder
@pytest.mark.parametrize("windows", [[], [[]], [[], []]])
def test_a_user_encoder_takes_nothing(make: Callable[[], UserEncoder], windows: list[list[Behaviour]]) -> None:
    """No windows, or only empty ones, give zeros of the right shape."""
    vectors = make().user_vectors(packed(windows), unit(DIM))
    assert vectors.shape == (len(windows), DIM)
    assert not vectors.any()


@every_user_encoder
def test_other_windows_and_padding_play_no_part(make: Callable[[], UserEncoder]) -> None:
    """A window gives the same vector alone and among longer ones."""
    encoder, together = make(), packed()
    vectors = encoder.user_vectors(together, unit(DIM))
    is_padding = np.arange(together.rows.shape[1]) >= together.lengths[:, None]
    other = replace(
        together, rows=np.where(is_padding, 7, together.rows), types=np.where(is_padding, 2, together.types)
    )
    np.testing.assert_allclose(encoder.user_vectors(other, unit(DIM)), vectors, atol=1e-5)
    for i, alone in enumerate(WINDOWS):
        np.testing.assert_allclose(encoder.user_vectors(packed([alone]), unit(DIM))[0], vectors[i], atol=1e-5)


def test_the_newest_behaviour_is_written_first() -> None:
    """Each behaviour is its type and its item's text, newest first."""
    behaviours = [
        Behaviour("x0y1", "view", T0),
        Behaviour("x2y3", "click", T0 + 1),
        Behaviour("x4y5", "purchase", T0 + 2),
    ]
    together = packed([window("x1y1"), behaviours, []])
    written = [window_encoder().window_text(together, i) for i in range(3)]
    assert written == ["view x1 y1", "purchase x4 y5 click x2 y3 view x0 y1", ""]


def test_a_long_window_loses_its_oldest_behaviours_between_words() -> None:
    """The text fills the bound, ends with a whole word and begins with the newest."""
    of_user = [b._replace(type="click") for b in window(*(ITEMS * 5))]
    cut = window_encoder().window_text(pack([of_user], ROW_OF, 500), 0)
    whole = " ".join(f"click {b.item_id[:2]} {b.item_id[2:]}" for b in reversed(of_user))
    assert whole[:MAX_WINDOW_CHARS].endswith(" clic")  # the bound falls into a word
    assert cut == whole[: MAX_WINDOW_CHARS - 5]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a" * MAX_ITEM_CHARS, "a" * MAX_ITEM_CHARS),
        ("ab " * MAX_ITEM_CHARS, ("ab " * (MAX_ITEM_CHARS // 3)).strip()),
        ("a" * (MAX_ITEM_CHARS - 1) + " bc", "a" * (MAX_ITEM_CHARS - 1)),
        ("a" * MAX_ITEM_CHARS + " bc", "a" * MAX_ITEM_CHARS),
        ("长" * 3 * MAX_ITEM_CHARS, "长" * MAX_ITEM_CHARS),
    ],
)
def test_a_long_item_leaves_room_for_older_ones(text: str, kept: str) -> None:
    """An item's text is cut between words, or inside a word longer than the bound."""
    encoder = window_encoder([text, "older", *TEXTS[2:]])
    assert encoder.window_text(packed([window(ITEMS[1], ITEMS[0])]), 0) == f"view {kept} view older"


def test_an_item_without_text_is_left_out() -> None:
    """An item without text adds no word; a window of such items is empty."""
    encoder = window_encoder(["", "  ", *TEXTS[2:]])
    together = packed([window(ITEMS[0], ITEMS[2], ITEMS[1]), window(ITEMS[0], ITEMS[1])])
    assert [encoder.window_text(together, i) for i in range(2)] == ["view x0 y2", ""]
    assert encoder.user_vectors(together, unit(DIM)).any(axis=1).tolist() == [True, False]


def test_each_distinct_text_is_embedded_once() -> None:
    """Equal windows share a run of the language model; empty windows need none."""
    encoder = RecordingEncoder()
    vectors = window_encoder(encoder=encoder).user_vectors(packed([*WINDOWS, *WINDOWS[::-1]]), unit(DIM))
    assert len(encoder.given) == len(set(encoder.given)) == sum(bool(of_user) for of_user in WINDOWS)
    np.testing.assert_array_equal(vectors[: len(WINDOWS)], vectors[: len(WINDOWS) - 1 : -1])


def test_a_text_that_the_encoder_gives_up_is_zeros() -> None:
    """Zeros from the encoder stay zeros, though whitening would move them."""

    class GivesUp(FakeEncoder):
        def encode(self, texts: Sequence[str]) -> Float32:
            return np.zeros((len(texts), self.dim), dtype=np.float32)

    assert not window_encoder(encoder=GivesUp(32)).user_vectors(packed(), unit(DIM)).any()


def test_a_user_vector_is_the_whitened_embedding_times_the_map() -> None:
    """The formula, term by term, with a map that changes the width."""
    by_map = np.random.default_rng(0).standard_normal((DIM, 3)).astype(np.float32)
    encoder = WindowTextEncoder(ENCODER, TEXTS, whitening(), by_map)
    vectors = encoder.user_vectors(packed([window("x0y1", "x2y3")]), np.zeros((len(ITEMS), 3), dtype=np.float32))
    embedded = ENCODER.encode(["view x2 y3 view x0 y1"])
    expected = (embedded - whitening().mean) @ whitening().matrix @ by_map
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def log(n_users: int = 40, length: int = 6, seed: int = 0) -> Interactions:
    """Return a log in which consecutive items share their second word."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"x{rng.integers(N_GROUPS)}y{user % N_GROUPS}", "view", T0 + 1_000 * step + user)
        for step in range(length)
        for user in range(n_users)
    ]
    return Interactions.from_rows([*((f"all{i}", i, "view", T0 - 1) for i in ITEMS), *rows])


def fit(train: Interactions, *, seed: int = 1, n_pairs: int = 150, regularisation: float = 1.0) -> Float32:
    """Return the map fitted to a log of all items, which are in the order of ``ITEMS``."""
    assert train.item_ids == ITEMS
    training = WindowTextTraining(n_pairs=n_pairs, regularisation=regularisation)
    return fit_window_text(WindowTextData(train, TEXTS, unit(DIM)), ENCODER, whitening(), training, seed=seed)


def shares_in_first(by_map: Float32) -> float:
    """Return how many of the best six items of new users have the next item's second word."""
    held_out = log(seed=9)
    windows, _, following = windows_before(held_out, range(len(held_out) - 40, len(held_out)), 50)
    users = WindowTextEncoder(ENCODER, TEXTS, whitening(), by_map).user_vectors(packed(windows), unit(DIM))
    best = np.argsort(-users @ unit(DIM).T, axis=1)[:, :N_GROUPS]
    hits = [ITEMS[row][2:] == item_id[2:] for rows, item_id in zip(best, following, strict=True) for row in rows]
    return float(np.mean(hits))


def test_the_fitted_map_ranks_what_comes_next_above_chance() -> None:
    """The map finds the shared word more often than chance and than its transpose."""
    fitted = fit(log())
    assert shares_in_first(fitted) > 0.6
    assert shares_in_first(-fitted) < 1 / N_GROUPS


def test_the_map_is_the_minimum_of_the_ridge_objective() -> None:
    """The closed form equals least squares with sqrt(r) I and sqrt(r) s I appended."""
    train = log(10, 4)
    windows, _, following = windows_before(train, range(len(ITEMS) + 10, len(train)), 50)
    x = window_encoder().user_vectors(packed(windows), unit(DIM))
    y = unit(DIM)[[ROW_OF[item_id] for item_id in following]]
    penalty = np.sqrt(3.0 * np.square(x).sum() / DIM) * np.eye(DIM)
    scale = (x * y).sum() / np.square(x).sum()
    expected = np.linalg.lstsq(np.concatenate([x, penalty]), np.concatenate([y, scale * penalty]), rcond=None)[0]
    fitted = fit(train, regularisation=3.0)
    assert fitted.shape == (DIM, DIM)
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, expected, atol=1e-5)


def test_an_item_without_text_is_no_target() -> None:
    """Items without text are never targets and take no place in the sample."""
    train, text_unit = log(10, 4), unit(DIM)
    text_unit[ROW_OF["x0y0"]] = 0.0
    texts = ["" if item_id == "x0y0" else text for item_id, text in zip(ITEMS, TEXTS, strict=True)]
    fitted, without = (
        fit_window_text(
            WindowTextData(of, texts, text_unit), ENCODER, whitening(), WindowTextTraining(n_pairs=1_000), seed=1
        )
        for of in (train, train.where(train.items != ROW_OF["x0y0"]))
    )
    np.testing.assert_allclose(fitted, without, atol=1e-6)


def test_the_same_seed_gives_the_same_map() -> None:
    """A fit depends on log and seed; the number of pairs bounds the embedded texts."""
    encoder, train = RecordingEncoder(), log()
    np.testing.assert_array_equal(fit(train, n_pairs=20), fit(train, n_pairs=20))
    assert np.abs(fit(train, n_pairs=20) - fit(train, n_pairs=20, seed=2)).max() > 1e-3
    data = WindowTextData(train, TEXTS, unit(DIM))
    fit_window_text(data, encoder, whitening(), WindowTextTraining(n_pairs=20), seed=1)
    assert 0 < len(encoder.given) <= 20


@pytest.mark.parametrize(
    ("by_map", "encoder", "says"),
    [
        (np.eye(DIM, dtype=np.float32), FakeEncoder(16), "whitening of 32 dimensions, encoder of 16"),
        (np.eye(DIM + 1, dtype=np.float32), ENCODER, r"map of shape \(9, 9\): must be \(8, dim\)"),
        (np.ones(DIM, dtype=np.float32), ENCODER, r"map of shape \(8,\)"),
        (np.full((DIM, DIM), np.nan, dtype=np.float32), ENCODER, "map has values that are NaN"),
    ],
)
def test_parts_that_do_not_fit_are_an_error(by_map: Float32, encoder: FakeEncoder, says: str) -> None:
    """Parts that do not fit fail when the encoder is made, not at the first user."""
    with pytest.raises(ValueError, match=says):
        WindowTextEncoder(encoder, TEXTS, whitening(), by_map)


@pytest.mark.parametrize("shape", [(len(ITEMS) - 1, DIM), (len(ITEMS), DIM + 1)])
def test_vectors_of_another_catalogue_are_an_error(shape: tuple[int, int]) -> None:
    """Rows of another catalogue would give wrong windows silently."""
    with pytest.raises(ValueError, match=r"items of shape .*: must be \(36, 8\)"):
        window_encoder().user_vectors(packed(), np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize(
    ("field", "value"), [("max_length", 0), ("n_pairs", 0), ("regularisation", 0.0), ("regularisation", float("inf"))]
)
def test_a_number_out_of_range_is_an_error(field: str, value: Any) -> None:
    """The message names the field and its value."""
    with pytest.raises(ValueError, match=f"{field}={value}: must be"):
        WindowTextTraining(**{field: value})


def test_bad_training_input_is_an_error() -> None:
    """Tables of other lengths, and a log without a next item, are errors."""
    with pytest.raises(ValueError, match="1 texts: must be 36"):
        WindowTextData(log(), ["a"], unit(DIM))
    with pytest.raises(ValueError, match=r"text_unit of shape \(1, 8\)"):
        WindowTextData(log(), TEXTS, unit(DIM)[:1])
    with pytest.raises(ValueError, match=r"number of events: 36\): no item with text follows"):
        fit(log(n_users=0))
