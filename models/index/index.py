"""Retrieval: the items whose vectors have the largest inner product with a user vector.

One interface over FAISS (Douze et al., The Faiss library, 2024), exact or approximate. An index
never changes once built: a reader keeps the index it holds while a writer builds the next, so no
lock is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np

from models.base.types import AnyArray, Float32, Int64
from models.index.faiss_kinds import Kind, build_ivf, efforts, nearest_exact, nearest_in_cells
from models.index.recall import least_effort

#: Up to this many vectors ``auto`` is exact: one search takes about half a millisecond of an idle
#: core. Above, it is ivf: docs/results/index.md compares it with FAISS's other kinds, and with
#: exact search at a million vectors.
EXACT_UP_TO: Final = 50_000
#: Greater values are no embeddings: k-means would add squares that are beyond float32.
LARGEST_VALUE: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Tuning:
    """How an index is searched, and the recall that was measured with that.

    Parameters
    ----------
    recall_target : the least recall that the caller asked for
    seed : of k-means and of the queries that recall was measured with
    kind : the kind in use
    effort : cells that a search looks into, 0 for exact
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
    kind : ``exact`` or ``ivf``, the kind in use
    recall : measured share of the exact answers that a search finds; 1 for exact
    tuning : kind and recall with the settings behind them, and why an exact index replaces another
        kind
    """

    def __init__(self, vectors: Float32, cells: Any, tuning: Tuning) -> None:
        self._vectors = vectors
        self._cells = cells  # None if kind is exact
        self.tuning = tuning
        self.dim = vectors.shape[1]
        self.kind: Kind = tuning.kind
        self.recall = tuning.recall

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._vectors)

    @property
    def n_bytes(self) -> int:
        """Bytes of the cells, beside the vectors: of each vector its values and its number."""
        return 0 if self._cells is None else len(self) * (self._cells.code_size + 8)

    @classmethod
    def build(
        cls,
        vectors: AnyArray,
        *,
        kind: Literal["auto"] | Kind = "auto",
        recall_target: float = 0.98,
        seed: int = 1,
    ) -> ItemIndex:
        """Return an index of vectors.

        Parameters
        ----------
        vectors : (n, d) of float, all finite; n may be 0. Contiguous float32 is kept and not
            copied, and must never change.
        kind : ``auto`` is exact up to ``EXACT_UP_TO`` vectors and ivf beyond
        recall_target : above 0, at most 1. An approximate index searches with the least effort that
            reaches this recall of the best 100. Where a search of every cell misses it, the index
            is exact, and ``tuning.fallback`` says why.
        seed : of all random steps; one seed gives one index

        Raises
        ------
        ValueError
            When a shape, a value or a setting cannot be used.
        """
        checked = _checked_vectors(vectors, "vectors")
        _check_settings(kind, recall_target, seed)
        if kind == "auto":
            kind = "exact" if len(checked) <= EXACT_UP_TO else "ivf"
        if kind == "exact" or not len(checked):
            return cls(checked, None, Tuning(recall_target, seed))
        if (largest := float(max(checked.max(), -checked.min()))) > LARGEST_VALUE:
            why = f"a value of {largest:.3g} does not fit into the cells, which take at most {LARGEST_VALUE:.0f}"
            return cls(checked, None, Tuning(recall_target, seed, fallback=why))
        cells = build_ivf(checked, seed)

        def search(queries: Float32, k: int, effort: int) -> tuple[Int64, Float32]:
            return nearest_in_cells(cells, checked, queries, k, effort)

        effort, recall = least_effort(search, checked, efforts(cells.nlist), target=recall_target, seed=seed)
        if recall < recall_target:
            why = f"ivf finds {recall:.3f} of the exact answers at effort {effort}, which looks into every cell"
            return cls(checked, None, Tuning(recall_target, seed, fallback=why))
        return cls(checked, cells, Tuning(recall_target, seed, "ivf", effort, recall))

    def search(self, queries: AnyArray, k: int) -> tuple[Int64, Float32]:
        """Return the rows with the largest inner products, best first.

        Parameters
        ----------
        queries : (q, d) of float, all finite
        k : rows wanted, at least 1

        Returns
        -------
        rows : (q, w) int64 positions of vectors, each at most once per query, where w is the
            smaller of ``k`` and the number of vectors; never FAISS's -1 for "none". Rows with equal
            scores come in any order.
        scores : (q, w) float32, falling

        Raises
        ------
        ValueError
            When the width differs from the index's, a value is not finite, or ``k`` is below 1.

        Notes
        -----
        ``recall`` is measured for the best 100. An approximate index finds less for a larger ``k``.
        """
        checked = _checked_vectors(queries, "queries", self.dim)
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        width = min(k, len(self))
        if width == 0 or not len(checked):
            return np.zeros((len(checked), width), np.int64), np.zeros((len(checked), width), np.float32)
        rows, scores = self._best(checked, width)
        if not np.isfinite(scores).all() or rows.min() < 0:
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        return rows, scores

    def _best(self, queries: Float32, k: int) -> tuple[Int64, Float32]:
        """Return rows and scores, (q, k) each.

        Exact search answers the queries for which the approximate search finds too little.
        """
        if self._cells is None:
            return nearest_exact(self._vectors, queries, k)
        rows, scores = nearest_in_cells(self._cells, self._vectors, queries, k, self.tuning.effort)
        short = rows.min(axis=1) < 0
        if short.any():
            rows[short], scores[short] = nearest_exact(self._vectors, queries[short], k)
        return rows, scores


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


def _check_settings(kind: str, recall_target: float, seed: int) -> None:
    if kind not in ("auto", *get_args(Kind)):
        raise ValueError(f"kind={kind!r}: must be one of auto, {', '.join(get_args(Kind))}")
    if not 0.0 < recall_target <= 1.0:
        raise ValueError(f"recall_target={recall_target}: must be above 0 and at most 1")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed={seed}: must be from 0 to 2147483647")
