"""Copies the newest version of each item into new arrays, and builds the index over them.

It reads only rows that never change, so that it may run on any thread, beside readers and the
writer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Final, TypeAlias

import numpy as np

from models.base.types import Float32, Int64
from models.index.index import EXACT_UP_TO, ItemIndex
from models.index.search import VectorSearch
from models.ranking.catalogue.rows import HEADROOM, HEADROOM_SHARE, Rows
from models.ranking.catalogue.shared_rows import SharedRows

#: A rebuild is due after this many new rows, or this share of the rows of the last one.
MIN_TAIL: Final = 16
TAIL_SHARE: Final = 0.125
#: The tail of a large catalogue is searched exactly beside an index: at most this times the root of
#: the number of rows, so that its search costs less than the index's.
TAIL_PER_ROOT: Final = 16
#: Up to this many rows a rebuild puts into the order of ids. Equal scores have their ranks by row.
#: Sorting a million ids would hold the interpreter's lock for a second.
IN_ORDER_UP_TO: Final = EXACT_UP_TO
#: Rows copied in one step.
BLOCK: Final = 16_384


def is_due(n_base: int, n_tail: int) -> bool:
    """Whether the rows that were added since the last rebuild make another one due.

    Parameters
    ----------
    n_base : rows of the last rebuild
    """
    limit = max(MIN_TAIL, int(TAIL_SHARE * n_base))
    if n_base > EXACT_UP_TO:
        limit = min(limit, TAIL_PER_ROOT * isqrt(n_base))
    return n_tail > limit


#: Builds the index over contiguous float32 vectors, (n, d), which never change.
BuildBase: TypeAlias = Callable[[Float32], VectorSearch]


@dataclass(frozen=True)
class Plan:
    """A rebuild that has begun.

    Parameters
    ----------
    kept : rising, the rows to copy
    n : rows at the beginning; what comes later is not copied
    factors : (m, f + 1) float32, of the trained items, where their index is not built yet
    build_base : builds the index over the items
    sharing : shares the new rows with other workers; None for private memory
    """

    rows: Rows
    kept: Int64
    n: int
    factors: Float32 | None
    build_base: BuildBase
    sharing: SharedRows | None = None

    def build(self) -> Built:
        """Return the new rows and the index over them."""
        rows, kept = self.rows, self.kept
        if len(kept) <= IN_ORDER_UP_TO:  # of ids, as a catalogue built at once has them
            ids = rows.ids
            kept = np.array(sorted(kept.tolist(), key=ids.__getitem__), dtype=np.int64)
        empty = rows.parts(kept[:0])
        new = Rows(empty, len(rows.current), len(kept) + max(HEADROOM, int(HEADROOM_SHARE * len(kept))))
        for start in range(0, len(kept), BLOCK):
            block = kept[start : start + BLOCK]
            new.append([rows.ids[row] for row in block.tolist()], rows.parts(block), rows.keys[block])
        if self.sharing is not None:
            self.sharing.take(new)
        base = factor_base = None
        if len(kept) > EXACT_UP_TO:
            base = self.build_base(new.arrays["vectors"][: len(kept)])
        if self.factors is not None and len(self.factors) > EXACT_UP_TO:
            factor_base = ItemIndex.build(self.factors)
        return Built(self, new, kept, base, factor_base)


@dataclass(frozen=True)
class Built:
    """A rebuild that can be taken over.

    Parameters
    ----------
    old_rows : the row that each new row is a copy of
    """

    plan: Plan
    rows: Rows
    old_rows: Int64
    base: VectorSearch | None
    factor_base: VectorSearch | None
