"""From a window of behaviours to a user vector: a linear recurrence or a causal transformer.

A behaviour is the sum of its item's vector, an embedding of its type and an embedding of the time
since the behaviour before. An item's vector is its own embedding plus a linear projection of its
whitened text embedding, so an item without training events has a vector from its text alone.
``models.evaluation.window_text`` makes user vectors in a third way, from the window written as
text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.base.event_types import DEFAULT_TYPES
from models.base.types import Float32
from models.sequence.linear_recurrence import LinearRecurrentEncoder
from models.sequence.packing import N_GAPS, PackedWindows


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
        types, gaps : (n, length) int64, from :func:`models.sequence.packing.pack`
        """
        states: Tensor = self.norm(self.encoder(self._inputs(items, types, gaps)))
        return states

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
