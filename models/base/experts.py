"""The experts whose shares an artifact may blend; ``models.features.blend`` computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from models.base.types import Float32


class Expert(NamedTuple):
    """How an expert's shares follow from a feature: ``exp(feature) - offset``, none below 0.

    Parameters
    ----------
    source : the source of candidates that it stands on
    feature : empty for the same share for every candidate
    is_whole : whether its shares are scaled to sum to 1
    """

    source: str
    feature: str
    offset: float
    is_whole: bool


#: What is added to a share before its logarithm: to one relative to the mean share, to one of the
#: steps from an item, and to any other.
POPULAR_OFFSET: Final = 0.05
STEP_OFFSET: Final = 1e-4
SHARE_OFFSET: Final = 1e-3
#: The experts by name, in the order of their weights.
EXPERTS: Final[Mapping[str, Expert]] = {
    "step": Expert("next", "step", STEP_OFFSET, is_whole=False),
    "trail": Expert("next", "trail", STEP_OFFSET, is_whole=False),
    "next": Expert("next", "next_share", SHARE_OFFSET, is_whole=False),
    "neighbours": Expert("neighbours", "neighbour_score", SHARE_OFFSET, is_whole=True),
    "retrieval": Expert("retrieval", "retrieval_share", 0.0, is_whole=False),
    "popular": Expert("popular", "recent_popularity", POPULAR_OFFSET, is_whole=True),
    "again": Expert("again", "again_weight", SHARE_OFFSET, is_whole=True),
    "again_count": Expert("again", "again_count", 1.0, is_whole=True),
    "again_newest": Expert("again", "again_newest", 1.0, is_whole=True),
    "again_next": Expert("again", "again_next", SHARE_OFFSET, is_whole=False),
    "again_next_pair": Expert("again", "again_next_pair", SHARE_OFFSET, is_whole=False),
    "even": Expert("", "", 0.0, is_whole=True),
}


def blend_weights(blend: Mapping[str, float]) -> Float32:
    """Return the weights of the experts in their order, (n_experts,) float32; 0 for others."""
    return np.array([blend.get(name, 0.0) for name in EXPERTS], dtype=np.float32)


def without(weights: Float32, source: str) -> Float32:
    """Return the weights with 0 for the experts of a source."""
    is_kept = np.array([one.source != source for one in EXPERTS.values()])
    return weights * is_kept.astype(np.float32)
