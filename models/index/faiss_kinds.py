"""How FAISS searches by inner product: through all vectors, or through cells of near ones.

*exact* compares a query with every vector. *ivf* compares it with the vectors of the ``nprobe``
cells nearest to it (Sivic and Zisserman, Video Google, 2003; cells by k-means). Its cells hold four
bits of each value, which are compared 32 vectors at a time (Andre, Kermarrec and Le Scouarnec,
Accelerated Nearest Neighbor Search with Quick ADC, 2017); the best of them are ranked again by the
vectors themselves. ``docs/results/index.md`` compares both with FAISS's other kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, isqrt
from typing import Any, Final, Literal

import faiss
import numpy as np

from models.base.types import Float32, Int64
from models.index.best_rows import best_positions, longest, products

Kind = Literal["exact", "ivf"]

_faiss: Any = faiss  # its stubs lack classes and arguments that its Python layer adds

#: Training points per cell, and rounds of k-means: it gains little from more, and its time is most
#: of the time of a build.
_POINTS_PER_CELL: Final = 40
_ROUNDS: Final = 10
#: Four bits of a value name one of these, chosen by k-means for each column.
_BITS: Final = 4
_LEVELS: Final = 1 << _BITS
#: The cells bring this many times the answers, which are then ranked in full precision.
WIDER: Final = 8
_NO_PENALTIES: Final = np.zeros(0, dtype=np.float32)
#: Vectors that are added at once.
_BLOCK: Final = 65_536


@contextmanager
def one_thread() -> Iterator[None]:
    """Give FAISS one OpenMP thread inside the block, and restore the number after it.

    A search of this size ends before a pool of threads has woken, and a busy pool would take the
    cores of the event loop. OpenMP keeps the number for the calling thread or for the whole
    process, depending on the runtime, so the block restores it.
    """
    before = _faiss.omp_get_max_threads()
    _faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        _faiss.omp_set_num_threads(before)


def build_ivf(vectors: Float32, seed: int) -> Any:
    """Return a FAISS index of cells; the same vectors and seed give the same index.

    Parameters
    ----------
    vectors : (n, d) float32, n at least 1, squares within float32
    """
    n, dim = vectors.shape
    n_cells = max(1, min(2 * isqrt(n), n // 8))
    index = _faiss.IndexIVFPQFastScan(_faiss.IndexFlatIP(dim), dim, n_cells, dim, _BITS, _faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = _ROUNDS
    for clustering in (index.cp, index.pq.cp):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1  # FAISS would print a warning
    n_points = min(n, _POINTS_PER_CELL * n_cells)
    points = vectors[np.sort(np.random.default_rng(seed).choice(n, n_points, replace=False))]
    if n_points < _LEVELS:
        points = np.resize(points, (_LEVELS, dim))
    with one_thread():
        index.train(points)
        for start in range(0, n, _BLOCK):
            index.add(vectors[start : start + _BLOCK])
    return index


def widened(vectors: Float32, dim: int) -> Float32:
    """Return vectors with zeros at their ends, (n, dim)."""
    if vectors.shape[1] == dim:
        return vectors
    wide = np.zeros((len(vectors), dim), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def efforts(n_cells: int) -> list[int]:
    """Return the numbers of cells to try, rising.

    Even a search of all cells is faster than an exact one (docs/results/index.md).
    """
    steps, last = [1], max(1, n_cells)
    while steps[-1] < last:
        steps.append(min(last, max(steps[-1] + 1, ceil(steps[-1] * 1.4))))
    return steps


def nearest_exact(vectors: Float32, queries: Float32, k: int) -> tuple[Int64, Float32]:
    """Return the best positions and their scores, (q, k) each, without an index.

    Parameters
    ----------
    vectors, queries : contiguous
    k : at most the number of vectors
    """
    with one_thread():
        scores, positions = _faiss.knn(queries, vectors, k, metric=_faiss.METRIC_INNER_PRODUCT)
    return positions, scores


def nearest_in_cells(
    index: Any, vectors: Float32, queries: Float32, k: int, n_probe: int, wider: int = WIDER
) -> tuple[Int64, Float32]:
    """Return the best positions found and their scores, (q, k) each; -1 where fewer were found.

    The cells give the positions, the vectors the scores, in full precision. A query's answer does
    not depend on the other queries: FAISS would compare queries with centres by a matrix product.

    Parameters
    ----------
    index : of cells whose centres lie in an ``IndexFlatIP``
    vectors : (n, d) float32, those of the index
    n_probe : cells to look into
    wider : the cells bring this many times ``k``, as their scores are coarse
    """
    wide, centres = widened(queries, index.d), _centres(index)
    wanted = np.full(len(wide), min(n_probe, len(centres)), dtype=np.int64)
    cells = np.sort(best_positions(wide, centres, wanted, _NO_PENALTIES, longest(centres)), axis=1)
    if index.nprobe != cells.shape[1]:
        index.nprobe = cells.shape[1]
    with one_thread():
        n_brought = min(wider * k, len(vectors))
        _, positions = index.search_preassigned(wide, n_brought, cells, products(wide, centres, cells))
    scores = products(queries, vectors, positions)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _centres(index: Any) -> Float32:
    """Return the centres of the cells, (cells, d) float32, a view."""
    flat = _faiss.downcast_index(index.quantizer)
    centres: Float32 = _faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return centres
