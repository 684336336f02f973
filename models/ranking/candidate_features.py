"""The features by which fusion ranks candidates, compiled: one pass over each user's candidates."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from models.base import experts
from models.base.compiled import compiled
from models.base.scalar_features import FEATURES
from models.base.types import Float32, Int32
from models.ranking.catalogue import Catalogue
from models.ranking.collecting import Union
from models.sequence.packing import PackedWindows

#: Where a feature is among FEATURES: the compiler takes each as a constant.
_AT: Final = {name: place for place, name in enumerate(FEATURES)}
_RETRIEVAL, _RETRIEVAL_SHARE = _AT["retrieval_score"], _AT["retrieval_share"]
_RETRIEVAL_RANK, _MF, _MF_RANK = _AT["retrieval_rank"], _AT["mf_logit"], _AT["mf_rank"]
_NEXT_SHARE, _NEXT, _NEIGHBOURS = _AT["next_share"], _AT["next_score"], _AT["neighbour_score"]
_RECENT, _POPULARITY, _SIMILARITY = _AT["recent_popularity"], _AT["popularity"], _AT["similarity"]
_TEXT, _NEWEST_TEXT = _AT["text_similarity"], _AT["newest_text_similarity"]
_IS_NEW, _LENGTH = _AT["is_new"], _AT["window_length"]
#: Added to a share before its logarithm.
SHARE_OFFSET: Final = np.float32(experts.SHARE_OFFSET)
_LOG_OF_NONE: Final = np.log(SHARE_OFFSET)
_LOWER: Final = np.uint64(0xFFFFFFFF)


class Features(NamedTuple):
    """Features of candidates.

    Parameters
    ----------
    planes : (n, n_features, c) float32, a feature's values side by side
    ranks : (2, n, c) int32, from 1, by falling retrieval score and by falling mf logit; ties keep
        the order of the columns
    """

    planes: Float32
    ranks: Int32


def features_of(
    catalogue: Catalogue,
    packed: PackedWindows,
    found: Union,
    vectors: Float32,
    mf_users: Float32,
    n_features: int = len(FEATURES),
) -> Features:
    """Return the features of candidates; of padding they mean nothing, but are finite.

    Parameters
    ----------
    vectors : (n, dim + 1) float32, the last entry is 1
    mf_users : (n, f + 1) float32, the last entry is 1
    n_features : planes of the result; those beyond :data:`~models.fusion.FEATURES` stay 0
    """
    n, c = found.rows.shape
    planes = np.zeros((n, n_features, c), dtype=np.float32)
    keys = np.full((2, n, c), ~np.uint64(0))  # padding sorts last
    _fill(
        found.rows, found.counts, found.sums, packed.rows, packed.lengths, vectors, mf_users,
        catalogue.vectors, catalogue.unit, catalogue.norms, catalogue.factors, catalogue.text_unit,
        catalogue.recent_popularity, catalogue.popularity, catalogue.is_new, planes, keys,
    )  # fmt: skip
    keys.sort(axis=2)  # NumPy sorts whole numbers many at a time
    ranks = np.zeros((2, n, c), dtype=np.int32)
    _rank(keys, found.counts, np.log1p(np.arange(c + 1)).astype(np.float32), planes, ranks)
    return Features(planes, ranks)


@compiled
def _keys(scores: Any, keys: Any) -> None:
    """Write numbers that rise as the scores fall, and with the column among equal scores."""
    patterns = scores.view(np.uint32)
    for i in range(len(scores)):
        bits = np.int64(patterns[i])
        if bits == 0x80000000:  # -0 equals 0
            bits = np.int64(0)
        falling = bits if bits >> 31 else np.int64(0x7FFFFFFF) - bits
        keys[i] = np.uint64((falling << 32) | i)


@compiled
def _log_share(total: Any) -> Any:
    return np.log(total + SHARE_OFFSET) if total != 0 else _LOG_OF_NONE


@compiled
def _dot(a: Any, b: Any) -> Any:
    total = np.float32(0.0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@compiled
def _window_texts(text_unit: Any, window: Any, mean: Any) -> None:
    """Write the unit vector of the window's summed texts to mean."""
    mean[:] = 0.0
    for row in window:
        for j in range(len(mean)):
            mean[j] += text_unit[row, j]
    mean /= max(np.sqrt(_dot(mean, mean)), np.float32(1e-9))


@compiled
def _greatest(products: Any, greatest: Any) -> None:
    """Write the greatest product of each column to greatest."""
    for i in range(len(greatest)):
        greatest[i] = products[0, i]
    for t in range(1, len(products)):
        for i in range(len(greatest)):
            greatest[i] = products[t, i] if products[t, i] > greatest[i] else greatest[i]


@compiled
def _shares(scores: Any, shares: Any) -> None:
    """Write the log softmax of scores."""
    greatest = np.float32(-1e30)
    for i in range(len(scores)):
        greatest = scores[i] if scores[i] > greatest else greatest
    total = np.float32(0.0)
    for i in range(len(scores)):
        shares[i] = scores[i] - greatest
        total += np.exp(shares[i])
    log_total = np.log(max(total, np.float32(1e-30)))
    for i in range(len(scores)):
        shares[i] -= log_total


@compiled
def _fill(
    rows: Any, counts: Any, sums: Any, windows: Any, lengths: Any, users: Any, mf_users: Any,
    vectors: Any, unit: Any, norms: Any, factors: Any, text_unit: Any,
    recent: Any, popularity: Any, is_new: Any, planes: Any, keys: Any,
) -> None:  # fmt: skip
    width, most = vectors.shape[1], rows.shape[1]
    own_buffer = np.empty(most * width, np.float32)
    window_buffer = np.zeros(windows.shape[1] * width, np.float32)
    product_buffer = np.empty(windows.shape[1] * most, np.float32)
    mean, newest = np.zeros(text_unit.shape[1], np.float32), np.zeros(text_unit.shape[1], np.float32)
    for u in range(len(counts)):
        c, length = counts[u], lengths[u]
        if c == 0:
            continue
        plane, window = planes[u], windows[u, :length]
        own = own_buffer[: c * width].reshape(c, width)
        others = window_buffer[: length * width].reshape(length, width)
        for t in range(length):
            others[t, : width - 1] = unit[window[t]]
            others[t, width - 1] = 0.0
        _window_texts(text_unit, window, mean)
        newest[:] = 0.0
        if length:
            newest[:] = text_unit[window[length - 1]]
        log_length = np.float32(np.log1p(np.float64(length)))
        for i in range(c):
            row = rows[u, i]
            for j in range(width):
                own[i, j] = vectors[row, j]
            # ranks follow from these two: each product by itself, whatever the other candidates are
            plane[_RETRIEVAL, i] = _dot(vectors[row], users[u])
            plane[_MF, i] = _dot(factors[row], mf_users[u])
            text, newest_text = np.float32(0.0), np.float32(0.0)
            for j in range(len(mean)):
                text += text_unit[row, j] * mean[j]
                newest_text += text_unit[row, j] * newest[j]
            plane[_TEXT, i], plane[_NEWEST_TEXT, i] = text, newest_text
            plane[_NEXT_SHARE, i] = _log_share(sums[0, u, i])
            plane[_NEXT, i] = _log_share(sums[1, u, i])
            plane[_NEIGHBOURS, i] = _log_share(sums[2, u, i])
            plane[_RECENT, i], plane[_POPULARITY, i] = recent[row], popularity[row]
            plane[_IS_NEW, i], plane[_LENGTH, i] = np.float32(is_new[row]), log_length
        _keys(plane[_RETRIEVAL, :c], keys[0, u])
        _keys(plane[_MF, :c], keys[1, u])
        _shares(plane[_RETRIEVAL, :c], plane[_RETRIEVAL_SHARE, :c])
        if length:
            products = product_buffer[: length * c].reshape(length, c)
            np.dot(others, own.T, products)
            _greatest(products, plane[_SIMILARITY, :c])
            for i in range(c):
                plane[_SIMILARITY, i] /= norms[rows[u, i]]


@compiled
def _rank(keys: Any, counts: Any, log_ranks: Any, planes: Any, ranks: Any) -> None:
    """Write the ranks that sorted keys give, and their logarithms among the features."""
    for u in range(len(counts)):
        for place in range(counts[u]):
            i, j = np.int64(keys[0, u, place] & _LOWER), np.int64(keys[1, u, place] & _LOWER)
            ranks[0, u, i] = ranks[1, u, j] = place + 1
            planes[u, _RETRIEVAL_RANK, i] = planes[u, _MF_RANK, j] = log_ranks[place + 1]
