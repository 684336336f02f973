"""The fitted parts of a training, and their tensors in an artifact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.base.types import Float32, Int64
from models.factors.matrix_factorisation import ItemFactors
from models.fusion import FusionModel
from models.sequence.fit import SequenceFit
from models.text.whitening import Whitening


@dataclass(frozen=True)
class Parts:
    """All fitted models except fusion."""

    sequence: SequenceFit
    factors: ItemFactors
    following: tuple[Int64, Float32]
    neighbours: tuple[Int64, Float32]
    popularity: Float32
    recent_popularity: Float32
    first_ms: Int64
    to_ms: int

    def tensors(self, fusion: FusionModel, whitening: Whitening) -> dict[str, Tensor]:
        """Return the tensors of an artifact of these parts."""
        tensors = {f"sequence.{name}": value for name, value in self.sequence.state.items()}
        tensors |= {f"fusion.{name}": value for name, value in fusion.state_dict().items()}
        arrays = {
            "mf.factors": self.factors.factors,
            "mf.biases": self.factors.biases,
            "next.rows": self.following[0].astype(np.int32),
            "next.weights": self.following[1],
            "neighbours.rows": self.neighbours[0].astype(np.int32),
            "neighbours.weights": self.neighbours[1],
            "popularity": self.popularity,
            "recent_popularity": self.recent_popularity,
            "first_ms": self.first_ms,
            "whitening.mean": whitening.mean,
            "whitening.matrix": whitening.matrix,
        }
        return tensors | {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
