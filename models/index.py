"""Retrieval: the items whose vectors have the largest inner product with a user vector.

Exact search with FAISS (Douze et al., The Faiss library, 2024): on one core a flat index of ten thousand items answers in well under
a millisecond, and it has no recall to lose. An index never changes once built: a reader keeps using the one it holds while a
writer makes the next, so no lock is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from models.types import AnyArray, Float32, Int64


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give FAISS one OpenMP thread inside the block, and what it had before after it.

    A search of this size is over before a pool of threads has woken, and a busy pool would take the cores of the event loop. The
    number belongs to the calling thread or the whole process, as the OpenMP runtime has it: that is why it is put back.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _checked_vectors(vectors: AnyArray, name: str, dim: int | None = None) -> Float32:
    """Return (n, d) vectors as contiguous float32, all finite, of width ``dim`` where one is given."""
    array: Float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"{name} of shape {array.shape}: must be (n, d) with d at least 1")
    if dim is not None and array.shape[1] != dim:
        raise ValueError(f"{name} of width {array.shape[1]}: must be {dim}, as the index is")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name}: vector {int(np.argmin(finite))} is not finite; every value must be a float32 number")
    return array


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


class ItemIndex:
    """An immutable flat inner-product index; make one with :meth:`build`.

    Attributes
    ----------
    dim : width of its vectors
    """

    def __init__(self, vectors: Float32, rows: Int64, flat: Any) -> None:
        self._vectors = vectors  # (n, dim) float32
        self._rows = rows  # (n,) int64, the row of each vector
        self._flat = flat
        self.dim = int(vectors.shape[1])

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._rows)

    @classmethod
    def build(cls, vectors: AnyArray, rows: AnyArray | None = None) -> ItemIndex:
        """Return an index of vectors.

        Parameters
        ----------
        vectors : (n, d) of float, all finite; n may be 0. They are copied.
        rows : (n,) of int, distinct, what :meth:`search` names them by; 0 to n - 1 unless given

        Raises
        ------
        ValueError
            For a shape, a row or a value that cannot be indexed.
        """
        checked = _checked_vectors(vectors, "vectors").copy()
        numbers = _checked_rows(np.arange(len(checked)) if rows is None else rows, len(checked))
        flat = faiss.IndexFlatIP(checked.shape[1])
        with _one_thread():
            if len(checked):
                flat.add(checked)
        return cls(checked, numbers, flat)

    def search(self, queries: AnyArray, k: int) -> tuple[Int64, Float32]:
        """Return the rows with the largest inner products, best first.

        Parameters
        ----------
        queries : (q, d) of float, all finite
        k : rows wanted, at least 1

        Returns
        -------
        rows : (q, min(k, n)) int64; FAISS's -1 for "none" cannot occur
        scores : (q, min(k, n)) float32, descending

        Raises
        ------
        ValueError
            For a width unlike the index's, a value that is not finite, or a ``k`` below 1.
        """
        checked = _checked_vectors(queries, "queries", self.dim)
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        found = min(k, len(self))
        if found == 0 or not len(checked):
            return np.zeros((len(checked), found), np.int64), np.zeros((len(checked), found), np.float32)
        with _one_thread():
            scores, positions = self._flat.search(checked, found)
        if not np.isfinite(scores).all() or positions.min() < 0:
            raise ValueError("queries: an inner product is beyond float32; vectors must be smaller")
        return self._rows[positions], scores

    def upserted(self, vectors: AnyArray, rows: AnyArray) -> ItemIndex:
        """Return a new index in which these rows have these vectors; this one stays as it is.

        Rows that were there are removed and added again, rows that were not are added.

        Parameters
        ----------
        vectors : (m, d) of float, all finite
        rows : (m,) of int, distinct
        """
        checked = _checked_vectors(vectors, "vectors", self.dim)
        numbers = _checked_rows(rows, len(checked))
        kept = ~np.isin(self._rows, numbers)
        return ItemIndex.build(
            np.concatenate([self._vectors[kept], checked]), np.concatenate([self._rows[kept], numbers])
        )
