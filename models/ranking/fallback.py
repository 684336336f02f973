"""Fallback lists: made without the sequence model and without fusion, while those do not answer.

They need only NumPy and the catalogue's indexes, which never change, so a second thread can make
them while the first one is stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from models.base.event_types import DEFAULT_TYPES, WindowTypes
from models.base.types import Behaviour, Behaviours, Float32, Int64, weights_of
from models.base.vocabulary import Degraded
from models.factors.matrix_factorisation import fold_in
from models.ranking.candidates import seen_rows
from models.ranking.catalogue import Catalogue
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch, fill_up
from models.sequence.packing import pack_wishes


class UserVectors(NamedTuple):
    """The model's last output for a user.

    Parameters
    ----------
    vector : (dim + 1,) float32, the last entry is 1
    factors : (f,) float32
    """

    vector: Float32
    factors: Float32


class _Found(NamedTuple):
    """Unseen rows of one user, best first.

    They have their raw scores, and the numbers closest to probabilities.
    """

    rows: Int64
    scores: Float32
    probabilities: Float32


_NOTHING: Final = _Found(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class WithoutModel:
    """Makes lists from stored user vectors, else from matrix factorisation, else from popularity.

    Parameters
    ----------
    k : items in a list; fewer only where the catalogue has fewer unseen ones
    n_candidates : best rows among which a retrieval score becomes a probability
    max_length : newest behaviours of a window that count, as in the sequence model
    alpha, regularisation : of fold-in, from the artifact
    kinds : the types that the artifact knows
    """

    k: int
    n_candidates: int
    max_length: int
    alpha: float
    regularisation: float
    kinds: WindowTypes = DEFAULT_TYPES.window_types

    def lists(
        self,
        catalogue: Catalogue,
        windows: Sequence[Sequence[Behaviour]],
        extra_seen: Sequence[AbstractSet[str]],
        vectors: Sequence[UserVectors | None],
    ) -> RankedBatch:
        """Return one list per window, in order, without items of the window and of ``extra_seen``.

        A list is ``stale-vector`` where a vector is stored, else ``mf-only`` where the window has
        an item known from training, else ``popular``. A score is the closest thing to a probability
        that the source has: the softmax of retrieval scores over the best unseen ``n_candidates``,
        the sigmoid of the logit of matrix factorisation, or the share of recent popularity. The
        lists carry the given vectors, else zeros.

        Parameters
        ----------
        extra_seen : per user, ids of further items that the user has had
        vectors : per user, the model's last output or None
        """
        seen = seen_rows(catalogue, windows, extra_seen)
        blank = UserVectors(
            np.zeros(catalogue.vectors.shape[1], dtype=np.float32),
            np.zeros(catalogue.factors.shape[1] - 1, dtype=np.float32),
        )
        shown = [stored or blank for stored in vectors]
        of_users = (np.stack([one[i] for one in shown]) if shown else blank[i][None][:0] for i in (0, 1))
        lists = RankedBatch.blank(catalogue.item_ids, self.k, *of_users)
        for i, (window, stored) in enumerate(zip(windows, vectors, strict=True)):
            self._put(lists, i, catalogue, window, seen[i], stored)
        fill_up(lists, catalogue.popular_rows, catalogue.popular_shares, catalogue.recent_popularity, seen)
        return lists

    def popular(
        self, catalogue: Catalogue, window: Behaviours, extra_seen: AbstractSet[str], stored: UserVectors | None
    ) -> RankedBatch:
        """Return one list of popular items, for a window of which only the seen items are usable.

        Parameters
        ----------
        stored : the vectors that the list carries; None for zeros
        """
        lists = self.lists(catalogue, [()], [extra_seen | set(window.item_ids)], [None])
        return (
            lists if stored is None else replace(lists, user_vectors=stored.vector[None], factors=stored.factors[None])
        )

    def _put(
        self,
        lists: RankedBatch,
        i: int,
        catalogue: Catalogue,
        window: Sequence[Behaviour],
        seen: Int64,
        stored: UserVectors | None,
    ) -> None:
        """Put the items that a vector or the factors bring into list ``i``.

        Return what was left out.
        """
        degraded: Degraded = "popular"
        found, source = _NOTHING, np.zeros(0, dtype=np.int64)
        if stored is not None:
            found, degraded = self._retrieved(catalogue, stored.vector, seen), "stale-vector"
            source = np.where(
                catalogue.is_new[found.rows], SOURCE_NAMES.index("content"), SOURCE_NAMES.index("retrieval")
            )
        if not len(found.rows):
            found, degraded = self._factorised(catalogue, window, seen), "mf-only"
            source = np.full(len(found.rows), SOURCE_NAMES.index("mf"))
        n = min(self.k, len(found.rows))
        if not n:
            return
        places, source = np.arange(n), source[:n]
        lists.rows[i, :n], lists.scores[i, :n], lists.lengths[i] = found.rows[:n], found.probabilities[:n], n
        lists.source_ranks[i, places, source], lists.source_scores[i, places, source] = places + 1, found.scores[:n]
        lists.degraded[i] = DEGRADED.index(degraded)

    def _retrieved(self, catalogue: Catalogue, vector: Float32, seen: Int64) -> _Found:
        wanted = max(self.k, self.n_candidates) + len(seen)
        rows, scores = _unseen(*catalogue.index.search(vector[None], wanted), seen)
        weights = np.exp(scores - scores.max(initial=-np.inf))
        return _Found(rows, scores, weights / weights.sum())

    def _factorised(self, catalogue: Catalogue, window: Sequence[Behaviour], seen: Int64) -> _Found:
        packed = pack_wishes([window], catalogue.row_of, self.max_length, self.kinds)
        is_old = ~catalogue.is_new[packed.rows[0, : packed.lengths[0]]]
        known = packed.rows[0, : packed.lengths[0]][is_old]
        if not len(known):
            return _NOTHING
        weights = weights_of(self.kinds)[packed.types[0, : packed.lengths[0]]][is_old]
        factors = fold_in(
            catalogue.factors[None, known, :-1],
            np.ones((1, len(known)), dtype=bool),
            catalogue.gram,
            alpha=self.alpha,
            regularisation=self.regularisation,
            weights=None if self.kinds.is_uniform else weights[None],
        )
        user = np.append(factors[0], np.float32(1.0))
        rows, scores = _unseen(*catalogue.factor_index.search(user[None], self.k + len(seen)), seen)
        return _Found(rows, scores, (1.0 / (1.0 + np.exp(-scores.astype(np.float64)))).astype(np.float32))


def _unseen(rows: Int64, scores: Float32, seen: Int64) -> tuple[Int64, Float32]:
    """Return the rows and scores of one query, (1, m) each, without seen items."""
    is_unseen = ~np.isin(rows[0], seen)
    return rows[0][is_unseen], scores[0][is_unseen]
