"""Search over rows that change.

An index holds the older rows, an exact search covers the newer ones, and a mask hides rows of both.

::

    rows   0 ........ n_base ........ n
           [ base      ][ tail       ]        the base is built once and never changes
           an index      every row

A search asks for a few rows more than wanted and leaves out those that the mask hides; where too
many were hidden it asks again for more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.index.best_rows import best_positions, products
from models.index.faiss_kinds import nearest_exact
from models.index.search import VectorSearch

#: Rows asked for beyond those wanted, at least.
SPARE: Final = 16
#: A search through a base asks for a multiple of this, so that queries which want nearly as much
#: share a search.
ASKED_STEP: Final = 32
#: Above this share of hidden rows, a search looks only at the others, which are copied once.
MANY_HIDDEN: Final = 0.5


class LiveIndex:
    """The retrievable rows of one snapshot. Never changes, so any number of threads may search.

    Parameters
    ----------
    vectors : (n, d) float32, finite
    n_found : how many positions a search may return
    longest : no vector is longer
    is_found : from positions, int64 of any shape, to whether a search may return them, and to the
        rows that it returns instead of them
    base : over the first ``n_base`` vectors; None where each search looks at every vector
    """

    def __init__(
        self,
        vectors: Float32,
        n_found: int,
        longest: float,
        is_found: Callable[[Int64], tuple[Bool, Int64]],
        base: VectorSearch | None = None,
        n_base: int = 0,
    ) -> None:
        self._vectors, self._n_found, self._longest, self._is_found = vectors, n_found, longest, is_found
        self._base, self._n_base = base, n_base if base is not None else 0
        self._only: Int64 | None = None
        self._penalties: Float32 | None = None
        self._only_vectors: Float32 = vectors[:0]
        self.dim = vectors.shape[1]

    def __len__(self) -> int:
        """Return how many rows a search may return."""
        return self._n_found

    @property
    def kind(self) -> str:
        """``exact``, or the kind of the base."""
        return "exact" if self._base is None else self._base.kind

    @property
    def n_tail(self) -> int:
        """Return how many vectors are searched exactly."""
        return len(self._vectors) - self._n_base

    def search(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return the rows with the largest inner products, best first.

        Parameters
        ----------
        queries : (q, d) of float, all finite
        k : rows wanted, at least 1

        Returns
        -------
        rows : (q, w) int64, each at most once per query, where w is the smaller of ``k`` and the
            length of this index
        scores : (q, w) float32, falling

        Raises
        ------
        ValueError
            When the width differs from the vectors', a value is not finite, or ``k`` is below 1.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        self._check(queries, k)
        n, width = len(self._vectors), min(k, self._n_found)
        if width == 0 or not len(queries):
            return np.zeros((len(queries), width), np.int64), np.zeros((len(queries), width), np.float32)
        hidden_share = 1.0 - self._n_found / n
        wanted = width + SPARE + int(2 * width * hidden_share)
        if hidden_share > MANY_HIDDEN:
            return self._among_found(queries, width)
        rows, scores, is_short = self._filtered(queries, min(wanted, n), width)
        if is_short.any():
            rows[is_short], scores[is_short] = self._among_found(queries[is_short], width)
        return rows, scores

    def best(self, queries: Float32, wanted: Int64) -> Int64:
        """Return each query's best rows in any order, padded with -1, (q, most wanted) int64.

        It finds what :meth:`search` finds, without sorting. A query's rows do not depend on others.

        Parameters
        ----------
        queries : (q, d) float32, all finite
        wanted : (q,) int64

        Raises
        ------
        ValueError
            As :meth:`search` does.
        """
        self._check(queries, 1)
        wanted = np.minimum(wanted, self._n_found)
        most = int(wanted.max(initial=0))
        if most == 0:
            return np.full((len(queries), 1), -1, dtype=np.int64)
        if self._n_found < (1.0 - MANY_HIDDEN) * len(self._vectors):
            only, vectors = self._found_only()
            places = best_positions(queries, vectors, wanted, np.zeros(0, np.float32), self._longest)
            positions = np.where(places >= 0, only[places], -1)
        elif self._base is None:
            positions = best_positions(queries, self._vectors, wanted, self._tail_penalties(), self._longest)
        else:
            positions = self._best_beside_base(queries, wanted)
        if ((positions >= 0).sum(axis=1) < wanted).any():
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        return np.where(positions >= 0, self._is_found(positions)[1], -1)

    def _best_beside_base(self, queries: Float32, wanted: Int64) -> Int64:
        """Return the best positions among those that base and tail bring, (q, most wanted) int64.

        How many the base is asked for depends on ``wanted`` of the query alone.
        """
        assert self._base is not None
        hidden_share = 1.0 - self._n_found / len(self._vectors)
        asked = wanted + SPARE + (2 * wanted * hidden_share).astype(np.int64)
        asked = np.minimum(asked + -asked % ASKED_STEP, self._n_base)
        tail = self._vectors[self._n_base :]
        best = np.full((len(queries), int(wanted.max())), -1, dtype=np.int64)
        is_short = np.zeros(len(queries), dtype=bool)
        for n_asked in np.unique(asked[wanted > 0]).tolist():
            own = np.flatnonzero((asked == n_asked) & (wanted > 0))
            positions, scores = self._base.search(queries[own], n_asked)
            least = scores[:, -1:] if n_asked < self._n_base else np.float32(-np.inf)
            scores = np.where(self._is_found(positions)[0], scores, np.float32(-np.inf))
            if len(tail):
                added = best_positions(queries[own], tail, wanted[own], self._tail_penalties(), self._longest)
                positions = np.concatenate([positions, np.where(added >= 0, added + self._n_base, -1)], axis=1)
                scores = np.concatenate([scores, products(queries[own], tail, added)], axis=1)
            width = min(best.shape[1], positions.shape[1])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
            scores = np.take_along_axis(scores, order, axis=1)
            is_in = np.arange(width) < wanted[own, None]
            best[own, :width] = np.where(is_in & np.isfinite(scores), np.take_along_axis(positions, order, axis=1), -1)
            # beyond the last one that the base brought there may be better ones
            is_short[own] = (is_in & ~((scores >= least) & np.isfinite(scores))).any(axis=1) | (wanted[own] > width)
        if is_short.any():
            only, vectors = self._found_only()
            places = best_positions(
                queries[is_short], vectors, wanted[is_short], np.zeros(0, np.float32), self._longest
            )
            places = np.pad(places, ((0, 0), (0, best.shape[1] - places.shape[1])), constant_values=-1)
            best[is_short] = np.where(places >= 0, only[places], -1)
        return best

    def _tail_penalties(self) -> Float32:
        """Return 0 for each tail vector that may be found, else -inf; (0,) where all may."""
        if self._penalties is None:
            is_found = self._is_found(np.arange(self._n_base, len(self._vectors)))[0]
            hidden = np.where(is_found, np.float32(0.0), np.float32(-np.inf))
            self._penalties = hidden[:0] if is_found.all() else hidden
        return self._penalties

    def narrowed(self, allowed: Bool, n_found: int) -> LiveIndex:
        """Return a search that leaves out more rows.

        Parameters
        ----------
        allowed : (n_rows,) bool, the rows that it may return, as far as this one returns them
        n_found : how many these are
        """
        is_found_here = self._is_found

        def is_found(positions: Int64) -> tuple[Bool, Int64]:
            found, rows = is_found_here(positions)
            return found & allowed[rows], rows

        return LiveIndex(self._vectors, n_found, self._longest, is_found, self._base, self._n_base)

    def exact(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return what :meth:`search` returns, by brute force: what recall is measured against."""
        return LiveIndex(self._vectors, self._n_found, self._longest, self._is_found).search(queries, k)

    def _check(self, queries: Float32, k: int) -> None:
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(f"queries of shape {queries.shape}: must be (q, {self.dim}), as the vectors are")
        if not np.isfinite(queries).all():
            raise ValueError("queries: a value is not finite; every value must be a float32 number")
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")

    def _filtered(self, queries: Float32, n_asked: int, width: int) -> tuple[Int64, Float32, Bool]:
        """Return the first ``width`` rows that may be found among ``n_asked``.

        The second value says where there are too few.
        """
        positions, scores = self._top(queries, n_asked)
        is_found, rows = self._is_found(positions)
        is_found &= positions >= 0
        if not np.isfinite(scores[is_found]).all():
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        order = np.argsort(~is_found, axis=1, kind="stable")[:, :width]
        is_short = is_found.sum(axis=1) < width
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1), is_short

    def _top(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return positions and scores of the best, (q, at most k), -1 for none."""
        if self._base is None:
            return nearest_exact(self._vectors, queries, k)
        positions, scores = self._base.search(queries, k)
        if not self.n_tail:
            return positions, scores
        tail = self._vectors[self._n_base :]
        tail_positions, tail_scores = nearest_exact(tail, queries, min(k, len(tail)))
        positions = np.concatenate([positions, tail_positions + self._n_base], axis=1)
        scores = np.concatenate([scores, tail_scores], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _among_found(self, queries: Float32, width: int) -> tuple[Int64, Float32]:
        """Search exactly, and only at the positions that may be found."""
        only, vectors = self._found_only()
        places, scores = nearest_exact(vectors, queries, width)
        if not np.isfinite(scores).all():
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        return self._is_found(only[places])[1], scores

    def _found_only(self) -> tuple[Int64, Float32]:
        """Return the positions that may be found, and their vectors, copied once."""
        if self._only is None:
            only = np.flatnonzero(self._is_found(np.arange(len(self._vectors)))[0])
            self._only_vectors, self._only = self._vectors[only], only
        return self._only, self._only_vectors
