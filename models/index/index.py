"""Retrieval: the items whose vectors have the largest inner product with a user vector.

One interface over FAISS (Douze et al., The Faiss library, 2024), exact or approximate. An index
never changes once built: a reader keeps the index it holds while a writer builds the next, so no
lock is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np

from models.base.types import AnyArray, Bool, Float32, Int64
from models.index.faiss_kinds import Kind, build_faiss, search_approximate, search_exact
from models.index.recall import least_effort

#: Up to this many vectors ``auto`` is exact: one search takes about half a millisecond of an idle
#: core (docs/results/index.md). Above, it is ivf and never hnsw, because ivf is faster at the sizes
#: measured so far. hnsw stays: a catalogue of a million items must choose between the two by
#: measurement.
EXACT_UP_TO: Final = 50_000


@dataclass(frozen=True)
class Tuning:
    """How an index is searched, and the recall that was measured with that.

    Parameters
    ----------
    recall_target : the least recall that the caller asked for
    seed : of k-means, of graph levels and of the queries that recall was measured with
    kind : the kind in use
    effort : nprobe of ivf, efSearch of hnsw, 0 for exact
    recall : measured share of the exact answers that a search finds, 1 for exact
    fallback : why an exact index replaces the approximate one that was tried, else empty
    """

    recall_target: float
    seed: int
    kind: Kind = "exact"
    effort: int = 0
    recall: float = 1.0
    fallback: str = ""


class ItemIndex:
    """An immutable inner-product index; make one with :meth:`build`.

    Attributes
    ----------
    dim : width of its vectors
    kind : ``exact``, ``ivf`` or ``hnsw``, the kind in use
    recall : measured share of the exact answers that a search finds; 1 for exact
    tuning : kind and recall with the settings behind them, and why an exact index replaces another
        kind
    """

    def __init__(self, flat: Any, approximate: Any, rows: Int64, tuning: Tuning) -> None:
        self._flat = flat  # holds the vectors, and is exact
        self._approximate = approximate  # None if kind is exact
        self._rows = rows  # (n,) int64, the row of each vector
        self.tuning = tuning
        self.dim = int(flat.d)
        self.kind: Kind = tuning.kind
        self.recall = tuning.recall

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._rows)

    @classmethod
    def build(
        cls,
        vectors: AnyArray,
        rows: AnyArray | None = None,
        *,
        kind: Literal["auto"] | Kind = "auto",
        recall_target: float = 0.98,
        seed: int = 1,
    ) -> ItemIndex:
        """Return an index of vectors.

        Parameters
        ----------
        vectors : (n, d) of float, all finite; n may be 0. They are copied.
        rows : (n,) of int, distinct, the names that :meth:`search` returns; 0 to n - 1 unless given
        kind : ``auto`` is exact up to ``EXACT_UP_TO`` vectors and ivf beyond
        recall_target : above 0, at most 1. An approximate index searches with the least effort that
            reaches this recall of the best 100. Where that effort would be as slow as exact search,
            the index is exact, and ``tuning.fallback`` says why.
        seed : of all random steps; one seed gives one index

        Raises
        ------
        ValueError
            When a shape, a row, a value or a setting cannot be used.
        """
        checked = _checked_vectors(vectors, "vectors")
        numbers = _checked_rows(np.arange(len(checked)) if rows is None else rows, len(checked))
        _check_settings(kind, recall_target, seed)
        flat = build_faiss(checked, "exact", seed)
        tuning = Tuning(recall_target=recall_target, seed=seed)
        if kind == "auto":
            kind = "exact" if len(checked) <= EXACT_UP_TO else "ivf"
        if kind == "exact" or not len(checked):
            return cls(flat, None, numbers, tuning)
        _check_lengths(checked)
        index = build_faiss(checked, kind, seed)
        effort, recall = least_effort(index, flat, kind, checked, target=recall_target, seed=seed)
        if recall < recall_target:
            why = f"{kind} finds {recall:.3f} of the exact answers at effort {effort}, and more effort is no faster than exact"
            return cls(flat, None, numbers, Tuning(recall_target=recall_target, seed=seed, fallback=why))
        tuning = Tuning(kind=kind, effort=effort, recall=recall, recall_target=recall_target, seed=seed)
        return cls(flat, index, numbers, tuning)

    def search(self, queries: AnyArray, k: int, allowed: AnyArray | None = None) -> tuple[Int64, Float32]:
        """Return the rows with the largest inner products, best first.

        Parameters
        ----------
        queries : (q, d) of float, all finite
        k : rows wanted, at least 1
        allowed : the rows that may be returned, all unless given: bool with an entry for each row
            number, or (m,) int of row numbers; numbers that the index lacks do not count

        Returns
        -------
        rows : (q, w) int64, each at most once per query, where w is the smaller of ``k`` and the
            number of rows that may be returned; never FAISS's -1 for "none". Rows with equal scores
            come in any order.
        scores : (q, w) float32, falling

        Raises
        ------
        ValueError
            When the width differs from the index's, a value is not finite, ``k`` is below 1, or
            ``allowed`` has another form.

        Notes
        -----
        No caller passes ``allowed`` yet. A catalogue that hides items without building a new index
        needs it.

        ``recall`` is measured for the best 100 without a filter. An approximate index finds less
        for a larger ``k``, and for a filter that allows only vectors far from the query.
        """
        checked = _checked_vectors(queries, "queries", self.dim)
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        mask = None if allowed is None else _allowed_positions(allowed, self._rows)
        n_allowed = len(self) if mask is None else int(mask.sum())
        width = min(k, n_allowed)
        if width == 0 or not len(checked):
            return np.zeros((len(checked), width), np.int64), np.zeros((len(checked), width), np.float32)
        scores, positions = self._best(checked, width, None if n_allowed == len(self) else mask, n_allowed)
        if not np.isfinite(scores).all() or positions.min() < 0:
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        return self._rows[positions], scores

    def _best(self, queries: Float32, k: int, mask: Bool | None, n_allowed: int) -> tuple[Float32, Int64]:
        """Return scores and positions, (q, k) each.

        Exact search answers the queries for which the approximate search finds too little.
        """
        # few allowed rows: exact search is fast, and a filtered approximate search is not
        few = mask is not None and n_allowed <= max(EXACT_UP_TO, len(self) // 4)
        if self._approximate is None or self.kind == "exact" or few:
            return search_exact(self._flat, queries, k, mask)
        scores, positions = search_approximate(self._approximate, self.kind, queries, k, self.tuning.effort, mask)
        short = positions.min(axis=1) < 0
        if short.any():
            scores[short], positions[short] = search_exact(self._flat, queries[short], k, mask)
        return scores, positions


def _checked_vectors(vectors: AnyArray, name: str, dim: int | None = None) -> Float32:
    """Return (n, d) vectors as contiguous float32, all finite, of width ``dim`` if given."""
    array: Float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"{name} of shape {array.shape}: must be (n, d) with d at least 1")
    if dim is not None and array.shape[1] != dim:
        raise ValueError(f"{name} of width {array.shape[1]}: must be {dim}, as the index is")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name}: vector {int(np.argmin(finite))} is not finite; every value must be a float32 number")
    return array


def _check_lengths(vectors: Float32) -> None:
    """Raise ValueError where a vector's squared length exceeds float32.

    K-means and graphs compare vectors with one another.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    longest = int(np.argmax(squares))
    if squares[longest] > np.finfo(np.float32).max:
        raise ValueError(f"vectors: vector {longest} of length {squares[longest] ** 0.5:.3g}: must be below 1.8e19")


def _checked_rows(rows: AnyArray, n: int) -> Int64:
    """Return (n,) distinct row numbers, at least 0, as int64."""
    array = np.asarray(rows)
    if array.shape != (n,) or (n > 0 and array.dtype.kind not in "iu"):
        raise ValueError(f"rows of shape {array.shape} and type {array.dtype}: must be ({n},) integers, one per vector")
    array = array.astype(np.int64)
    if n and array.min() < 0:
        raise ValueError(f"row {array.min()}: must be at least 0")
    values, counts = np.unique(array, return_counts=True)
    if len(values) < n:
        raise ValueError(f"row {values[np.argmax(counts)]} is given {counts.max()} times: must be given once")
    return array


def _check_settings(kind: str, recall_target: float, seed: int) -> None:
    if kind not in ("auto", *get_args(Kind)):
        raise ValueError(f"kind={kind!r}: must be one of auto, {', '.join(get_args(Kind))}")
    if not 0.0 < recall_target <= 1.0:
        raise ValueError(f"recall_target={recall_target}: must be above 0 and at most 1")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed={seed}: must be from 0 to 2147483647")


def _allowed_positions(allowed: AnyArray, rows: Int64) -> Bool:
    """Return (n,) bool, whether each vector's row is allowed."""
    array = np.asarray(allowed)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biu"):
        raise ValueError(
            f"allowed of shape {array.shape} and type {array.dtype}: must be (n_rows,) bool or (m,) int rows"
        )
    if array.dtype.kind != "b":
        return np.isin(rows, array)
    if len(rows) and len(array) <= rows.max():
        raise ValueError(
            f"allowed of length {len(array)}: must be above {rows.max()}, with an entry for each row number"
        )
    found: Bool = array[rows]
    return found
