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
from models.base.types import AnyArray, Behaviour, Behaviours, Float32, Int64, weights_of
from models.base.vocabulary import Degraded
from models.factors.matrix_factorisation import fold_in
from models.ranking.candidates import seen_rows
from models.ranking.catalogue import Catalogue
from models.ranking.choosing import list_size, put_arranged
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch, fill_up
from models.rules.repeats import NO_REPEATS, Repeats
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
    """Rows of one user that a list may hold, best first.

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
        seeds: AnyArray | None = None,
        repeats: Repeats = NO_REPEATS,
    ) -> RankedBatch:
        """Return one list per window, in order, without ``extra_seen`` and what ``repeats`` hide.

        A list is ``stale-vector`` where a vector is stored, else ``mf-only`` where the window has
        an item known from training, else ``popular``. A score is the closest thing to a probability
        that the source has: the softmax of retrieval scores over the best unseen ``n_candidates``,
        the sigmoid of the logit of matrix factorisation, or the share of recent popularity. The
        lists carry the given vectors, else zeros.

        Parameters
        ----------
        extra_seen : per user, ids of further items that no list may hold
        vectors : per user, the model's last output or None
        seeds : (n,) uint64, of chance, where the catalogue's rules leave something to it
        repeats : which items of a window its list may hold
        """
        k = list_size(catalogue, self.k)
        seen = seen_rows(catalogue, windows, extra_seen, repeats)
        blank = UserVectors(
            np.zeros(catalogue.vectors.shape[1], dtype=np.float32),
            np.zeros(catalogue.factors.shape[1] - 1, dtype=np.float32),
        )
        shown = [stored or blank for stored in vectors]
        of_users = (np.stack([one[i] for one in shown]) if shown else blank[i][None][:0] for i in (0, 1))
        lists = RankedBatch.blank(catalogue.item_ids, k, *of_users)
        found = [self._found(catalogue, *of_user) for of_user in zip(windows, seen, vectors, strict=True)]
        for i, (_, _, degraded) in enumerate(found):
            lists.degraded[i] = DEGRADED.index(degraded)
        if catalogue.rules is not None:
            _arrange(lists, catalogue, found, seen, seeds)
            return lists
        for i, (one, sources, _) in enumerate(found):
            n = min(k, len(one.rows))
            lists.rows[i, :n], lists.scores[i, :n], lists.lengths[i] = one.rows[:n], one.probabilities[:n], n
            _put_sources(lists, i, np.arange(n), one, sources)
        fill_up(lists, catalogue.popular_rows, catalogue.popular_shares, catalogue.recent_popularity, seen)
        return lists

    def popular(
        self,
        catalogue: Catalogue,
        window: Behaviours,
        extra_seen: AbstractSet[str],
        stored: UserVectors | None,
        seeds: AnyArray | None = None,
        repeats: Repeats = NO_REPEATS,
    ) -> RankedBatch:
        """Return one list of popular items, for a window of which only the seen items are usable.

        Parameters
        ----------
        stored : the vectors that the list carries; None for zeros
        seeds : (1,) uint64, as in :meth:`lists`
        repeats : which items of the window the list may hold
        """
        hidden = set(window.item_ids) if repeats.is_never else repeats.hidden_items(window)
        lists = self.lists(catalogue, [()], [extra_seen | hidden], [None], seeds)
        return (
            lists if stored is None else replace(lists, user_vectors=stored.vector[None], factors=stored.factors[None])
        )

    def _found(
        self, catalogue: Catalogue, window: Sequence[Behaviour], seen: Int64, stored: UserVectors | None
    ) -> tuple[_Found, Int64, Degraded]:
        """Return what a vector or the factors bring, each item's source, and what is missing."""
        if stored is not None:
            found = self._retrieved(catalogue, stored.vector, seen)
            if len(found.rows):
                is_new = catalogue.is_new[found.rows]
                sources = np.where(is_new, SOURCE_NAMES.index("content"), SOURCE_NAMES.index("retrieval"))
                return found, sources, "stale-vector"
        found = self._factorised(catalogue, window, seen)
        if len(found.rows):
            return found, np.full(len(found.rows), SOURCE_NAMES.index("mf")), "mf-only"
        if catalogue.rules is None:  # fill_up() brings them
            return _NOTHING, np.zeros(0, dtype=np.int64), "popular"
        found = self._popular(catalogue, seen)
        return found, np.full(len(found.rows), SOURCE_NAMES.index("popular")), "popular"

    def _popular(self, catalogue: Catalogue, seen: Int64) -> _Found:
        rows = catalogue.popular_rows[: self.n_candidates + len(seen)]
        rows = rows[~np.isin(rows, seen)][: self.n_candidates]
        return _Found(rows, catalogue.recent_popularity[rows], catalogue.popular_shares[rows])

    def _retrieved(self, catalogue: Catalogue, vector: Float32, seen: Int64) -> _Found:
        wanted = max(list_size(catalogue, self.k), self.n_candidates) + len(seen)
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
        n_wanted = self.k if catalogue.rules is None else max(self.n_candidates, list_size(catalogue, self.k))
        rows, scores = _unseen(*catalogue.factor_index.search(user[None], n_wanted + len(seen)), seen)
        return _Found(rows, scores, (1.0 / (1.0 + np.exp(-scores.astype(np.float64)))).astype(np.float32))


def _unseen(rows: Int64, scores: Float32, seen: Int64) -> tuple[Int64, Float32]:
    """Return the rows and scores of one query, (1, m) each, without seen items."""
    is_unseen = ~np.isin(rows[0], seen)
    return rows[0][is_unseen], scores[0][is_unseen]


def _put_sources(lists: RankedBatch, i: int, columns: Int64, found: _Found, sources: Int64) -> None:
    """Tell the source of each item of list ``i`` that is one of those found, -1 for the others."""
    places = np.flatnonzero(columns >= 0)
    own = columns[places]
    lists.source_ranks[i, places, sources[own]] = own + 1
    lists.source_scores[i, places, sources[own]] = found.scores[own]


def _arrange(
    lists: RankedBatch,
    catalogue: Catalogue,
    found: Sequence[tuple[_Found, Int64, Degraded]],
    seen: Sequence[Int64],
    seeds: AnyArray | None,
) -> None:
    """Put what the catalogue's rules make of the items that were found into the lists."""
    counts = np.array([len(one.rows) for one, _, _ in found], dtype=np.int64)
    rows = np.zeros((len(found), max(1, int(counts.max(initial=0)))), dtype=np.int64)
    probabilities = np.zeros(rows.shape, dtype=np.float32)
    for i, (one, _, _) in enumerate(found):
        rows[i, : counts[i]], probabilities[i, : counts[i]] = one.rows, one.probabilities
    begins = np.concatenate([[0], np.cumsum([len(part) for part in seen], dtype=np.int64)])
    had = np.concatenate([np.zeros(0, dtype=np.int64), *seen]), begins.astype(np.int64)
    columns = put_arranged(lists, catalogue, (rows, counts, probabilities), had, seeds)
    for i, (one, sources, _) in enumerate(found):
        _put_sources(lists, i, columns[i], one, sources)
