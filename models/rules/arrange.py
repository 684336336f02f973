"""Puts a list together under its rules, compiled: pins, chance, scores, likeness, caps, fill-up.

::

    place       1        2         3        4        5
    first       .       pin        .        .        .       each pin at its place
    then     best    (pinned)   chance    best     best      from the first open place on
                                                             nothing left: popular items, then any
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from models.base.compiled import compiled
from models.base.types import AnyArray, Bool, Float32, Int8, Int32, Int64
from models.rules.row_rules import RowRules

#: How an item came to its place.
RANKED, PINNED, EXPLORED, FILLED = range(4)
#: Places count from here where chance decides whether it fills a place, from 0 where it draws.
OTHER_CHANCE: Final = 1 << 32
#: Rows that chance looks at for one place, before the best candidate gets it.
MAX_DRAWS: Final = 32
#: Candidates that compete for the places of a diverse list, for each place and at least.
RIVALS_PER_PLACE: Final = 4
MIN_RIVALS: Final = 40


class Arranged(NamedTuple):
    """The lists of ``n`` users.

    Parameters
    ----------
    rows : (n, k) int64 catalogue rows, -1 after the last one
    columns : (n, k) int64, the candidate at each place, -1 where the item is not a candidate
    how : (n, k) int8, :data:`RANKED`, :data:`PINNED`, :data:`EXPLORED` or :data:`FILLED`
    popular : (n, k) int32, the popularity rank from 1 of each filled item, else 0
    lengths : (n,) int64
    """

    rows: Int64
    columns: Int64
    how: Int8
    popular: Int32
    lengths: Int64


class Items(NamedTuple):
    """What arranging needs of a snapshot of ``n`` rows.

    Parameters
    ----------
    is_shown : (n,) bool, rows that lists may show under the rules
    popular : (p,) int64, the most popular of them, best first
    unit : (n, d) float32, vectors of unit length
    """

    is_shown: Bool
    popular: Int64
    unit: Float32


def arranged(
    rules: RowRules,
    items: Items,
    rows: Int64,
    counts: Int64,
    probabilities: Float32,
    seen: tuple[Int64, Int64],
    k: int,
    seeds: AnyArray,
) -> Arranged:
    """Return lists that obey the rules.

    Scores are probabilities times factors; of equal ones the first candidate wins. An item has its
    place by score unless a rule says otherwise. A pin is not placed where its item is hidden or
    would exceed a cap. A list is short only where no further item could be added.

    Parameters
    ----------
    rows : (n, c) int64, candidates, shown and unseen, of which ``counts`` (n,) are some
    probabilities : (n, c) float32; a candidate with NaN is not listed
    seen : (s,) int64 rows of all users one after another, and (n + 1,) int64 where each begins
    k : places of a list
    seeds : (n,) uint64, of chance; equal seeds give equal lists
    """
    n, facts, document = len(counts), rules.facts, rules.rules.document
    made = Arranged(
        np.full((n, k), -1, dtype=np.int64),
        np.full((n, k), -1, dtype=np.int64),
        np.zeros((n, k), dtype=np.int8),
        np.zeros((n, k), dtype=np.int32),
        np.zeros(n, dtype=np.int64),
    )
    strength = 0.0 if document.diversity is None else document.diversity.strength
    _arrange(
        rows, counts, probabilities, *seen, seeds, items.is_shown, items.popular, items.unit,
        rules.factors, rules.pins[:k], rules.most, facts.words.pool, facts.words_from, facts.n_words,
        np.float32(strength), document.exploration, *rules.by_hash, *made,
    )  # fmt: skip
    return made


def seeds_of(names: Sequence[int]) -> AnyArray:
    """Return seeds as :func:`arranged` takes them, (n,) uint64."""
    return np.array(names, dtype=np.uint64)


@compiled
def _mixed(seed: Any, place: Any) -> Any:
    """Return a number that looks random, the same for the same arguments (SplitMix64)."""
    z = seed + np.uint64(place + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _fits(row: Any, most: Any, pool: Any, begins: Any, counts: Any, n_of: Any) -> Any:
    """Whether a list with so many of each word may take a row."""
    if len(most):
        for i in range(begins[row], begins[row] + counts[row]):
            word = pool[i]
            if word < len(most) and most[word] > 0 and n_of[word] >= most[word]:
                return False
    return True


@compiled
def _note(row: Any, by: Any, most: Any, pool: Any, begins: Any, counts: Any, n_of: Any) -> None:
    """Add to how many of each word a list has."""
    if len(most):
        for i in range(begins[row], begins[row] + counts[row]):
            if pool[i] < len(most):
                n_of[pool[i]] += by


@compiled
def _drawn(
    seed: Any, place: Any, hashes: Any, order: Any, is_shown: Any, flags: Any,
    most: Any, pool: Any, begins: Any, counts: Any, n_of: Any,
) -> Any:  # fmt: skip
    """Return a row by chance that the list may take, -1 where none was found.

    Chance draws a hash, and the item with the next hash is taken: rows may lie in any order.
    """
    n, tried = len(order), 0
    at = np.searchsorted(hashes, _mixed(seed, np.int64(place)) >> np.uint64(32))
    for _ in range(n):
        row = order[at % n]
        at += 1
        if is_shown[row]:
            if flags[row] == 0 and _fits(row, most, pool, begins, counts, n_of):
                return row
            tried += 1
            if tried == MAX_DRAWS:
                break
    return np.int64(-1)


@compiled
def _take_best(scores: Any, n: Any, columns: Any, best: Any) -> Any:
    """Move the n greatest scores into ``best``, in the order of their columns; return how many.

    Where they were, NaN is left. Of equal ones the first columns are taken.
    """
    m = 0
    for i in range(len(scores)):
        if scores[i] == scores[i]:
            best[m] = scores[i]
            m += 1
    n = min(n, m)
    if n == 0:
        return 0
    bound = np.partition(best[:m], m - n)[m - n]
    n_equal = n
    for i in range(len(scores)):
        n_equal -= scores[i] > bound
    at = 0
    for i in range(len(scores)):
        if scores[i] > bound or (scores[i] == bound and n_equal > 0):
            n_equal -= scores[i] == bound
            columns[at], best[at] = i, scores[i]
            scores[i] = np.float32(np.nan)
            at += 1
    return at


@compiled
def _drop(column: Any, scores: Any, columns: Any, best: Any) -> None:
    """Take a candidate out of those that wait for a place."""
    scores[column] = np.float32(np.nan)
    for j in range(len(columns)):
        if columns[j] == column:
            best[j] = np.float32(np.nan)


@compiled
def _liken(row: Any, rows: Any, columns: Any, best: Any, unit: Any, likeness: Any) -> None:
    """Raise the likeness of waiting candidates to the list by a row that it took."""
    for j in range(len(columns)):
        if best[j] == best[j]:
            cosine, other = np.float32(0.0), rows[columns[j]]
            for d in range(unit.shape[1]):
                cosine += unit[other, d] * unit[row, d]
            likeness[j] = max(likeness[j], cosine)


@compiled
def _greatest(values: Any) -> Any:
    """Return the place of the greatest value, the first of equal ones; -1 where all are NaN."""
    best = -1
    for i in range(len(values)):
        if values[i] == values[i] and (best < 0 or values[i] > values[best]):
            best = i
    return best


@compiled
def _most_worth(best: Any, likeness: Any, strength: Any, greatest: Any) -> Any:
    """Return the place of the greatest score less likeness, -1 where none waits."""
    found, most = -1, np.float32(0.0)
    for j in range(len(best)):
        if best[j] == best[j]:
            worth = (np.float32(1.0) - strength) * (best[j] / greatest) - strength * likeness[j]
            if found < 0 or worth > most:
                found, most = j, worth
    return found


@compiled
def _arrange(  # noqa: C901 (one pass, nothing between the loops is kept)
    rows: Any, counts: Any, probabilities: Any, seen: Any, seen_from: Any, seeds: Any,
    is_shown: Any, popular: Any, unit: Any,
    factors: Any, pins: Any, most: Any, pool: Any, begins: Any, n_words: Any,
    strength: Any, exploration: Any, hashes: Any, order: Any,
    listed: Any, columns: Any, how: Any, popular_rank: Any, lengths: Any,
) -> None:  # fmt: skip
    k, n_rows, nan = listed.shape[1], len(is_shown), np.float32(np.nan)
    flags = np.zeros(n_rows, np.uint8)  # 1 for a row that the user has had, 2 for a listed one
    n_of = np.zeros(len(most), np.int32)
    score_buffer, best_buffer = np.empty(rows.shape[1], np.float32), np.empty(rows.shape[1], np.float32)
    likeness_buffer, column_buffer = np.empty(rows.shape[1], np.float32), np.empty(rows.shape[1], np.int64)
    n_best = max(RIVALS_PER_PLACE * k, MIN_RIVALS)
    for u in range(len(counts)):
        c = counts[u]
        scores = score_buffer[:c]
        own, own_rows = listed[u], rows[u, :c]
        for i in range(seen_from[u], seen_from[u + 1]):
            flags[seen[i]] |= 1
        for i in range(c):
            scores[i] = probabilities[u, i] * factors[own_rows[i]] if len(factors) else probabilities[u, i]
        greatest = np.float32(0.0)
        for i in range(c):
            greatest = max(greatest, scores[i]) if scores[i] == scores[i] else greatest
        m = _take_best(scores, n_best, column_buffer, best_buffer)
        waiting, best, likeness = column_buffer[:m], best_buffer[:m], likeness_buffer[:m]
        likeness[:] = np.float32(0.0)
        is_diverse = strength > 0 and greatest > 0
        for place in range(len(pins)):
            row = pins[place]
            if row < 0 or not is_shown[row] or not _fits(row, most, pool, begins, n_words, n_of):
                continue
            own[place], how[u, place] = row, PINNED
            flags[row] |= 2
            _note(row, 1, most, pool, begins, n_words, n_of)
            for i in range(c):
                if own_rows[i] == row and probabilities[u, i] == probabilities[u, i]:
                    columns[u, place] = i
                    _drop(i, scores, waiting, best)
            if is_diverse:
                _liken(row, own_rows, waiting, best, unit, likeness)
        at_popular, at_row = 0, 0
        for place in range(k):
            if own[place] >= 0:
                continue
            row, column, as_what, rank = np.int64(-1), np.int64(-1), RANKED, 0
            if exploration > 0:
                chance = np.float64(_mixed(seeds[u], np.int64(place + OTHER_CHANCE)) >> np.uint64(11)) * 2.0**-53
                if chance < exploration:
                    row = _drawn(seeds[u], place, hashes, order, is_shown, flags, most, pool, begins, n_words, n_of)
                    if row >= 0:
                        as_what = EXPLORED
                        for i in range(c):
                            if own_rows[i] == row and probabilities[u, i] == probabilities[u, i]:
                                column = np.int64(i)
            while row < 0:  # the best that fits
                j = _most_worth(best, likeness, strength, greatest) if is_diverse else _greatest(best)
                i = waiting[j] if j >= 0 else _greatest(scores)
                if i < 0:
                    break
                if _fits(own_rows[i], most, pool, begins, n_words, n_of):
                    row, column = own_rows[i], np.int64(i)
                elif j >= 0:
                    best[j] = nan  # a list never has less of a word later
                else:
                    scores[i] = nan
            while row < 0 and at_popular < len(popular):
                other = popular[at_popular]
                at_popular += 1
                if flags[other] == 0 and _fits(other, most, pool, begins, n_words, n_of):
                    row, as_what, rank = other, FILLED, at_popular
            while row < 0 and at_row < n_rows:
                if is_shown[at_row] and flags[at_row] == 0 and _fits(at_row, most, pool, begins, n_words, n_of):
                    row, as_what, rank = np.int64(at_row), FILLED, len(popular) + 1
                at_row += 1
            if row < 0:
                break
            own[place], columns[u, place], how[u, place], popular_rank[u, place] = row, column, as_what, rank
            flags[row] |= 2
            if column >= 0:
                _drop(column, scores, waiting, best)
            _note(row, 1, most, pool, begins, n_words, n_of)
            if is_diverse:
                _liken(row, own_rows, waiting, best, unit, likeness)
        n = 0
        for place in range(k):  # pins after the last item of a short list move up
            if own[place] >= 0:
                row = own[place]
                own[n], columns[u, n], how[u, n] = row, columns[u, place], how[u, place]
                popular_rank[u, n] = popular_rank[u, place]
                if n < place:
                    own[place], columns[u, place], how[u, place], popular_rank[u, place] = -1, -1, 0, 0
                n += 1
                flags[row] &= 1
                _note(row, -1, most, pool, begins, n_words, n_of)
        lengths[u] = n
        for i in range(seen_from[u], seen_from[u + 1]):
            flags[seen[i]] = 0
