"""How FAISS builds and searches the three kinds of index, always by inner product.

*exact* compares a query with every vector. *ivf* compares it with the vectors of the ``nprobe``
cells nearest to it (Sivic and Zisserman, Video Google, 2003; cells by k-means). *hnsw* walks a
graph of neighbours and keeps the ``efSearch`` best (Malkov and Yashunin, Efficient and robust
approximate nearest neighbor search using hierarchical navigable small world graphs, 2018).
``effort`` is nprobe or efSearch: more effort costs time and gains recall.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, isqrt
from typing import Any, Final, Literal

import faiss
import numpy as np

from models.base.types import Bool, Float32, Int64

Kind = Literal["exact", "ivf", "hnsw"]

_faiss: Any = faiss  # its stubs lack classes and arguments that its Python layer adds

#: Training points per cell: k-means gains little from more, and its time is the time of a build.
_POINTS_PER_CELL: Final = 64
#: Neighbours per node and candidates while building.
_HNSW_M: Final = 32
_HNSW_EF_CONSTRUCTION: Final = 80
_LEAST_EF: Final = 100


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


def build_faiss(vectors: Float32, kind: Kind, seed: int) -> Any:
    """Return the FAISS index of vectors; the same vectors, kind and seed give the same index.

    Parameters
    ----------
    vectors : (n, d) float32; ivf needs n at least 1
    """
    with one_thread():
        if kind == "ivf":
            return _ivf(vectors, seed)
        dim = vectors.shape[1]
        index = _faiss.IndexFlatIP(dim)
        if kind == "hnsw":
            index = _faiss.IndexHNSWFlat(dim, _HNSW_M, _faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = _HNSW_EF_CONSTRUCTION
            index.hnsw.rng = _faiss.RandomGenerator(seed)  # draws the level of each node
        if len(vectors):
            index.add(vectors)
        return index


def _ivf(vectors: Float32, seed: int) -> Any:
    n, dim = vectors.shape
    n_cells = max(1, min(2 * isqrt(n), n // 8))
    index = _faiss.IndexIVFFlat(_faiss.IndexFlatIP(dim), dim, n_cells, _faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # FAISS would print a warning
    index.cp.max_points_per_centroid = _POINTS_PER_CELL
    index.train(vectors)
    index.add(vectors)
    return index


def efforts(index: Any, kind: Kind) -> list[int]:
    """Return the efforts to try, rising.

    Beyond the last one exact search is as fast (docs/results/index.md).
    """
    if kind == "ivf":
        first, last = 1, max(1, index.nlist // 2)
    else:
        first, last = _LEAST_EF, max(_LEAST_EF, index.ntotal // 100)
    steps = [first]
    while steps[-1] < last:
        steps.append(min(last, max(steps[-1] + 1, ceil(steps[-1] * 1.4))))
    return steps


def nearest_exact(vectors: Float32, queries: Float32, k: int) -> tuple[Int64, Float32]:
    """Return the best positions of contiguous vectors and their scores, (q, k) each.

    The search takes all vectors, without an index.

    Parameters
    ----------
    k : at most the number of vectors
    """
    with one_thread():
        scores, positions = _faiss.knn(queries, vectors, k, metric=_faiss.METRIC_INNER_PRODUCT)
    return positions, scores


def search_exact(flat: Any, queries: Float32, k: int, allowed: Bool | None = None) -> tuple[Float32, Int64]:
    """Return the best positions and their scores, (q, k) each.

    Parameters
    ----------
    allowed : (n,) bool, the positions that may be found, at least ``k`` of them; None for all
    """
    params = None
    # with an array FAISS visits only its positions; with a bitmap it visits all
    if allowed is not None:
        params = _faiss.SearchParameters(sel=_faiss.IDSelectorArray(np.flatnonzero(allowed)))
    with one_thread():
        scores, positions = flat.search(queries, k, params=params)
    return scores, positions


def search_approximate(
    index: Any, kind: Kind, queries: Float32, k: int, effort: int, allowed: Bool | None = None
) -> tuple[Float32, Int64]:
    """Return the best positions found and their scores, (q, k) each; -1 where fewer were found.

    A search also visits positions that are not allowed, so the effort grows as their share grows.
    """
    sel = None
    if allowed is not None:
        sel = _faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        effort = ceil(effort * len(allowed) / max(1, int(allowed.sum())))
    if kind == "ivf":
        params = _faiss.SearchParametersIVF(nprobe=min(effort, index.nlist), sel=sel)
    else:
        params = _faiss.SearchParametersHNSW(efSearch=max(effort, k), sel=sel)
    with one_thread():
        scores, positions = index.search(queries, k, params=params)
    return scores, positions
