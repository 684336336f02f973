"""Fallback lists: made without the sequence model and without fusion, while those do not answer.

They need only NumPy and the catalogue's indexes, which never change, so a second thread can make
them while the first one is stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.event_types import DEFAULT_TYPES, WindowTypes
from models.factors.matrix_factorisation import fold_in
from models.ranking.candidates import seen_rows
from models.ranking.catalogue import Catalogue
from models.ranking.pipeline import RankedItem, RankedList, popular_items
from models.sequence.model import pack_wishes
from models.types import Behaviour, Float32, Int64, weights_of
from models.vocabulary import Degraded


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
    """Unseen rows of one user, best first, and their raw scores."""

    rows: Int64
    scores: Float32


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
    ) -> list[RankedList]:
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
        return [
            self._list(catalogue, window, had, stored)
            for window, had, stored in zip(windows, seen, vectors, strict=True)
        ]

    def popular(self, catalogue: Catalogue, window: Sequence[Behaviour], extra_seen: AbstractSet[str]) -> RankedList:
        """Return a list of popular items for a window of which only the seen items are usable."""
        (seen,) = seen_rows(catalogue, [window], [extra_seen])
        return self._finished(catalogue, [], seen, None, "popular")

    def _list(
        self, catalogue: Catalogue, window: Sequence[Behaviour], seen: Int64, stored: UserVectors | None
    ) -> RankedList:
        if stored is not None:
            items = self._retrieved(catalogue, stored.vector, seen)
            if items:
                return self._finished(catalogue, items, seen, stored, "stale-vector")
        items = self._factorised(catalogue, window, seen)
        return self._finished(catalogue, items, seen, stored, "mf-only" if items else "popular")

    def _retrieved(self, catalogue: Catalogue, vector: Float32, seen: Int64) -> list[RankedItem]:
        wanted = max(self.k, self.n_candidates) + len(seen)
        rows, scores = catalogue.index.search(vector[None], wanted)
        found = _unseen(rows[0], scores[0], seen)
        weights = np.exp(found.scores - found.scores.max(initial=-np.inf))
        return [
            RankedItem(
                catalogue.item_ids[row],
                float(weights[i] / weights.sum()),
                {"content" if catalogue.is_new[row] else "retrieval": (i + 1, float(found.scores[i]))},
                None,
            )
            for i, row in enumerate(found.rows[: self.k].tolist())
        ]

    def _factorised(self, catalogue: Catalogue, window: Sequence[Behaviour], seen: Int64) -> list[RankedItem]:
        packed = pack_wishes([window], catalogue.row_of, self.max_length, self.kinds)
        is_old = ~catalogue.is_new[packed.rows[0, : packed.lengths[0]]]
        known = packed.rows[0, : packed.lengths[0]][is_old]
        if not len(known):
            return []
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
        rows, scores = catalogue.factor_index.search(user[None], self.k + len(seen))
        found = _unseen(rows[0], scores[0], seen)
        return [
            RankedItem(
                catalogue.item_ids[row],
                float(1.0 / (1.0 + np.exp(-float(found.scores[i])))),
                {"mf": (i + 1, float(found.scores[i]))},
                None,
            )
            for i, row in enumerate(found.rows[: self.k].tolist())
        ]

    def _finished(
        self,
        catalogue: Catalogue,
        items: list[RankedItem],
        seen: Int64,
        stored: UserVectors | None,
        degraded: Degraded,
    ) -> RankedList:
        listed, n_left = {item.item_id for item in items}, self.k - len(items)
        more = popular_items(catalogue, listed, seen, n_left, is_last_resort=bool(items))
        vectors = stored or UserVectors(
            np.zeros(catalogue.vectors.shape[1], dtype=np.float32),
            np.zeros(catalogue.factors.shape[1] - 1, dtype=np.float32),
        )
        return RankedList(vectors.vector, vectors.factors, (*items, *more), degraded)


def _unseen(rows: Int64, scores: Float32, seen: Int64) -> _Found:
    is_unseen = ~np.isin(rows, seen)
    return _Found(rows[is_unseen], scores[is_unseen])


def is_finite(ranked: RankedList) -> bool:
    """Return whether all numbers of a list are finite; a list with others must not be published."""
    numbers = (ranked.user_vector, ranked.factors, np.array([item.score for item in ranked.items]))
    return all(bool(np.isfinite(values).all()) for values in numbers)
