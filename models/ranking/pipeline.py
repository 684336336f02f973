"""Windows in, ranked lists out: retrieve, score, fuse, filter, take the best k.

Serving and evaluation use this same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.artifact.artifact import Artifact
from models.base.types import Behaviour, Float32, Int64
from models.features.columns import Row
from models.fusion import FEATURES
from models.popularity import CountsWithPrior
from models.ranking.candidate_features import places_of
from models.ranking.candidates import (
    Candidates,
    NoteStage,
    dense,
    followers_of,
    gather,
    neighbours_of,
    packed_windows,
    unheard,
    user_side,
    user_states,
)
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch, RankedItem, RankedList, fill_up
from models.ranking.reasons import reasons

#: The sources of candidates, and the feature that is a source's score.
SOURCES: Final = {
    "retrieval": "retrieval_score",
    "mf": "mf_logit",
    "next": "next_score",
    "neighbours": "neighbour_score",
    "popular": "recent_popularity",
}
__all__ = ["Catalogue", "Pipeline", "RankedBatch", "RankedItem", "RankedList", "build_catalogue", "recent_counts"]


def recent_counts(artifact: Artifact) -> CountsWithPrior:
    """Return counts for live events, whose prior is popularity at the end of training."""
    counts = zip(artifact.manifest.item_ids, artifact.recent_popularity.tolist(), strict=True)
    return CountsWithPrior(dict(counts), artifact.manifest.trained_to_ms)


def ranked_batch(
    catalogue: Catalogue, found: Candidates, best: Int64, probabilities: Float32, because: Int64
) -> RankedBatch:
    """Return the lists of the best candidates.

    An item has the rank and score of each source that brought it.

    Parameters
    ----------
    best : (n, k) int64 columns of the candidates, best first; a list ends before one that is not
        valid
    probabilities : (n, c) float32
    because : (n, k) int64 catalogue rows, -1 for none
    """
    users = np.arange(len(best))[:, None]
    rows, is_listed = found.rows[users, best], np.logical_and.accumulate(found.valid[users, best], axis=1)
    is_cold = found.packed.lengths == 0
    given = {name: by[users, best] & (~is_cold[:, None] | (name == "popular")) for name, by in found.given.items()}
    given["popular"] |= ~np.any(list(given.values()), axis=0)
    ranks, scores = (np.zeros((*best.shape, len(SOURCE_NAMES)), dtype) for dtype in (np.int32, np.float32))
    is_new = catalogue.is_new[rows]
    for name in SOURCES:
        of_all = _scores_of(catalogue, found, name)
        own, places = of_all[users, best], places_of(of_all, found.valid, best)
        columns = {name: ~is_new, "content": is_new} if name == "retrieval" else {name: np.True_}
        for column, is_here in columns.items():
            is_given, j = given[name] & is_listed & is_here, SOURCE_NAMES.index(column)
            ranks[..., j], scores[..., j] = np.where(is_given, places, 0), np.where(is_given, own, 0.0)
    degraded = np.where(is_cold, DEGRADED.index("popular"), DEGRADED.index("none")).astype(np.int8)
    return RankedBatch(
        catalogue.item_ids,
        rows=np.where(is_listed, rows, -1),
        lengths=is_listed.sum(axis=1),
        scores=np.where(is_listed, probabilities[users, best], np.float32(0.0)),
        source_ranks=ranks,
        source_scores=scores,
        because=np.where(is_listed, because, -1),
        user_vectors=found.user_vectors,
        factors=found.factors,
        degraded=degraded,
    )


def _scores_of(catalogue: Catalogue, found: Candidates, source: str) -> Float32:
    """Return a source's score of each candidate, (n, c) float32."""
    if source == "popular":
        return catalogue.recent_popularity[found.rows]
    return found.features[..., FEATURES.index(SOURCES[source])]


class Pipeline:
    """The serving pipeline of one artifact. For one thread at a time.

    Parameters
    ----------
    k : items in a list; fewer only where the catalogue has fewer unseen ones
    n_candidates : candidates that retrieval brings to fusion
    """

    def __init__(self, artifact: Artifact, *, k: int = 10, n_candidates: int = 100) -> None:
        self._artifact = artifact
        self._k = k
        self._n_candidates = max(n_candidates, k)

    def recommend(
        self,
        catalogue: Catalogue,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]] | None = None,
        user_features: Sequence[Row] | None = None,
        note: NoteStage = unheard,
    ) -> RankedBatch:
        """Return one list per window, in order.

        Items of the window and of ``extra_seen`` never appear. A window without an item of the
        catalogue gets popular items, and its list says so.

        Parameters
        ----------
        extra_seen : per user, ids of further items that the user has had
        user_features : per user, features by name; missing ones are imputed
        note : called at the end of each stage
        """
        if not windows or not catalogue.n_items:
            return self._empty(catalogue, len(windows))
        found = gather(self._artifact, catalogue, windows, extra_seen, self._n_candidates, note=note)
        lists = self.rank(catalogue, found, self.probabilities(catalogue, found, user_features))
        note("score")
        return lists

    def rank(self, catalogue: Catalogue, found: Candidates, probabilities: Float32) -> RankedBatch:
        """Return the lists of candidates with these probabilities, filled up with popular items.

        Parameters
        ----------
        probabilities : (n, c) float32
        """
        probabilities = np.where(found.valid, probabilities, -1.0)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._k]
        lists = ranked_batch(catalogue, found, best, probabilities, self._because(catalogue, found, best))
        if best.shape[1] < self._k:
            lists = lists.widened(self._k)
        fill_up(lists, catalogue.popular_rows, catalogue.popular_shares, catalogue.recent_popularity, found.seen)
        return lists

    def score_all(self, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]) -> dict[str, Float32]:
        """Return the raw scores of the parts over the whole catalogue, each (n, n_items) float32.

        Seen items are not masked.
        """
        whole, packed = packed_windows(self._artifact, catalogue, windows)
        vectors, factors = user_states(self._artifact, catalogue, whole, packed)
        n = len(windows), len(catalogue.item_ids)
        return {
            "sequence": vectors @ catalogue.vectors.T,
            "mf": factors @ catalogue.factors[:, :-1].T + catalogue.factors[:, -1],
            "next": dense(followers_of(catalogue, packed), n[1]),
            "neighbours": dense(neighbours_of(catalogue, packed), n[1]),
            "recent_popularity": np.broadcast_to(catalogue.recent_popularity, n),
        }

    def probabilities(
        self, catalogue: Catalogue, found: Candidates, user_features: Sequence[Row] | None = None
    ) -> Float32:
        """Return each candidate's probability to be the next item, (n, c) float32; 0 if not valid.

        A window without an item of the catalogue gets shares of recent popularity: fusion is fitted
        to users with a window, and orders candidates of other users almost without regard to
        popularity.
        """
        users = user_side(self._artifact, found.user_vectors, user_features)
        device = self._artifact.device
        with torch.inference_mode():
            logits = self._artifact.fusion.logits(
                torch.from_numpy(found.features).to(device),
                torch.from_numpy(users).to(device),
                torch.from_numpy(catalogue.known[found.rows]).to(device),
            )
            valid = torch.from_numpy(found.valid).to(device)
            logits = self._with_unseen(catalogue, found, logits, valid)
            result: Float32 = self._artifact.fusion.probabilities(logits, valid).cpu().numpy()
        is_cold = (found.packed.lengths == 0)[:, None]
        return np.where(is_cold, catalogue.popular_shares[found.rows] * found.valid, result)

    def _with_unseen(self, catalogue: Catalogue, found: Candidates, logits: Tensor, valid: Tensor) -> Tensor:
        """Return logits, (n, c), in which items without events have retrieval's shares.

        Fusion learnt from logs, in which such an item did not exist yet, and would never list it.
        """
        unseen = torch.from_numpy(catalogue.is_unseen[found.rows]).to(logits.device)
        if not bool(unseen.any()):
            return logits
        shares = torch.from_numpy(found.features[..., FEATURES.index("retrieval_share")]).to(logits.device)
        others = torch.logsumexp(logits.masked_fill(~valid | unseen, -1e9), dim=1, keepdim=True)
        return torch.where(unseen & valid & (others > -1e8), shares + others, logits)

    def _because(self, catalogue: Catalogue, found: Candidates, best: Int64) -> Int64:
        """Return, for each listed item, the catalogue row of its reason, -1 for none, (n, k) int64.

        A reason is an item of the window, see :mod:`models.ranking.reasons`.
        """
        rows, window = np.take_along_axis(found.rows, best, axis=1), found.packed.rows
        is_there = np.arange(window.shape[1]) < found.packed.lengths[:, None]
        return reasons(catalogue.nearest, (catalogue.neighbour_rows, catalogue.next_rows), rows, window, is_there)

    def _empty(self, catalogue: Catalogue, n: int) -> RankedBatch:
        dim, f = self._artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        vectors, factors = (np.zeros((n, width), dtype=np.float32) for width in (dim + 1, f))
        return RankedBatch.blank(catalogue.item_ids, self._k, vectors, factors)
