"""Lists of users of whom more is known than their window: their order, and their sources."""

from __future__ import annotations

import numpy as np

from models.base.types import Bool, Float32
from models.ranking.candidates import Candidates
from models.ranking.catalogue import Catalogue
from models.ranking.collecting import FEATURES, POPULAR, SOCIAL
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch
from models.ranking.newcomers.known import Known, Newcomers, raw_scores
from models.ranking.newcomers.priors import Prior


def first_probabilities(
    newcomers: Newcomers, catalogue: Catalogue, found: Candidates, known: Known, probabilities: Float32
) -> None:
    """Write the probabilities of candidates of users without a window of whom something is known.

    The candidates hold a share of recent popularity together. They divide it by the softmax of the
    scaled scores of :meth:`~models.ranking.newcomers.known.Newcomers.scores`.

    Parameters
    ----------
    probabilities : (n, c) float32, those of all users
    """
    chosen = _without_window(found, known)
    if not chosen.any():
        return
    part = Known(
        *(Prior(prior.vectors[chosen], prior.is_known[chosen]) for prior in (known.social, known.features, known.both))
    )
    rows, valid = found.rows[chosen], found.valid[chosen]
    logits = np.where(valid, newcomers.weights.scale * newcomers.scores(catalogue, rows, part), -np.inf)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-1e30))
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-30)
    mass = np.where(valid, catalogue.popular_shares[rows], 0.0).sum(axis=1, keepdims=True)
    probabilities[chosen] = shares * np.minimum(np.where(mass > 0, mass, 1.0), 1.0)


def name_sources(catalogue: Catalogue, found: Candidates, known: Known, lists: RankedBatch) -> None:
    """Write into lists what follows and features brought, and which lists stand without events.

    An item's rank in a source is that among the user's candidates which the source brought.
    """
    is_first = _without_window(found, known)
    lists.degraded[is_first] = DEGRADED.index("newcomer")
    popular = SOURCE_NAMES.index("popular")
    for user in np.flatnonzero(known.both.is_known).tolist():
        rows, bits = found.rows[user, : found.counts[user]], found.bits[user, : found.counts[user]]
        if not len(rows):
            continue
        listed = lists.rows[user, : lists.lengths[user]]
        columns = np.minimum(np.searchsorted(rows, listed), len(rows) - 1)
        is_candidate = rows[columns] == listed  # rules may list others too
        if is_first[user]:
            is_popular = ~is_candidate | ((bits[columns] & POPULAR) > 0)
            lists.source_ranks[user, : len(listed), popular] *= is_popular
            lists.source_scores[user, : len(listed), popular] *= is_popular
        for name, bit, prior in (("social", SOCIAL, known.social), ("features", FEATURES, known.features)):
            brought = np.flatnonzero(bits & bit)
            if not prior.is_known[user] or not len(brought):
                continue
            own = Prior(prior.vectors[user][None], prior.is_known[user][None])
            scores = raw_scores(catalogue, rows[brought][None], own)[0]
            order = np.argsort(-scores, kind="stable")
            ranks, values = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows), dtype=np.float32)
            ranks[brought[order]], values[brought] = np.arange(1, len(order) + 1), scores
            source = SOURCE_NAMES.index(name)
            lists.source_ranks[user, : len(listed), source] = ranks[columns] * is_candidate
            lists.source_scores[user, : len(listed), source] = values[columns] * is_candidate


def _without_window(found: Candidates, known: Known) -> Bool:
    chosen: Bool = (found.packed.lengths == 0) & known.both.is_known
    return chosen
