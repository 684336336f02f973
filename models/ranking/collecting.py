"""The union of what the sources bring to a user, compiled: each row once, in rising order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from models.base.compiled import compiled
from models.base.types import AnyArray, Bool, Float32, Int64
from models.ranking.catalogue import Catalogue
from models.sequence.packing import PackedWindows

#: The sources of candidates, by the bit that says that a source brought one.
SOURCES: Final = ("retrieval", "mf", "next", "neighbours", "popular", "social", "features", "again")
RETRIEVAL, MF, NEXT, NEIGHBOURS, POPULAR, SOCIAL, FEATURES, AGAIN = (1 << bit for bit in range(len(SOURCES)))
#: Up to this many rows a user's candidates are found in order by a pass over all rows; beyond, they
#: are sorted.
SCANNED_ROWS: Final = 65_536


class Extra(NamedTuple):
    """What sources bring that most users do not have.

    Parameters
    ----------
    rows : (n, m) int64, -1 for none
    bits : (m,) uint8, the source of each column
    """

    rows: Int64
    bits: AnyArray

    @classmethod
    def none(cls, n: int) -> Extra:
        """Return that nothing is brought to ``n`` users."""
        return cls(np.zeros((n, 0), dtype=np.int64), np.zeros(0, dtype=np.uint8))

    @classmethod
    def joined(cls, parts: Sequence[Extra]) -> Extra | None:
        """Return what all of some sources bring, None where there are none."""
        if not parts:
            return None
        return cls(np.concatenate([one.rows for one in parts], axis=1), np.concatenate([one.bits for one in parts]))


class Union(NamedTuple):
    """Candidates of ``n`` users, ``c`` at most.

    Parameters
    ----------
    rows : (n, c) int64, rising; 0 after the last one
    counts : (n,) int64, candidates of each user
    given : (n, c) uint8, bits of the sources
    sums : (3, n, c) float32, the weights of the newest behaviour's followers, of all followers, and
        of the neighbours
    """

    rows: Int64
    counts: Int64
    given: AnyArray
    sums: Float32


def union(
    catalogue: Catalogue,
    packed: PackedWindows,
    brought: tuple[Int64, Int64, Int64],
    seen: tuple[Int64, Int64],
    decays: tuple[Float32, Float32],
    extra: Extra | None = None,
) -> Union:
    """Return what all sources bring, without what the users have had.

    Parameters
    ----------
    brought : rows from retrieval and from matrix factorisation, (n, m) int64 each, -1 for none; and
        popular rows, (p,) int64
    seen : (s,) int64 rows of all users one after another, and (n + 1,) int64 where each begins
    decays : what the followers, and the neighbours, of the newest behaviours count, newest first
    extra : rows of further sources
    """
    tables = catalogue.next_rows, catalogue.neighbour_rows
    n = len(packed.lengths)
    more = Extra.none(n) if extra is None else extra
    width = more.rows.shape[1] + sum(rows.shape[-1] for rows in brought)
    width += sum(len(decay) * table.shape[1] for decay, table in zip(decays, tables, strict=True))
    found = Union(
        np.zeros((n, width), dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.zeros((n, width), dtype=np.uint8),
        np.zeros((3, n, width), dtype=np.float32),
    )
    where = catalogue.rows
    _collect(
        *brought, packed.rows, packed.lengths, *seen,
        catalogue.trained, where.current, where.previous, catalogue.is_shown,
        catalogue.next_rows.table, catalogue.next_weights.weights, decays[0],
        catalogue.neighbour_rows.table, catalogue.neighbour_weights.weights, decays[1], *more, *found,
    )  # fmt: skip
    c = max(1, int(found.counts.max(initial=0)))
    return Union(
        np.ascontiguousarray(found.rows[:, :c]),
        found.counts,
        np.ascontiguousarray(found.given[:, :c]),
        np.ascontiguousarray(found.sums[..., :c]),
    )


@compiled
def _row_of(trained_row: Any, current: Any, previous: Any, is_shown: Any) -> Any:
    """Return the snapshot's row of a trained item, -1 where no list may show it."""
    if trained_row < 0:
        return np.int64(-1)
    row = current[trained_row]
    while row >= len(is_shown):
        row = previous[row]
    return row if row >= 0 and is_shown[row] else np.int64(-1)


@compiled
def _entries(
    table: Any, weights: Any, decay: Any, window: Any, length: Any,
    trained: Any, current: Any, previous: Any, is_shown: Any, rows: Any, values: Any,
) -> Any:  # fmt: skip
    """Write rows and decayed weights of a table's entries, newest first; return how many."""
    m, at = table.shape[1], 0
    for place in range(min(len(decay), length)):
        item = trained[window[length - 1 - place]]
        for j in range(m):
            rows[at], values[at] = -1, 0.0
            if item >= 0:
                rows[at] = _row_of(table[item, j], current, previous, is_shown)
                values[at] = weights[item, j] * decay[place]
            at += 1
    return at


@compiled
def _in_order(flags: Any, entries: Any, rows: Any) -> Any:
    """Write the rows whose flag is 1, in rising order; return how many."""
    n = 0
    if len(flags) > SCANNED_ROWS:
        for row in np.sort(entries):
            if row >= 0 and flags[row] == 1:
                rows[n] = row
                n += 1
                flags[row] = 0  # once each
        for i in range(n):
            flags[rows[i]] = 1
        return n
    words = flags.view(np.uint64)  # eight flags
    for word in range(len(words)):
        if words[word] != 0:
            for row in range(8 * word, 8 * word + 8):
                rows[n] = row
                n += flags[row] == 1
    return n


@compiled
def _note(entries: Any, bit: Any, flags: Any, column: Any, given: Any) -> None:
    """Note that a source brought these candidates."""
    for row in entries:
        if row >= 0 and flags[row] == 1:
            given[column[row]] |= bit


@compiled
def _add_up(entries: Any, values: Any, flags: Any, column: Any, totals: Any) -> None:
    """Add the weights of entries to their candidates' totals."""
    for i in range(len(entries)):
        row = entries[i]
        if row >= 0 and flags[row] == 1:
            totals[column[row]] += values[i]


@compiled
def _collect(  # noqa: C901 (one pass, nothing between the loops is kept)
    retrieved: Any, factorised: Any, popular: Any, window: Any, lengths: Any, seen: Any, seen_from: Any,
    trained: Any, current: Any, previous: Any, is_shown: Any,
    next_table: Any, next_weights: Any, next_decay: Any,
    near_table: Any, near_weights: Any, near_decay: Any, extra: Any, extra_bits: Any,
    rows: Any, counts: Any, given: Any, sums: Any,
) -> None:  # fmt: skip
    width, n_retrieved, n_factorised = rows.shape[1], retrieved.shape[1], factorised.shape[1]
    # 1 for a candidate, 2 for one that the user has had
    flags = np.zeros((len(is_shown) + 7) // 8 * 8, np.uint8)
    column = np.empty(len(flags), np.int32)
    entries, values = np.empty(width, np.int64), np.zeros(width, np.float32)
    totals, own = np.empty((3, width), np.float64), np.empty(width + 8, np.int64)
    popular_from = n_retrieved + n_factorised
    next_from = popular_from + len(popular)
    for u in range(len(counts)):
        for i in range(seen_from[u], seen_from[u + 1]):
            flags[seen[i]] = 2
        entries[:n_retrieved], entries[n_retrieved:popular_from] = retrieved[u], factorised[u]
        entries[popular_from:next_from] = popular
        near_from = next_from + _entries(
            next_table, next_weights, next_decay, window[u], lengths[u],
            trained, current, previous, is_shown, entries[next_from:], values[next_from:],
        )  # fmt: skip
        m = near_from + _entries(
            near_table, near_weights, near_decay, window[u], lengths[u],
            trained, current, previous, is_shown, entries[near_from:], values[near_from:],
        )  # fmt: skip
        end = m + len(extra_bits)
        entries[m:end] = extra[u]
        for i in range(end):
            if entries[i] >= 0:
                flags[entries[i]] |= 1
        c = _in_order(flags, entries[:end], own)
        counts[u] = c
        for j in range(c):
            rows[u, j], column[own[j]] = own[j], j
        totals[:, :c] = 0.0
        _note(entries[:n_retrieved], RETRIEVAL, flags, column, given[u])
        _note(entries[n_retrieved:popular_from], MF, flags, column, given[u])
        _note(entries[popular_from:next_from], POPULAR, flags, column, given[u])
        _note(entries[next_from:near_from], NEXT, flags, column, given[u])
        _note(entries[near_from:m], NEIGHBOURS, flags, column, given[u])
        for i in range(len(extra_bits)):
            _note(entries[m + i : m + i + 1], extra_bits[i], flags, column, given[u])
        last_to = min(next_from + next_table.shape[1], near_from)
        _add_up(entries[next_from:last_to], values[next_from:], flags, column, totals[0])
        _add_up(entries[next_from:near_from], values[next_from:], flags, column, totals[1])
        _add_up(entries[near_from:m], values[near_from:], flags, column, totals[2])
        for part in range(3):
            for j in range(c):
                sums[part, u, j] = totals[part, j]
        for i in range(end):
            if entries[i] >= 0:
                flags[entries[i]] = 0
        for i in range(seen_from[u], seen_from[u + 1]):
            flags[seen[i]] = 0


def bits_as_masks(given: AnyArray) -> dict[str, Bool]:
    """Return whether each source brought each candidate, from the bits, (n, c) bool each."""
    return {name: (given & (1 << bit)) > 0 for bit, name in enumerate(SOURCES)}
