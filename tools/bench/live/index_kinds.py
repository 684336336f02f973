"""The indexes of ``headrace bench index``: headrace's own, and FAISS's others at one recall."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any, Final

import faiss
import numpy as np

from models.base.types import Float32, Int64
from models.index.faiss_kinds import efforts as cells_to_try
from models.index.faiss_kinds import nearest_exact, nearest_in_cells, one_thread, widened
from models.index.index import ItemIndex
from models.index.recall import least_effort

_faiss: Any = faiss  # its stubs lack classes and arguments that its Python layer adds

#: Neighbours of a node, and candidates while a graph is built.
HNSW_M: Final = 32
HNSW_EF_CONSTRUCTION: Final = 80
LEAST_EF: Final = 100
#: FAISS decodes float16 and int8 in steps of this many values; with other widths, one by one.
STEP: Final = 8

Search = Callable[[Float32, int], tuple[Int64, Float32]]


@dataclass(frozen=True)
class Measured:
    """An index that was built.

    Parameters
    ----------
    effort : cells that a search looks into (ivf) or candidates that it keeps (hnsw); 0 for exact
    recall : measured when it was built
    build_s : processor seconds, the choice of the effort included
    n_bytes : of the index, beside the vectors
    note : what is to be said of it, else empty
    """

    search: Search
    effort: int = 0
    recall: float = 1.0
    build_s: float = 0.0
    n_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Family:
    """A kind of index that FAISS has and headrace does not use.

    Parameters
    ----------
    make : from dimension, number of vectors and seed to an empty index
    efforts : from the index to the efforts to try, rising
    look : from the index, vectors, queries, k and effort to positions and scores
    step : the width of its vectors is a multiple of this
    """

    make: Callable[[int, int, int], Any]
    efforts: Callable[[Any], Sequence[int]]
    look: Callable[[Any, Float32, Float32, int, int], tuple[Int64, Float32]]
    step: int = 1


def build_kind(name: str, vectors: Float32, *, target: float, seed: int) -> Measured:
    """Build an index of :data:`KINDS`, with the least effort that reaches the ``target`` recall."""
    start = time.process_time()
    if name == "exact":
        return Measured(lambda queries, k: nearest_exact(vectors, queries, k))
    if name == "headrace":
        own = ItemIndex.build(vectors, recall_target=target, seed=seed)
        build_s = time.process_time() - start
        note = f"uses {own.kind}" + (f": {own.tuning.fallback}" if own.tuning.fallback else "")
        return Measured(own.search, own.tuning.effort, own.recall, build_s, own.n_bytes, note)
    family = FAMILIES[name]
    dim = vectors.shape[1] + -vectors.shape[1] % family.step
    wide = widened(vectors, dim)
    with one_thread():
        index = family.make(dim, len(vectors), seed)
        if not index.is_trained:
            index.train(wide)
        index.add(wide)

    def look(queries: Float32, k: int, effort: int) -> tuple[Int64, Float32]:
        return family.look(index, vectors, queries, k, effort)

    effort, recall = least_effort(look, vectors, family.efforts(index), target=target, seed=seed)
    build_s = time.process_time() - start
    n_bytes = len(_faiss.serialize_index(index))
    note = "" if recall >= target else f"misses the recall of {target}"
    return Measured(lambda queries, k: look(queries, k, effort), effort, recall, build_s, n_bytes, note)


def _cells(dim: int, n: int, seed: int, make: Callable[[Any, int], Any]) -> Any:
    """Return an index of as many cells as headrace's has, trained on as many points."""
    n_cells = max(1, min(2 * isqrt(n), n // 8))
    index = make(_faiss.IndexFlatIP(dim), n_cells)
    index.cp.seed, index.cp.niter = seed, 10
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 40
    return index


def _ivf_flat(dim: int, n: int, seed: int) -> Any:
    inner = _faiss.METRIC_INNER_PRODUCT
    return _cells(dim, n, seed, lambda coarse, cells: _faiss.IndexIVFFlat(coarse, dim, cells, inner))


def _ivf_int8(dim: int, n: int, seed: int) -> Any:
    inner, of_type = _faiss.METRIC_INNER_PRODUCT, _faiss.ScalarQuantizer.QT_8bit
    return _cells(
        dim, n, seed, lambda coarse, cells: _faiss.IndexIVFScalarQuantizer(coarse, dim, cells, of_type, inner, False)
    )


def _ivf_float16(dim: int, n: int, seed: int) -> Any:
    inner, of_type = _faiss.METRIC_INNER_PRODUCT, _faiss.ScalarQuantizer.QT_fp16
    return _cells(
        dim, n, seed, lambda coarse, cells: _faiss.IndexIVFScalarQuantizer(coarse, dim, cells, of_type, inner, False)
    )


def _hnsw(dim: int, _n: int, seed: int) -> Any:
    return _graph(_faiss.IndexHNSWFlat(dim, HNSW_M, _faiss.METRIC_INNER_PRODUCT), seed)


def _hnsw_float16(dim: int, _n: int, seed: int) -> Any:
    inner = _faiss.METRIC_INNER_PRODUCT
    return _graph(_faiss.IndexHNSWSQ(dim, _faiss.ScalarQuantizer.QT_fp16, HNSW_M, inner), seed)


def _graph(index: Any, seed: int) -> Any:
    index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    index.hnsw.rng = _faiss.RandomGenerator(seed)  # draws the level of each node
    return index


def _look_in_cells(index: Any, vectors: Float32, queries: Float32, k: int, effort: int) -> tuple[Int64, Float32]:
    return nearest_in_cells(index, vectors, queries, k, effort, wider=1)


def _look_in_graph(index: Any, _vectors: Float32, queries: Float32, k: int, effort: int) -> tuple[Int64, Float32]:
    with one_thread():
        scores, rows = index.search(
            widened(queries, index.d), k, params=_faiss.SearchParametersHNSW(efSearch=max(effort, k))
        )
    return rows, scores


def _graph_efforts(index: Any) -> list[int]:
    """Return numbers of candidates to keep, up to a hundredth of all vectors."""
    steps, last = [LEAST_EF], max(LEAST_EF, index.ntotal // 100)
    while steps[-1] < last:
        steps.append(min(last, ceil(steps[-1] * 1.4)))
    return steps


def _cell_efforts(index: Any) -> list[int]:
    return cells_to_try(index.nlist)


FAMILIES: Final = {
    "ivf-float32": Family(_ivf_flat, _cell_efforts, _look_in_cells),
    "ivf-float16": Family(_ivf_float16, _cell_efforts, _look_in_cells, STEP),
    "ivf-int8": Family(_ivf_int8, _cell_efforts, _look_in_cells, STEP),
    "hnsw-float32": Family(_hnsw, _graph_efforts, _look_in_graph),
    "hnsw-float16": Family(_hnsw_float16, _graph_efforts, _look_in_graph, STEP),
}
KINDS: Final = ("exact", "headrace", *FAMILIES)


def share_found(found: Int64, wanted: Int64) -> float:
    """Return the mean share of wanted rows, (q, k), among those found."""
    return float(np.mean([np.isin(want, got).mean() for want, got in zip(wanted, found, strict=True)]))
