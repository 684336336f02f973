"""Rules for the rows of one catalogue snapshot: masks and factors, computed once per change.

::

    document ─► Rules ──┐
    facts of the rows ──┴─► RowRules: allowed?  factor  caps by word  pinned rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final
from zlib import crc32

import numpy as np

from models.base.compiled import compiled
from models.base.types import AnyArray, Bool, Float32, Int32, Int64
from models.rules.document import EACH_CATEGORY, Document, Selector, Weight, age_ms, version_of
from models.rules.facts import CATEGORY, TAG, Facts
from models.rules.parse import parse
from models.rules.repeats import Repeats, repeats_of

#: The product of all factors of an item stays between one divided by this and this.
MAX_PRODUCT: Final = 1e6
NO_ORDER: Final = (np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))
#: Finds the rows of items, -1 for none.
RowsOf = Callable[[Sequence[str]], Int64]


@dataclass(frozen=True, eq=False)
class RowRules:
    """The rules of a snapshot of ``n`` rows.

    Parameters
    ----------
    allowed : (n,) bool, what filters, ``allow`` and ``deny`` say; a row may be hidden besides
    factors : (n,) float32, the products of boosts and buries; (0,) where there are none
    most : (m,) int32, by word code, the most items of a category in a list, 0 for any number; (0,)
        without caps
    pins : (p,) int64, by place from 0, the row that the document pins there, -1 for none
    by_hash : hashes of the ids of allowed rows, rising, (a,) uint64, and these rows, (a,) int64:
        the order in which chance finds rows; (0,) where nothing is left to chance
    due_ms : when the age of an item changes something; None for never
    """

    rules: Rules
    facts: Facts
    allowed: Bool
    factors: Float32
    most: Int32
    pins: Int64
    by_hash: tuple[AnyArray, Int64]
    due_ms: int | None

    def is_due(self, now_ms: int) -> bool:
        """Whether an item has reached an age since that the rules ask about."""
        return self.due_ms is not None and now_ms >= self.due_ms


@dataclass(frozen=True, eq=False)
class Rules:
    """A rules document and its version.

    Parameters
    ----------
    version : of the text, as lists name it
    """

    document: Document
    version: str

    @classmethod
    def of(cls, text: str, list_size: int | None = None) -> Rules:
        """Return the rules of a document.

        Raises
        ------
        RulesError
            As :func:`models.rules.parse.parse`.
        """
        return cls(parse(text, list_size), version_of(text))

    @cached_property
    def repeats(self) -> Repeats | None:
        """What the document says about repeats; None where it says nothing."""
        return None if self.document.repeats is None else repeats_of(self.document.repeats)

    @cached_property
    def shown_ms(self) -> int:
        """For how many ms an item that was shown is in no list; 0 where the document sets none."""
        shown = self.document.shown
        return 0 if shown is None or shown.not_again_within is None else age_ms(shown.not_again_within)

    @property
    def decay(self) -> float:
        """What each showing of an item that the user never had multiplies its score by."""
        shown = self.document.shown
        return 1.0 if shown is None or shown.decay is None else shown.decay

    def list_size(self, otherwise: int) -> int:
        """Return how many items a list has.

        Parameters
        ----------
        otherwise : where the document does not say
        """
        return self.document.list_size or otherwise

    def for_rows(
        self, facts: Facts, item_ids: Sequence[str], rows_of: RowsOf, now_ms: int, before: RowRules | None = None
    ) -> RowRules:
        """Return the rules for the rows of a snapshot.

        Parameters
        ----------
        item_ids : by row
        now_ms : the time from which ages count, since 1970
        before : of an earlier snapshot of the same rows: only the new rows are looked at. Not used
            where it is of other rules, or an age has come due since
        """
        document = self.document
        if before is None or before.rules is not self or before.is_due(now_ms) or len(before.facts) > len(facts):
            before = None
        first = 0 if before is None else len(before.facts)
        new = facts.since(first)
        found = _Rows(new, first, item_ids, rows_of, now_ms)
        allowed = selected(document.filters, new, now_ms)
        if document.allow:
            allowed &= found.among(document.allow)
        if document.deny:
            allowed &= ~found.among(document.deny)
        factors = found.factors((*document.boosts, *document.buries))
        if before is not None:
            allowed = np.concatenate([before.allowed, allowed])
            factors = np.concatenate([before.factors, factors])
        ages = _due_ms(document, new, now_ms)
        if before is not None and before.due_ms is not None:
            ages = before.due_ms if ages is None else min(ages, before.due_ms)
        most = self._most(facts, np.zeros(0, dtype=np.int32) if before is None else before.most)
        by_hash = _by_hash(item_ids, first, allowed, before) if document.exploration else NO_ORDER
        return RowRules(self, facts, allowed, factors, most, self._pins(rows_of, allowed), by_hash, ages)

    def _most(self, facts: Facts, known: Int32) -> Int32:
        """Return the caps by word code; those of the first codes are known."""
        caps, codes = self.document.caps, facts.words.code_of
        if not caps or len(codes) == len(known):
            return known
        each = caps.get(EACH_CATEGORY, 0)
        words = islice(codes, len(known), None)
        new = [caps.get(name, each) if kind == CATEGORY else 0 for kind, name in words]
        return np.concatenate([known, np.array(new, dtype=np.int32)])

    def _pins(self, rows_of: RowsOf, allowed: Bool) -> Int64:
        pins = self.document.pins
        by_place = np.full(max((pin.place for pin in pins), default=0), -1, dtype=np.int64)
        if pins:
            rows = rows_of([pin.item for pin in pins])
            by_place[[pin.place - 1 for pin in pins]] = np.where((rows >= 0) & allowed[rows], rows, -1)
        return by_place


@dataclass(frozen=True)
class _Rows:
    """Some rows of a snapshot, from ``first`` on, about which rules ask."""

    facts: Facts
    first: int
    item_ids: Sequence[str]
    rows_of: RowsOf
    now_ms: int

    def among(self, items: Sequence[str]) -> Bool:
        """Return which rows are newest versions of these items, (m,) bool."""
        found = np.zeros(len(self.facts), dtype=np.bool_)
        if self.first:
            wanted = set(items)
            found[:] = [item_id in wanted for item_id in self.item_ids[self.first :]]
        else:
            rows = self.rows_of(items)
            found[rows[rows >= 0]] = True
        return found

    def factors(self, weights: Sequence[Weight]) -> Float32:
        """Return the products of factors, (m,) float32; (0,) without weights."""
        if not weights:
            return np.zeros(0, dtype=np.float32)
        products = np.ones(len(self.facts), dtype=np.float64)
        for one in weights:
            products[self.weighted(one)] *= one.factor
        return np.clip(products, 1 / MAX_PRODUCT, MAX_PRODUCT).astype(np.float32)

    def weighted(self, one: Weight) -> Bool:
        """Return which rows a boost or a bury is about, (m,) bool."""
        found = selected(one, self.facts, self.now_ms)
        return found & self.among(one.items) if one.items else found


def selected(one: Selector, facts: Facts, now_ms: int) -> Bool:
    """Return which rows meet every condition of a selector, (n,) bool; ``items`` is not looked at.

    Parameters
    ----------
    now_ms : the time from which ages count, since 1970
    """
    found: Bool = np.ones(len(facts), dtype=np.bool_)
    for kind, names, others in ((CATEGORY, one.categories, one.not_categories), (TAG, one.tags, one.not_tags)):
        if names:
            found &= _with_word(facts, kind, names)
        if others:
            found &= ~_with_word(facts, kind, others)
    if one.price_min is not None:
        found &= facts.price >= one.price_min  # False for NaN
    if one.price_max is not None:
        found &= facts.price <= one.price_max
    if one.available:
        found &= facts.says_available
    if one.age_min is not None or one.age_max is not None:
        found &= facts.published_ms >= 0
    if one.age_min is not None:
        found &= now_ms - facts.published_ms >= age_ms(one.age_min)
    if one.age_max is not None:
        found &= now_ms - facts.published_ms <= age_ms(one.age_max)
    return found


def _with_word(facts: Facts, kind: str, names: Sequence[str]) -> Bool:
    words = facts.words
    is_wanted = np.zeros(len(words.code_of), dtype=np.bool_)
    is_wanted[[code for name in names if (code := words.code_of.get((kind, name))) is not None]] = True
    found = np.zeros(len(facts), dtype=np.bool_)
    _with_any(words.pool, facts.words_from, facts.n_words, is_wanted, found)
    return found


def _due_ms(document: Document, facts: Facts, now_ms: int) -> int | None:
    """Return when the first item passes an age that the document asks about; None for never."""
    limits: list[int] = []
    for one in (document.filters, *document.boosts, *document.buries):
        limits += [age_ms(one.age_min)] if one.age_min is not None else []
        limits += [age_ms(one.age_max) + 1] if one.age_max is not None else []
    known = facts.published_ms[facts.published_ms >= 0]
    later = [int(times.min()) for limit in limits if len(times := (known + limit)[known + limit > now_ms])]
    return min(later, default=None)


def _by_hash(item_ids: Sequence[str], first: int, allowed: Bool, before: RowRules | None) -> tuple[AnyArray, Int64]:
    """Return the allowed rows by the hashes of their ids; only those from ``first`` on are new."""
    rows = first + np.flatnonzero(allowed[first:])
    ids = item_ids[first:]
    hashes = np.array([crc32(ids[row - first].encode()) for row in rows.tolist()], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    if before is None:
        return hashes, rows
    known_hashes, known_rows = before.by_hash
    places = np.searchsorted(known_hashes, hashes, side="right")
    return np.insert(known_hashes, places, hashes), np.insert(known_rows, places, rows)


@compiled
def _with_any(pool: Any, begins: Any, counts: Any, is_wanted: Any, found: Any) -> None:
    for row in range(len(begins)):
        for place in range(begins[row], begins[row] + counts[row]):
            if is_wanted[pool[place]]:
                found[row] = True
