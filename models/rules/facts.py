"""What rules ask of an item, by catalogue row: category, tags, price, age, availability.

::

    row                 0       1     2        words_from and n_words say which words are a row's
    words of the row    s n     h     s
    pool               [s n] [h] [s] ...       codes; it only grows, so readers need no lock
    names               category Shoes -> s, tag new -> n, category Hats -> h
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.base.types import AnyArray, Bool, Float64, Int32, Int64

#: The time of an item without ``published_ts``.
UNKNOWN_MS: Final = -1
CATEGORY: Final = "category"
TAG: Final = "tag"
#: A pool is copied without the words that no row has once it is this many times as long as needed.
MOST_UNUSED: Final = 2


class ItemFacts(NamedTuple):
    """What the record of an item says that rules ask about.

    Parameters
    ----------
    categories : ``category`` and all of ``categories``
    price : None where the record has none
    published_ms : since 1970, :data:`UNKNOWN_MS` where the record has none
    says_available : whether the record has the field ``available``. That it is not False shows in
        whether the item is shown
    """

    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    price: float | None = None
    published_ms: int = UNKNOWN_MS
    says_available: bool = False


NO_FACTS: Final = ItemFacts()


class Words:
    """The categories and tags of rows. One thread appends; others read what they know of.

    Attributes
    ----------
    code_of : (kind, name) to its code
    n : codes in the pool
    """

    def __init__(self) -> None:
        self.code_of: dict[tuple[str, str], int] = {}
        self.pool: Int32 = np.empty(1_024, dtype=np.int32)
        self.n = 0

    def put(self, facts: Sequence[ItemFacts]) -> tuple[Int64, Int32]:
        """Add the words of items; return where each item's begin, and how many they are."""
        codes: list[int] = []
        counts: list[int] = []
        for one in facts:
            if not (one.categories or one.tags):
                counts.append(0)
                continue
            words = dict.fromkeys([(CATEGORY, name) for name in one.categories] + [(TAG, name) for name in one.tags])
            codes += [self.code_of.setdefault(word, len(self.code_of)) for word in words]
            counts.append(len(words))
        end = self.n + len(codes)
        if end > len(self.pool):
            grown = np.empty(2 * end, dtype=np.int32)
            grown[: self.n] = self.pool[: self.n]
            self.pool = grown
        self.pool[self.n : end] = codes
        begins = self.n + np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[:-1]
        self.n = end
        return begins.astype(np.int64), np.array(counts, dtype=np.int32)

    def used(self, begins: Int64, counts: Int32) -> tuple[Words, Int64]:
        """Return words with only these rows' in the pool, and where each row's begin there.

        They are these words themselves where not much would be saved.
        """
        n = int(counts.sum(dtype=np.int64))
        if self.n <= MOST_UNUSED * max(n, 1_024):
            return self, begins
        moved = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[:-1].astype(np.int64)
        codes = self.pool[np.repeat(begins - moved, counts) + np.arange(n)]
        kept, renamed = np.unique(codes, return_inverse=True)
        names = list(self.code_of)
        words = Words()
        words.code_of = {names[code]: place for place, code in enumerate(kept.tolist())}
        words.pool, words.n = renamed.astype(np.int32), n
        return words, moved


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts of ``n`` rows.

    Parameters
    ----------
    price : (n,) float64, NaN for none
    published_ms : (n,) int64, :data:`UNKNOWN_MS` for none
    says_available : (n,) bool
    words_from, n_words : (n,) int64 and int32, where a row's words are in the pool
    """

    price: Float64
    published_ms: Int64
    says_available: Bool
    words_from: Int64
    n_words: Int32
    words: Words

    def __len__(self) -> int:
        return len(self.price)

    def at(self, row: int) -> Facts:
        """Return the facts of one row."""
        return Facts(
            self.price[row : row + 1],
            self.published_ms[row : row + 1],
            self.says_available[row : row + 1],
            self.words_from[row : row + 1],
            self.n_words[row : row + 1],
            self.words,
        )

    def names(self, row: int, kind: str) -> tuple[str, ...]:
        """Return the categories, or the tags, of one row."""
        begin = int(self.words_from[row])
        codes = set(self.words.pool[begin : begin + int(self.n_words[row])].tolist())
        return tuple(name for (its, name), code in list(self.words.code_of.items()) if its == kind and code in codes)

    def since(self, row: int) -> Facts:
        """Return the facts of the rows from ``row`` on."""
        return Facts(
            self.price[row:],
            self.published_ms[row:],
            self.says_available[row:],
            self.words_from[row:],
            self.n_words[row:],
            self.words,
        )


def columns(facts: Sequence[ItemFacts], words: Words) -> dict[str, AnyArray]:
    """Return the facts of items as arrays, by the names of :class:`Facts`."""
    begins, counts = words.put(facts)
    prices = [np.nan if one.price is None else one.price for one in facts]
    return {
        "price": np.array(prices, dtype=np.float64),
        "published_ms": np.array([one.published_ms for one in facts], dtype=np.int64),
        "says_available": np.array([one.says_available for one in facts], dtype=np.bool_),
        "words_from": begins,
        "n_words": counts,
    }


def no_columns(n: int) -> dict[str, AnyArray]:
    """Return the columns of ``n`` items of which nothing is known."""
    return columns([NO_FACTS] * n, Words())
