"""From a window of behaviours to a user vector: a linear recurrence or a causal transformer.

A behaviour is the sum of its item's vector, an embedding of its type and an embedding of the time
since the behaviour before. An item's vector is its own embedding plus a linear projection of its
whitened text embedding, so an item without training events has a vector from its text alone.
``models.evaluation.window_text`` makes user vectors in a third way, from the window written as
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.base.event_types import DEFAULT_TYPES, WindowTypes
from models.base.types import Behaviour, Behaviours, Float32, Int64
from models.sequence.linear_recurrence import LinearRecurrentEncoder

N_GAPS: Final = 18
NO_GAP: Final = 0  # of a window's first behaviour


class UserEncoder(Protocol):
    """Makes user vectors of windows.

    :class:`SequenceModel` in its two kinds, and
    ``models.evaluation.window_text.WindowTextEncoder``.
    """

    def user_vectors(self, packed: PackedWindows, items: Float32) -> Float32:
        """Return one vector per window, (n, dim) float32; zeros for an empty window.

        Parameters
        ----------
        items : (n_rows, dim) float32, the vectors that the windows' rows refer to and that
            retrieval scores
        """


@dataclass(frozen=True)
class SequenceConfig:
    """Sizes of the sequence model.

    Parameters
    ----------
    kind : ``linear_recurrence`` (a state of fixed size) or ``transformer`` (self-attention)
    dim : width of item and user vectors
    text_dim : width of a whitened text embedding
    max_length : how many of the newest behaviours count
    n_heads : of the transformer
    dropout, input_dropout : inside the layers, and on their input
    """

    kind: Literal["linear_recurrence", "transformer"] = "linear_recurrence"
    dim: int = 64
    text_dim: int = 64
    max_length: int = 50
    n_layers: int = 1
    n_heads: int = 2
    dropout: float = 0.2
    input_dropout: float = 0.2


class CausalTransformer(nn.Module):
    """Self-attention to earlier behaviours only, with learned positions.

    Kang and McAuley, Self-Attentive Sequential Recommendation, 2018.
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.position_embedding = nn.Embedding(config.max_length, config.dim)
        nn.init.normal_(self.position_embedding.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            config.dim, config.n_heads, 4 * config.dim, config.dropout,
            batch_first=True, norm_first=True, activation="gelu",
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after each behaviour, (n, length, dim) from (n, length, dim)."""
        length = x.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        output: Tensor = self.layers(x + self.position_embedding.weight[:length], mask=ahead)
        return output

    def last(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return the output after one behaviour of each window, (n, dim).

        Parameters
        ----------
        ends : (n,) int64, the place of the behaviour in each window
        """
        newest: Tensor = self(x)[torch.arange(len(x), device=x.device), ends]
        return newest


class SequenceModel(nn.Module):
    """Item vectors, and the encoder of windows over them."""

    def __init__(
        self, config: SequenceConfig, n_items: int, n_types: int = len(DEFAULT_TYPES.window_types.types)
    ) -> None:
        super().__init__()
        self.config = config
        self.id_embedding = nn.Embedding(n_items, config.dim)
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.text_projection = nn.Linear(config.text_dim, config.dim, bias=False)
        self.type_embedding = nn.Embedding(n_types, config.dim)
        self.gap_embedding = nn.Embedding(N_GAPS, config.dim)
        for layer in (self.id_embedding, self.text_projection, self.type_embedding, self.gap_embedding):
            nn.init.normal_(layer.weight, std=0.02)
        self.input_norm = nn.LayerNorm(config.dim)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.encoder = (
            LinearRecurrentEncoder(config.dim, config.n_layers, config.dropout)
            if config.kind == "linear_recurrence"
            else CausalTransformer(config)
        )
        self.norm = nn.LayerNorm(config.dim)

    def item_table(self, text: Tensor, id_keep: Tensor | None = None) -> Tensor:
        """Return the vectors of the trained items, (n_items, dim).

        Parameters
        ----------
        text : (n_items, text_dim) float32, whitened
        id_keep : (n_items, 1) of 0 or 1; 0 drops an item's own embedding, so that its text alone
            learns to represent it
        """
        ids = self.id_embedding.weight
        table: Tensor = (ids if id_keep is None else ids * id_keep) + self.text_projection(text)
        return table

    def forward(self, items: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Return the state after each behaviour, (n, length, dim).

        A state depends only on its own behaviour and on earlier ones.

        Parameters
        ----------
        items : (n, length, dim) float32, item vectors, oldest first, padded at the end
        types, gaps : (n, length) int64, from :func:`pack`
        """
        states: Tensor = self.norm(self.encoder(self._inputs(items, types, gaps)))
        return states

    def step(self, item: Tensor, type_: Tensor, gap: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the state after one more behaviour, (n, dim), and the new encoder states.

        The cost does not depend on the number of earlier behaviours. For the linear recurrence
        only.

        Parameters
        ----------
        item : (n, dim) float32
        type_, gap : (n,) int64
        states : of ``encoder.initial_state`` or of the step before

        Raises
        ------
        ValueError
            When the model is a transformer.
        """
        if not isinstance(self.encoder, LinearRecurrentEncoder):
            raise ValueError(f"kind {self.config.kind!r} has no step: use linear_recurrence, or the whole window")
        output, states = self.encoder.step(self._inputs(item, type_, gap), states)
        return self.norm(output), states

    def user_vectors(self, packed: PackedWindows, items: Float32) -> Float32:
        """Return one vector per window, (n, dim) float32; see :class:`UserEncoder`."""
        device = self.item_bias.device
        with torch.inference_mode():
            inputs = self._inputs(
                torch.from_numpy(items[packed.rows]).to(device),
                torch.from_numpy(packed.types).to(device),
                torch.from_numpy(packed.gaps).to(device),
            )
            ends = torch.from_numpy(np.maximum(packed.lengths - 1, 0)).to(device)
            newest: Float32 = self.norm(self.encoder.last(inputs, ends)).float().cpu().numpy()
        newest[packed.lengths == 0] = 0.0
        return newest

    def _inputs(self, items: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        joined = items + self.type_embedding(types) + self.gap_embedding(gaps)
        inputs: Tensor = self.input_dropout(self.input_norm(joined))
        return inputs


def gap_bucket(gap_ms: Int64) -> Int64:
    """Return the bucket of a time gap.

    1 plus twice the decimal logarithm of 1 + seconds, at most ``N_GAPS - 1``; negative gaps count
    as 0.

    Parameters
    ----------
    gap_ms : int64 of any shape, milliseconds
    """
    seconds = np.maximum(gap_ms, 0) / 1000
    return np.minimum(1 + (2 * np.log10(1 + seconds)).astype(np.int64), N_GAPS - 1)


@dataclass(frozen=True)
class PackedWindows:
    """Windows as arrays: oldest behaviour first, padded at the end with row 0, type 0, gap 0.

    Parameters
    ----------
    rows, types, gaps : (n, length) int64
    lengths : (n,) int64, behaviours of each window
    """

    rows: Int64
    types: Int64
    gaps: Int64
    lengths: Int64  # (n,)


def pack(
    windows: Sequence[Sequence[Behaviour]],
    row_of: Mapping[str, int],
    max_length: int,
    kinds: WindowTypes = DEFAULT_TYPES.window_types,
) -> PackedWindows:
    """Return windows as arrays: the newest ``max_length`` behaviours whose item has a row.

    Behaviours of other items do not count. A type that the model does not know counts as a view, or
    not at all where it is not positive.

    Parameters
    ----------
    kinds : the types that the model knows
    """
    known = [_known(Behaviours.of(window), row_of, max_length, kinds) for window in windows]
    lengths = np.array([len(rows) for rows, _, _ in known], dtype=np.int64)
    length = max(1, int(lengths.max(initial=0)))
    rows, types, times = np.zeros((3, len(known), length), dtype=np.int64)
    is_there = np.arange(length) < lengths[:, None]
    for column, values in ((rows, 0), (types, 1), (times, 2)):
        column[is_there] = np.fromiter(chain.from_iterable(each[values] for each in known), np.int64, lengths.sum())
    gaps = np.zeros_like(rows)
    gaps[:, 1:] = gap_bucket(np.diff(times, axis=1))
    gaps[np.arange(length) >= lengths[:, None]] = NO_GAP
    return PackedWindows(rows, types, gaps, lengths)


def _known(
    window: Behaviours, row_of: Mapping[str, int], max_length: int, kinds: WindowTypes
) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return item row, type row and time of the newest behaviours that the model knows."""
    rows = list(map(row_of.get, window.item_ids))
    types = list(map(kinds.row_of.get, window.types))
    if None in types:
        types = [kinds.row(name) if name in kinds.row_of or kinds.is_known(name) else None for name in window.types]
    if None not in rows and None not in types:
        return rows[-max_length:], types[-max_length:], window.ts_ms[-max_length:]  # type: ignore[return-value]
    kept = [each for each in zip(rows, types, window.ts_ms, strict=True) if None not in each[:2]][-max_length:]
    return tuple(zip(*kept, strict=True)) or ((), (), ())  # type: ignore[return-value]


def pack_wishes(
    windows: Sequence[Sequence[Behaviour]], row_of: Mapping[str, int], max_length: int, kinds: WindowTypes
) -> PackedWindows:
    """Return the positive behaviours of windows as arrays, as :func:`pack` does."""
    wishes = [Behaviours.of_rows(b for b in window if kinds.is_positive(b.type)) for window in windows]
    return pack(wishes, row_of, max_length, kinds)
