"""A running check of retrieval against brute force."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.ranking.catalogue.snapshot import Catalogue

RECALL_TARGET: Final = 0.98
RECALL_K: Final = 100
N_QUERIES: Final = 64
#: Queries are item vectors with noise of this many standard deviations of each column: a user
#: vector lies near items, not on one.
NOISE: Final = 0.5


def running_recall(catalogue: Catalogue, seed: int = 0) -> float:
    """Return the share of the exact best 100 that retrieval finds, for queries near shown items.

    Parameters
    ----------
    seed : of the queries; with the catalogue's generation it gives others for each catalogue
    """
    shown = np.flatnonzero(catalogue.is_shown & ~catalogue.is_blank)
    if not len(shown):
        return 1.0
    rng = np.random.default_rng((seed, catalogue.generation))
    chosen = catalogue.vectors[rng.choice(shown, size=N_QUERIES)]
    queries = (chosen + NOISE * chosen.std(axis=0) * rng.standard_normal(chosen.shape)).astype(np.float32)
    exact = catalogue.index.exact(queries, RECALL_K)[1]
    found = catalogue.index.search(queries, RECALL_K)[1]
    slack = 1e-6 * np.linalg.norm(queries, axis=1) * float(catalogue.norms[shown].max())
    return float((found >= exact[:, -1:] - slack[:, None]).mean())
