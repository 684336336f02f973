"""Windows in, ranked lists out: retrieve, score, fuse, filter, take the best k.

Serving and evaluation use this same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.base.types import AnyArray, Behaviour, Float32
from models.features.columns import Row
from models.popularity import CountsWithPrior
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
from models.ranking.choosing import chosen, list_size
from models.ranking.first_lists import first_probabilities, name_sources
from models.ranking.lists import RankedBatch, RankedItem, RankedList, fill_up
from models.ranking.newcomers.known import Known, Newcomers
from models.ranking.newcomers.leaning import lean_weights
from models.ranking.newcomers.social import Followed
from models.ranking.reasons import reasons
from models.ranking.scoring import ServedFusion
from models.rules.repeats import Repeats
from models.sequence.serving import ServedSequence

__all__ = ["Catalogue", "Pipeline", "RankedBatch", "RankedItem", "RankedList", "build_catalogue", "recent_counts"]


def recent_counts(artifact: Artifact) -> CountsWithPrior:
    """Return counts for live events, whose prior is popularity at the end of training."""
    counts = zip(artifact.manifest.item_ids, artifact.recent_popularity.tolist(), strict=True)
    return CountsWithPrior(dict(counts), artifact.manifest.trained_to_ms)


class Pipeline:
    """The serving pipeline of one artifact. For one thread at a time.

    Parameters
    ----------
    k : items in a list; fewer only where the catalogue has fewer that may be shown
    n_candidates : candidates that retrieval brings to fusion
    """

    def __init__(self, artifact: Artifact, *, k: int = 10, n_candidates: int = 100) -> None:
        self._artifact = artifact
        self._k = k
        self._n_candidates = max(n_candidates, k)
        self._sequence, self._fusion = ServedSequence(artifact.sequence), ServedFusion(artifact.fusion)
        self._newcomers = Newcomers.of(artifact)
        self._strength = 0.0 if self._newcomers is None else self._newcomers.weights.strength
        until = artifact.manifest.leans_until
        self._leans_until = 0.0 if until is UNSET else until

    def recommend(
        self,
        catalogue: Catalogue,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]] | None = None,
        user_features: Sequence[Row] | None = None,
        note: NoteStage = unheard,
        seeds: AnyArray | None = None,
        followed: Sequence[Followed | None] | None = None,
        repeats: Repeats | None = None,
        weights: Sequence[Mapping[str, float]] | None = None,
    ) -> RankedBatch:
        """Return one list per window, in order.

        Items of ``extra_seen`` and those that ``repeats`` hide never appear. A window without an
        item of the catalogue gets what features and follows let expect, else popular items, and its
        list says so.

        Parameters
        ----------
        extra_seen : per user, ids of further items that no list may hold
        user_features : per user, features by name; missing ones are imputed
        note : called at the end of each stage
        seeds : (n,) uint64, of chance, where the catalogue's rules leave something to it
        followed : per user, the followed users of whom factors are known; None for nobody
        repeats : which items of a window its list may hold; None asks the catalogue's rules, then
            the artifact
        weights : per user, what the order multiplies the scores of some items by, by their ids; the
            catalogue must have rules
        """
        if not windows or not catalogue.n_items:
            return self._empty(catalogue, len(windows))
        known = self.known(user_features, followed, len(windows))
        found = self.candidates(catalogue, windows, extra_seen, note, known, repeats)
        probabilities = self.probabilities(catalogue, found, user_features)
        lists = self.rank(catalogue, found, probabilities, seeds, _weights(catalogue, found, weights))
        note("score")
        return lists

    def known(
        self, user_features: Sequence[Row] | None, followed: Sequence[Followed | None] | None, n: int
    ) -> Known | None:
        """Return what is known of ``n`` users beside their windows, None where that is nothing."""
        if self._newcomers is None or (user_features is None and followed is None):
            return None
        return self._newcomers.known(user_features, followed, n)

    def n_candidates(self, catalogue: Catalogue) -> int:
        """Return how many candidates retrieval brings to fusion: at least the items of a list."""
        return max(self._n_candidates, list_size(catalogue, self._k))

    def candidates(
        self,
        catalogue: Catalogue,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]] | None = None,
        note: NoteStage = unheard,
        known: Known | None = None,
        repeats: Repeats | None = None,
    ) -> Candidates:
        """Return the candidates of each window, as :meth:`recommend` ranks them.

        The arguments are those of :meth:`recommend`; there must be a window, and an item.

        Parameters
        ----------
        known : what :meth:`known` says of the users
        repeats : as :meth:`recommend` takes it
        """
        return gather(
            self._artifact, catalogue, windows, extra_seen, self.n_candidates(catalogue),
            repeats=repeats, served=self._sequence, note=note, known=known, strength=self._strength,
        )  # fmt: skip

    def rank(
        self,
        catalogue: Catalogue,
        found: Candidates,
        probabilities: Float32,
        seeds: AnyArray | None = None,
        weights: Float32 | None = None,
    ) -> RankedBatch:
        """Return the lists of candidates with these probabilities, filled up with popular items.

        Parameters
        ----------
        probabilities : (n, c) float32
        seeds : as in :meth:`recommend`
        weights : (n, c) float32, what the order multiplies each probability by; None for ones
        """
        lists = chosen(catalogue, found, probabilities, self._k, seeds, weights)
        if found.known is not None:
            name_sources(catalogue, found, found.known, lists)
        tables = catalogue.neighbour_rows.table, catalogue.next_rows.table
        window = found.packed.rows, found.packed.lengths
        lists.because[:] = reasons(catalogue.nearest, tables, catalogue.trained, lists.rows, *window)
        if catalogue.rules is None:
            fill_up(lists, catalogue.popular_rows, catalogue.popular_shares, catalogue.recent_popularity, found.seen)
        return lists

    def user_vectors(self, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]) -> Float32:
        """Return the vector of each window and a last 1, (n, dim + 1) float32; zeros for none."""
        _, whole, packed = packed_windows(self._artifact, catalogue, windows)
        return user_states(self._artifact, self._sequence, catalogue, whole, packed)[0]

    def score_all(self, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]) -> dict[str, Float32]:
        """Return the raw scores of the parts over the whole catalogue, each (n, n_items) float32.

        Seen items are not masked.
        """
        _, whole, packed = packed_windows(self._artifact, catalogue, windows)
        vectors, mf_users = user_states(self._artifact, self._sequence, catalogue, whole, packed)
        n = len(windows), len(catalogue.item_ids)
        return {
            "sequence": vectors @ catalogue.vectors.T,
            "mf": mf_users @ catalogue.factors.T,
            "next": dense(followers_of(catalogue, packed), n[1]),
            "neighbours": dense(neighbours_of(catalogue, packed), n[1]),
            "recent_popularity": np.broadcast_to(catalogue.recent_popularity, n),
        }

    def probabilities(
        self, catalogue: Catalogue, found: Candidates, user_features: Sequence[Row] | None = None
    ) -> Float32:
        """Return each candidate's probability to be the next item, (n, c) float32; 0 for none."""
        users = user_side(self._artifact, found.user_vectors, user_features)
        is_cold = found.packed.lengths == 0
        found_shares = self._fusion.probabilities(
            catalogue, found.rows, found.counts, found.planes, users, is_cold, self.lean(found)
        )
        if found.known is not None and self._newcomers is not None:
            first_probabilities(self._newcomers, catalogue, found, found.known, found_shares)
        return found_shares

    def lean(self, found: Candidates) -> Float32:
        """Return the weight of popularity in the logits of each user's candidates, (n,) float32."""
        return lean_weights(found.packed.lengths, self._leans_until, found.known, self._strength)

    def _empty(self, catalogue: Catalogue, n: int) -> RankedBatch:
        dim, f = self._artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        vectors, factors = (np.zeros((n, width), dtype=np.float32) for width in (dim + 1, f))
        return RankedBatch.blank(catalogue.item_ids, list_size(catalogue, self._k), vectors, factors)


def _weights(catalogue: Catalogue, found: Candidates, weights: Sequence[Mapping[str, float]] | None) -> Float32 | None:
    """Return the weight of each candidate, (n, c) float32; None where all are 1."""
    if weights is None or not any(weights):
        return None
    values = np.ones(found.rows.shape, dtype=np.float32)
    for own, rows, count, of_user in zip(values, found.rows, found.counts.tolist(), weights, strict=True):
        wanted = catalogue.rows_of(list(of_user))
        places = np.searchsorted(rows[:count], wanted)
        is_there = (wanted >= 0) & (places < count)
        is_there[is_there] = rows[places[is_there]] == wanted[is_there]
        own[places[is_there]] = np.fromiter(of_user.values(), np.float32, len(of_user))[is_there]
    return values
