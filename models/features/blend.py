"""The blend: what simple predictors of the next item say together, as one feature of a candidate.

Each expert gives the candidates of a user shares: how often they followed the newest item, how
lately the user had them, how popular they are, and so on. Their weighted mean is a share, too, and
training finds the weights on cases that the experts were not fitted to. A mean of shares needs few
cases: a candidate counts that one expert names, whatever the others say. Fusion begins with the
order of the blend, so that a small log gets lists that are no worse than the best expert's.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from models.base.experts import EXPERTS
from models.base.scalar_features import AGAIN_FEATURES, FEATURES, STEP_FEATURES
from models.base.types import AnyArray, Float32, Int64

#: Of an offset, what a share must be above: less is the rounding of its logarithm.
_ROUNDING: Final = np.float32(1e-3)
#: Added to the blend before its logarithm.
_BLEND_OFFSET: Final = np.float32(1e-6)
_NAMES: Final = (*FEATURES, *AGAIN_FEATURES, *STEP_FEATURES)
_COLUMNS: Final = np.array([_NAMES.index(one.feature) if one.feature else -1 for one in EXPERTS.values()])
_OFFSETS: Final = np.array([one.offset for one in EXPERTS.values()], dtype=np.float32)
_IS_WHOLE: Final = np.array([one.is_whole for one in EXPERTS.values()])


def fill_blend(planes: Float32, counts: Int64, weights: Float32) -> None:
    """Write the logarithm of the blend to the last plane, from the other ones.

    Parameters
    ----------
    planes : (n, n_features, c) float32
    counts : (n,) int64, candidates of each user
    weights : (n_experts,) float32, from :func:`models.base.experts.blend_weights`
    """
    _fill_blend(counts, planes, weights, _COLUMNS, _OFFSETS, _IS_WHOLE)


def shares_of(counts: Int64, planes: Float32, columns: Int64) -> Float32:
    """Return the share that each expert gives one candidate of each user, (n, n_experts) float32.

    Parameters
    ----------
    counts, planes : as :func:`fill_blend` takes them
    columns : (n,) int64, the candidates
    """
    found = np.zeros((len(counts), len(EXPERTS)), dtype=np.float32)
    _shares_of(counts, planes, columns, _COLUMNS, _OFFSETS, _IS_WHOLE, found)
    return found


@compiled
def _expert(plane: Any, column: Any, offset: Any, is_whole: Any, shares: Any) -> None:
    """Write the shares of an expert."""
    total, least = np.float32(0.0), offset * _ROUNDING
    for i in range(len(shares)):
        share = np.float32(1.0)
        if column >= 0:
            share = np.exp(plane[column, i]) - offset
            share = share if share > least else np.float32(0.0)
        shares[i] = share
        total += share
    if is_whole and total > 0:
        for i in range(len(shares)):
            shares[i] /= total


@compiled
def _fill_blend(counts: Any, planes: Any, weights: Any, columns: Any, offsets: Any, is_whole: Any) -> None:
    last, most = planes.shape[1] - 1, planes.shape[2]
    share_buffer, blend_buffer = np.empty(most, np.float32), np.empty(most, np.float32)
    for u in range(len(counts)):
        c = counts[u]
        shares, blend = share_buffer[:c], blend_buffer[:c]
        blend[:] = _BLEND_OFFSET
        for e in range(len(weights)):
            if weights[e] > 0:
                _expert(planes[u], columns[e], offsets[e], is_whole[e], shares)
                for i in range(c):
                    blend[i] += weights[e] * shares[i]
        for i in range(c):
            planes[u, last, i] = np.log(blend[i])


@compiled
def _shares_of(
    counts: Any, planes: Any, chosen: Any, columns: Any, offsets: Any, is_whole: Any, found: Any
) -> None:  # fmt: skip
    buffer = np.empty(planes.shape[2], np.float32)
    for u in range(len(counts)):
        shares = buffer[: counts[u]]
        for e in range(len(columns)):
            _expert(planes[u], columns[e], offsets[e], is_whole[e], shares)
            found[u, e] = shares[chosen[u]]


def with_blend(planes: Float32, counts: Int64, weights: Float32) -> Float32:
    """Return planes with one more for the blend, (n, n_features + 1, c) float32."""
    room: AnyArray = np.zeros((planes.shape[0], 1, planes.shape[2]), dtype=np.float32)
    found = np.concatenate([planes, room], axis=1)
    fill_blend(found, counts, weights)
    return found
