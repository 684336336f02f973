"""Windows as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final, NamedTuple

import numpy as np

from models.base.event_types import DEFAULT_TYPES, WindowTypes
from models.base.types import Behaviour, Behaviours, Bool, Int64, positives_of

N_GAPS: Final = 18
NO_GAP: Final = 0  # of a window's first behaviour
_NO_ROW: Final = -2


class FlatWindows(NamedTuple):
    """The behaviours of ``n`` windows, one after another.

    Parameters
    ----------
    rows : (m,) int64, the item's row, -1 for an unknown item
    types : (m,) int64, -1 for a type that models must not see
    ts_ms : (m,) int64
    begins : (n + 1,) int64, where each window begins
    """

    rows: Int64
    types: Int64
    ts_ms: Int64
    begins: Int64

    @property
    def is_known(self) -> Bool:
        """Which behaviours the models know, (m,) bool."""
        return (self.rows >= 0) & (self.types >= 0)

    def is_wish(self, kinds: WindowTypes) -> Bool:
        """Which behaviours are known and positive, (m,) bool."""
        return self.is_known & positives_of(kinds)[self.types]


@dataclass(frozen=True)
class PackedWindows:
    """Windows as arrays: oldest behaviour first, padded at the end with row 0, type 0, gap 0.

    Parameters
    ----------
    rows, types, gaps : (n, length) int64
    lengths : (n,) int64, behaviours of each window
    """

    rows: Int64
    types: Int64
    gaps: Int64
    lengths: Int64  # (n,)

    def one(self, i: int) -> PackedWindows:
        """Return one window, without padding."""
        length = max(1, int(self.lengths[i]))
        rows, types, gaps = (array[i : i + 1, :length] for array in (self.rows, self.types, self.gaps))
        return PackedWindows(rows, types, gaps, self.lengths[i : i + 1])


def rows_by(row_of: Mapping[str, int]) -> Callable[[Sequence[str]], Int64]:
    """Return a function that finds the rows of items, -1 for those without one."""
    return lambda item_ids: np.fromiter(map(row_of.get, item_ids, repeat(-1)), np.int64, len(item_ids))


def flat_windows(
    windows: Sequence[Sequence[Behaviour]], rows_of: Callable[[Sequence[str]], Int64], kinds: WindowTypes
) -> FlatWindows:
    """Return the behaviours of windows.

    A type that the model does not know counts as a view, or is -1 where it is not positive.

    Parameters
    ----------
    rows_of : from item ids to rows, -1 for those without one
    kinds : the types that the model knows
    """
    columns = [Behaviours.of(window) for window in windows]
    begins = np.zeros(len(columns) + 1, dtype=np.int64)
    np.cumsum([len(window) for window in columns], out=begins[1:])
    n = int(begins[-1])
    names = list(chain.from_iterable(window.types for window in columns))
    types = np.fromiter(map(kinds.row_of.get, names, repeat(_NO_ROW)), np.int64, n)
    for i in np.flatnonzero(types == _NO_ROW).tolist():
        types[i] = kinds.row(names[i]) if kinds.is_known(names[i]) else -1
    ts_ms = np.fromiter(chain.from_iterable(window.ts_ms for window in columns), np.int64, n)
    rows = rows_of(list(chain.from_iterable(window.item_ids for window in columns)))
    return FlatWindows(rows, types, ts_ms, begins)


def _newest(flat: FlatWindows, kept: Bool, max_length: int) -> tuple[Int64, Bool, Int64]:
    """Return where the newest kept behaviours of each window are.

    Returns
    -------
    chosen : places in ``flat``, one window after another
    is_there : (n, length) bool, the places of a padded window that hold one
    lengths : (n,) int64
    """
    # kept behaviours before each window
    before = np.concatenate([[0], np.cumsum(kept)])[flat.begins]
    counts = np.diff(before)
    lengths = np.minimum(counts, max_length)
    length = max(1, int(lengths.max(initial=0)))
    places = np.arange(length)
    is_there = places < lengths[:, None]
    chosen = np.flatnonzero(kept)[((before[1:] - lengths)[:, None] + places)[is_there]]
    return chosen, is_there, lengths


def newest_of(flat: FlatWindows, kept: Bool, max_length: int) -> FlatWindows:
    """Return the newest ``max_length`` of the kept behaviours of each window, not padded.

    Parameters
    ----------
    kept : (m,) bool
    """
    chosen, _, lengths = _newest(flat, kept, max_length)
    begins = np.concatenate([[0], np.cumsum(lengths)])
    return FlatWindows(flat.rows[chosen], flat.types[chosen], flat.ts_ms[chosen], begins)


def packed_of(flat: FlatWindows, kept: Bool, max_length: int) -> PackedWindows:
    """Return the newest ``max_length`` of the kept behaviours of each window.

    Parameters
    ----------
    kept : (m,) bool
    """
    chosen, is_there, lengths = _newest(flat, kept, max_length)
    rows, types, times = np.zeros((3, *is_there.shape), dtype=np.int64)
    rows[is_there], types[is_there], times[is_there] = flat.rows[chosen], flat.types[chosen], flat.ts_ms[chosen]
    gaps = np.zeros_like(rows)
    gaps[:, 1:] = gap_bucket(np.diff(times, axis=1))
    gaps[~is_there] = NO_GAP
    return PackedWindows(rows, types, gaps, lengths)


def pack(
    windows: Sequence[Sequence[Behaviour]],
    row_of: Mapping[str, int],
    max_length: int,
    kinds: WindowTypes = DEFAULT_TYPES.window_types,
) -> PackedWindows:
    """Return windows as arrays: the newest ``max_length`` behaviours whose item has a row.

    Behaviours of other items do not count. A type that the model does not know counts as a view, or
    not at all where it is not positive.

    Parameters
    ----------
    kinds : the types that the model knows
    """
    flat = flat_windows(windows, rows_by(row_of), kinds)
    return packed_of(flat, flat.is_known, max_length)


def pack_wishes(
    windows: Sequence[Sequence[Behaviour]], row_of: Mapping[str, int], max_length: int, kinds: WindowTypes
) -> PackedWindows:
    """Return the positive behaviours of windows as arrays, as :func:`pack` does."""
    flat = flat_windows(windows, rows_by(row_of), kinds)
    return packed_of(flat, flat.is_wish(kinds), max_length)


def gap_bucket(gap_ms: Int64) -> Int64:
    """Return the bucket of a time gap.

    1 plus twice the decimal logarithm of 1 + seconds, at most ``N_GAPS - 1``; negative gaps count
    as 0.

    Parameters
    ----------
    gap_ms : int64 of any shape, milliseconds
    """
    seconds = np.maximum(gap_ms, 0) / 1000
    return np.minimum(1 + (2 * np.log10(1 + seconds)).astype(np.int64), N_GAPS - 1)
