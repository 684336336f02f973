"""From a window of behaviours to a user vector: a causal transformer.

A behaviour is the sum of its item's vector, an embedding of its type, of the time since the one before, and of its position
(after Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; trained with full softmax as Klenitskiy and Vasilev,
Turning Dross Into Gold Loss, 2023, found best). An item's vector is its own embedding plus a linear projection of its
whitened text embedding, so an item that training never saw has a vector from its text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from models.types import EVENT_TYPES, TYPE_INDEX, Behaviour, Int64

N_GAPS: Final = 18
NO_GAP: Final = 0  # of a window's first behaviour


@dataclass(frozen=True)
class SequenceConfig:
    """Sizes of the sequence model.

    Parameters
    ----------
    dim : width of item and user vectors
    text_dim : width of a whitened text embedding
    max_length : behaviours looked at, the newest ones
    """

    dim: int = 64
    text_dim: int = 64
    max_length: int = 50
    n_layers: int = 1
    n_heads: int = 2
    dropout: float = 0.2


class SequenceModel(nn.Module):
    """Item vectors and the transformer over them."""

    def __init__(self, config: SequenceConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.id_embedding = nn.Embedding(n_items, config.dim)
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.text_projection = nn.Linear(config.text_dim, config.dim, bias=False)
        self.type_embedding = nn.Embedding(len(EVENT_TYPES), config.dim)
        self.gap_embedding = nn.Embedding(N_GAPS, config.dim)
        self.position_embedding = nn.Embedding(config.max_length, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.dim,
            config.n_heads,
            2 * config.dim,
            config.dropout,
            batch_first=True,
            norm_first=True,
            activation="gelu",
        )
        self.layers = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.dim)
        for embedding in (self.id_embedding, self.type_embedding, self.gap_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=0.02)

    def item_table(self, text: Tensor, id_keep: Tensor | None = None) -> Tensor:
        """Return the vectors of the trained items, (n_items, dim).

        Parameters
        ----------
        text : (n_items, text_dim) float32, whitened
        id_keep : (n_items, 1) of 0 or 1; 0 leaves an item to its text, so that text alone learns to carry it
        """
        ids = self.id_embedding.weight
        table: Tensor = (ids if id_keep is None else ids * id_keep) + self.text_projection(text)
        return table

    def forward(self, items: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Return the state after each behaviour, (n, length, dim); states look back only.

        Parameters
        ----------
        items : (n, length, dim) float32, item vectors, oldest first, padded at the end
        types, gaps : (n, length) int64, from :func:`pack`
        """
        length = items.shape[1]
        positions = torch.arange(length, device=items.device)
        x = items * self.config.dim**0.5 + self.type_embedding(types) + self.gap_embedding(gaps)
        x = self.dropout(x + self.position_embedding(positions))  # [n, length, dim]
        ahead = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        states: Tensor = self.norm(self.layers(x, mask=ahead))
        return states


def gap_bucket(gap_ms: Int64) -> Int64:
    """Return the bucket of a time gap: 1 plus twice the decimal logarithm of 1 + seconds, at most ``N_GAPS - 1``."""
    seconds = np.maximum(gap_ms, 0) / 1000
    return np.minimum(1 + (2 * np.log10(1 + seconds)).astype(np.int64), N_GAPS - 1)


@dataclass(frozen=True)
class PackedWindows:
    """Windows as arrays, each (n, length) int64, oldest behaviour first, padded at the end with row 0, type 0, gap 0."""

    rows: Int64
    types: Int64
    gaps: Int64
    lengths: Int64  # (n,)


def pack(windows: Sequence[Sequence[Behaviour]], row_of: dict[str, int], max_length: int) -> PackedWindows:
    """Return windows as arrays: the newest ``max_length`` behaviours whose item has a row; others are left out."""
    known = [[b for b in window if b.item_id in row_of][-max_length:] for window in windows]
    lengths = np.array([len(window) for window in known], dtype=np.int64)
    length = max(1, int(lengths.max(initial=0)))
    rows = np.zeros((len(known), length), dtype=np.int64)
    types = np.zeros_like(rows)
    times = np.zeros_like(rows)
    for i, window in enumerate(known):
        n = len(window)
        rows[i, :n] = [row_of[b.item_id] for b in window]
        types[i, :n] = [TYPE_INDEX.get(b.type, TYPE_INDEX["view"]) for b in window]
        times[i, :n] = [b.ts_ms for b in window]
    gaps = np.zeros_like(rows)
    gaps[:, 1:] = gap_bucket(np.diff(times, axis=1))
    gaps[np.arange(length) >= lengths[:, None]] = NO_GAP
    return PackedWindows(rows, types, gaps, lengths)
