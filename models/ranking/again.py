"""The items of a user's own window as candidates: where, how often and how lately they are there.

The compiled pass reads the wishes of each window from the newest to the oldest one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.artifact.artifact import Artifact
from models.base.compiled import compiled
from models.base.experts import STEP_OFFSET
from models.base.scalar_features import AGAIN_FEATURES, FEATURES, STEP_FEATURES
from models.base.types import Float32, Int32
from models.ranking.candidate_features import SHARE_OFFSET
from models.ranking.catalogue import Catalogue
from models.ranking.collecting import AGAIN, Extra, Union
from models.rules.repeats import Repeats
from models.sequence.packing import FlatWindows, PackedWindows

#: Where a feature is among an artifact's features; those of the types follow the last one.
_AT: Final = {name: len(FEATURES) + place for place, name in enumerate((*AGAIN_FEATURES, *STEP_FEATURES))}
_AGAIN, _COUNT, _PLACE, _NEWEST = _AT["again"], _AT["again_count"], _AT["again_place"], _AT["again_newest"]
_AGE, _WEIGHT, _HABIT = _AT["again_age"], _AT["again_weight"], _AT["again_habit"]
_NEXT, _NEXT_PAIR = _AT["again_next"], _AT["again_next_pair"]
_STEP, _TRAIL, _LIFT = _AT["step"], _AT["trail"], _AT["lift"]
_TYPES_FROM: Final = len(FEATURES) + len(_AT)
_LOG_OF_NONE: Final = np.log(SHARE_OFFSET)
#: What the next older occurrence of the newest item counts, relative to the one after it.
_DECAY: Final = np.float32(0.8)
#: So many steps from an item count as much as the popularity to which their shares are drawn.
_PSEUDO_STEPS: Final = np.float32(5.0)
#: Added to such a share before its logarithm; and to the steps counted and expected before their
#: ratio's.
_STEP_OFFSET: Final = np.float32(STEP_OFFSET)
_FEW_STEPS: Final = np.float32(0.1)


def policy_of(artifact: Artifact, catalogue: Catalogue) -> Repeats:
    """Return which items that a user has had lists may hold.

    The catalogue's rules decide, and where they say nothing the artifact.
    """
    said = None if catalogue.rules is None else catalogue.rules.rules.repeats
    return artifact.repeats if said is None else said


def own_rows(catalogue: Catalogue, packed: PackedWindows) -> Extra:
    """Return the items of windows as what a source brings."""
    is_there = np.arange(packed.rows.shape[1]) < packed.lengths[:, None]
    rows = np.where(is_there & catalogue.is_shown[packed.rows], packed.rows, -1)
    return Extra(rows, np.full(rows.shape[1], AGAIN, dtype=np.uint8))


def no_places(n: int) -> Int32:
    """Return the places of ``n`` users whose windows bring no candidates."""
    return np.zeros((2, n, 0), dtype=np.int32)


def fill_again(window: FlatWindows, found: Union, planes: Float32) -> Int32:
    """Write the features of candidates that tell of the window; return where candidates are there.

    Parameters
    ----------
    window : the wishes that count
    planes : (n, n_features, c) float32; without planes beyond :data:`~models.fusion.FEATURES`,
        nothing is written

    Returns
    -------
    (2, n, c) int32
        The place of each candidate among the window's candidates by its newest behaviour, from 1,
        and how often it is in the window; 0 for one that is not there.
    """
    places = np.zeros((2, *found.rows.shape), dtype=np.int32)
    _fill(found.rows, found.counts, *window, planes, places)
    return places


def fill_steps(catalogue: Catalogue, packed: PackedWindows, decay: Float32, found: Union, planes: Float32) -> None:
    """Write the features of candidates that tell which item follows which.

    The share of a follower says the more, the more steps from the item were counted. So it is drawn
    towards the candidate's popularity by a fixed number of steps (a Dirichlet prior: MacKay and
    Peto, A Hierarchical Dirichlet Language Model, 1995). One step to a rare item says more than one
    to a popular item, to which many would have gone by chance: that is the lift.

    Parameters
    ----------
    decay : (m,) float32, what the followers of the newest behaviours count, newest first
    """
    if planes.shape[1] > _STEP:
        _fill_steps(
            found.rows, found.counts, found.sums, packed.rows, packed.lengths, decay,
            catalogue.trained, catalogue.trained_counts, catalogue.popular_shares, planes,
        )  # fmt: skip


@compiled
def _fill_steps(
    rows: Any, counts: Any, sums: Any, windows: Any, lengths: Any, decay: Any,
    trained: Any, trained_counts: Any, popular_shares: Any, planes: Any,
) -> None:  # fmt: skip
    for u in range(len(counts)):
        n_newest, n_all, total = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for place in range(min(len(decay), lengths[u])):
            item = trained[windows[u, lengths[u] - 1 - place]]
            n_steps = trained_counts[item] if item >= 0 else np.float32(0.0)
            n_newest = n_steps if place == 0 else n_newest
            n_all, total = n_all + decay[place] * n_steps, total + decay[place]
        for i in range(counts[u]):
            popular, n_steps = popular_shares[rows[u, i]], n_newest * sums[0, u, i]
            drawn = _PSEUDO_STEPS * popular
            planes[u, _STEP, i] = np.log((n_steps + drawn) / (n_newest + _PSEUDO_STEPS) + _STEP_OFFSET)
            all_steps = n_all * sums[1, u, i] / total if total > 0 else np.float32(0.0)
            planes[u, _TRAIL, i] = np.log((all_steps + drawn) / (n_all + _PSEUDO_STEPS) + _STEP_OFFSET)
            planes[u, _LIFT, i] = np.log((n_steps + _FEW_STEPS) / (n_newest * popular + _FEW_STEPS))


@compiled
def _column(rows: Any, row: Any) -> Any:
    """Return the column of a row in rising rows, -1 where it is none of them."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low if low < len(rows) and rows[low] == row else -1


@compiled
def _share_of_repeats(window: Any) -> Any:
    """Return the share of the behaviours after the first one whose item was there before."""
    n = 0
    for t in range(1, len(window)):
        for before in range(t):
            if window[before] == window[t]:
                n += 1
                break
    return np.float32(n / (len(window) - 1)) if len(window) > 1 else np.float32(0.0)


@compiled
def _followers(rows: Any, window: Any, columns: Any, n_same: Any, plane: Any) -> None:
    """Write the log shares of what followed the newest ``n_same`` items earlier in the window."""
    last, total, weight = len(window) - 1, np.float32(0.0), np.float32(1.0)
    for i in range(len(rows)):
        plane[i] = 0.0
    for t in range(last - 1, n_same - 2, -1):
        is_same = True
        for back in range(n_same):
            is_same = is_same and window[t - back] == window[last - back]
        if is_same:
            total += weight
            if columns[t + 1] >= 0:
                plane[columns[t + 1]] += weight
            weight *= _DECAY
    for i in range(len(rows)):
        plane[i] = np.log(plane[i] / total + SHARE_OFFSET) if plane[i] > 0 else _LOG_OF_NONE


@compiled
def _note_newest(plane: Any, i: Any, place: Any, kind: Any, age_ms: Any) -> None:
    """Write the features of a candidate that its newest behaviour gives."""
    plane[_AGAIN, i], plane[_PLACE, i] = 1.0, np.log(np.float32(place))
    plane[_NEWEST, i] = np.float32(place == 1)
    plane[_AGE, i] = np.float32(np.log1p(np.float64(max(age_ms, 0)) / 1_000.0))
    plane[_TYPES_FROM + kind, i] = 1.0


@compiled
def _finish(plane: Any, own: Any, times: Any, window: Any, column: Any) -> None:
    """Write the features that need the whole window."""
    habit = _share_of_repeats(window)
    for i in range(len(own)):
        weight = plane[_WEIGHT, i]
        plane[_WEIGHT, i] = np.log(weight + SHARE_OFFSET) if weight > 0 else _LOG_OF_NONE
        if times[i] > 0:
            plane[_COUNT, i], plane[_HABIT, i] = np.log1p(np.float32(times[i])), habit
    _followers(own, window, column, 1, plane[_NEXT])
    _followers(own, window, column, 2, plane[_NEXT_PAIR])


@compiled
def _fill(
    rows: Any, counts: Any, own_rows: Any, types: Any, ts_ms: Any, begins: Any, planes: Any, places: Any
) -> None:  # fmt: skip
    has_planes = planes.shape[1] > _AGAIN
    columns = np.empty(max(len(own_rows), 1), np.int64)
    for u in range(len(counts)):
        c, first, end = counts[u], begins[u], begins[u + 1]
        own, window, column = rows[u, :c], own_rows[first:end], columns[: end - first]
        n_distinct = 0
        for t in range(len(window) - 1, -1, -1):
            column[t] = i = _column(own, window[t])
            if i < 0:
                continue
            place = len(window) - t
            if places[1, u, i] == 0:
                n_distinct += 1
                places[0, u, i] = n_distinct
                if has_planes:
                    _note_newest(planes[u], i, place, types[first + t], ts_ms[end - 1] - ts_ms[first + t])
            places[1, u, i] += 1
            if has_planes:
                planes[u, _WEIGHT, i] += np.float32(1.0 / place)
        if has_planes:
            _finish(planes[u], own, places[1, u], window, column)
