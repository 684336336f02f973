"""Windows in, ranked lists out: retrieve, score, fuse, filter, take the best k.

Serving and evaluation use this same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.artifact.artifact import Artifact
from models.features.columns import Row
from models.fusion import FEATURES
from models.popularity import CountsWithPrior
from models.ranking.candidate_features import places_of
from models.ranking.candidates import (
    Candidates,
    dense,
    followers_of,
    gather,
    neighbours_of,
    packed_windows,
    seen_rows,
    user_side,
    user_states,
)
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.reasons import reasons
from models.types import Behaviour, Float32, Int64
from models.vocabulary import Degraded

#: The sources of candidates, and the feature that is a source's score.
SOURCES: Final = {
    "retrieval": "retrieval_score",
    "mf": "mf_logit",
    "next": "next_score",
    "neighbours": "neighbour_score",
    "popular": "recent_popularity",
}
__all__ = ["Catalogue", "Pipeline", "RankedItem", "RankedList", "build_catalogue", "recent_counts"]


@dataclass(frozen=True)
class RankedItem:
    """One item of a list.

    Parameters
    ----------
    score : probability that this is the user's next item
    sources : source name to its rank (from 1) and score
    because : the item of the window that is the reason for this one, or None, see
        :mod:`models.ranking.reasons`
    """

    item_id: str
    score: float
    sources: dict[str, tuple[int, float]]
    because: str | None


@dataclass(frozen=True)
class RankedList:
    """A user's list, best first, and the vectors behind it.

    Parameters
    ----------
    user_vector : (dim + 1,) float32, the last entry is 1
    factors : (f,) float32
    degraded : what the list was made without
    """

    user_vector: Float32
    factors: Float32
    items: tuple[RankedItem, ...]
    degraded: Degraded


def recent_counts(artifact: Artifact) -> CountsWithPrior:
    """Return counts for live events, whose prior is popularity at the end of training."""
    counts = zip(artifact.manifest.item_ids, artifact.recent_popularity.tolist(), strict=True)
    return CountsWithPrior(dict(counts), artifact.manifest.trained_to_ms)


def popular_items(
    catalogue: Catalogue, listed: set[str], seen: Int64, n: int, *, is_last_resort: bool
) -> list[RankedItem]:
    """Return up to ``n`` popular items that are neither listed nor seen, most popular first.

    Parameters
    ----------
    listed : item ids of the list so far
    seen : catalogue rows
    is_last_resort : whether these items fill up a list of better ones and so have probability 0;
        otherwise an item's probability is its share of popularity
    """
    items: list[RankedItem] = []
    had = set(seen.tolist())
    for rank, row in enumerate(catalogue.popular_rows.tolist(), 1):
        if len(items) == n:
            break
        item_id = catalogue.item_ids[row]
        if row not in had and item_id not in listed:
            sources = {"popular": (rank, float(catalogue.recent_popularity[row]))}
            score = 0.0 if is_last_resort else float(catalogue.popular_shares[row])
            items.append(RankedItem(item_id, score, sources, None))
    return items


def listed_items(
    catalogue: Catalogue, found: Candidates, best: Int64, probabilities: Float32, because: Int64
) -> list[list[RankedItem]]:
    """Return the items of each user's list, best first; those that are not valid are left out.

    An item names the sources that brought it, each with the item's rank and score. Retrieval of a
    new item is named ``content``.

    Parameters
    ----------
    best : (n, k) int64 columns of the candidates
    probabilities : (n, c) float32
    because : (n, k) int64 catalogue rows, -1 for none
    """
    users, rows = np.arange(len(best))[:, None], np.take_along_axis(found.rows, best, axis=1)
    is_listed = found.valid[users, best]
    n_listed = np.where(is_listed.all(axis=1), best.shape[1], is_listed.argmin(axis=1)).tolist()
    given = {name: by[users, best] for name, by in found.given.items()}
    given = {name: by & ((found.packed.lengths > 0)[:, None] | (name == "popular")) for name, by in given.items()}
    given["popular"] |= ~np.any(list(given.values()), axis=0)
    scores = {name: _scores_of(catalogue, found, name) for name in given}
    sources: list[list[dict[str, tuple[int, float]]]] = [[{} for _ in range(n)] for n in n_listed]
    for name in SOURCES:
        places = places_of(scores[name], found.valid, best).tolist()
        values = scores[name][users, best].tolist()
        shown = np.where(catalogue.is_new[rows] & (name == "retrieval"), "content", name).tolist()
        for i, j in np.argwhere(given[name] & (np.arange(best.shape[1]) < np.array(n_listed)[:, None])).tolist():
            sources[i][j][shown[i][j]] = places[i][j], values[i][j]
    of_lists = probabilities[users, best].tolist(), rows.tolist(), because.tolist()
    ids = catalogue.item_ids
    return [
        [
            RankedItem(ids[row], score, source, None if reason < 0 else ids[reason])
            for score, row, reason, source in zip(*(each[i] for each in of_lists), sources[i], strict=False)
        ]
        for i in range(len(best))
    ]


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
        self._known: tuple[Float32, Float32] | None = None

    def recommend(
        self,
        catalogue: Catalogue,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]] | None = None,
        user_features: Sequence[Row] | None = None,
    ) -> list[RankedList]:
        """Return one list per window, in order.

        Items of the window and of ``extra_seen`` never appear. A window without an item of the
        catalogue gets popular items, and its list says so.

        Parameters
        ----------
        extra_seen : per user, ids of further items that the user has had
        user_features : per user, features by name; missing ones are imputed
        """
        if not windows:
            return []
        if not catalogue.item_ids:
            return [self._empty(catalogue) for _ in windows]
        found = gather(self._artifact, catalogue, windows, extra_seen, self._n_candidates)
        probabilities = self.probabilities(catalogue, found, user_features)
        return self.rank(catalogue, found, probabilities, windows, extra_seen)

    def rank(
        self,
        catalogue: Catalogue,
        found: Candidates,
        probabilities: Float32,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]] | None = None,
    ) -> list[RankedList]:
        """Return the lists of candidates with these probabilities.

        Parameters
        ----------
        probabilities : (n, c) float32
        """
        probabilities = np.where(found.valid, probabilities, -1.0)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._k]
        because = self._because(catalogue, found, best)
        listed = listed_items(catalogue, found, best, probabilities, because)
        seen = seen_rows(catalogue, windows, extra_seen)
        return [self._ranked_list(catalogue, found, i, items, seen[i]) for i, items in enumerate(listed)]

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
                torch.from_numpy(self._known_items(catalogue.side)[found.rows]).to(device),
            )
            valid = torch.from_numpy(found.valid).to(device)
            logits = self._with_unseen(catalogue, found, logits, valid)
            result: Float32 = self._artifact.fusion.probabilities(logits, valid).cpu().numpy()
        is_cold = (found.packed.lengths == 0)[:, None]
        return np.where(is_cold, catalogue.popular_shares[found.rows] * found.valid, result)

    def _known_items(self, side: Float32) -> Float32:
        """Return what fusion reads of each item, (n_items, N_PROJECTED); once for each catalogue."""
        if self._known is None or self._known[0] is not side:
            known = self._artifact.fusion.known_items(torch.from_numpy(side).to(self._artifact.device))
            self._known = side, known.cpu().numpy()
        return self._known[1]

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

    def _ranked_list(
        self, catalogue: Catalogue, found: Candidates, i: int, items: list[RankedItem], seen: Int64
    ) -> RankedList:
        """Return a user's list, filled up with popular items."""
        is_cold = bool(found.packed.lengths[i] == 0)
        if len(items) < self._k:
            listed, n_left = {item.item_id for item in items}, self._k - len(items)
            items += popular_items(catalogue, listed, seen, n_left, is_last_resort=not is_cold)
        vector, factors = found.user_vectors[i], found.factors[i]
        return RankedList(vector, factors, tuple(items), "popular" if is_cold else "none")

    def _empty(self, catalogue: Catalogue) -> RankedList:
        dim, f = self._artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        return RankedList(np.zeros(dim + 1, dtype=np.float32), np.zeros(f, dtype=np.float32), (), "popular")
