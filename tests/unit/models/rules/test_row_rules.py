"""Rules for rows: only new rows are looked at, ages come due, and a trace names the rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.base.types import Int64
from models.rules.arrange import Items, arranged
from models.rules.facts import Facts, ItemFacts, Words, columns
from models.rules.row_rules import MAX_PRODUCT, Rules
from models.rules.trace import denied_by, full_caps, moves, weighted_by

NOW_MS, DAY_MS = 1_700_000_000_000, 86_400_000
IDS = [f"i{i}" for i in range(12)]
ITEMS = [
    ItemFacts(("Shoes",) if i % 2 else ("Hats", "Gifts"), ("new",) if i % 3 == 0 else (), float(i), NOW_MS - i * DAY_MS)
    for i in range(12)
]


def facts_of(n: int, words: Words | None = None, known: list[ItemFacts] = ITEMS) -> Facts:
    words = words or Words()
    return Facts(**columns(known[:n], words), words=words)


def rows_of(item_ids: Sequence[str]) -> Int64:
    return np.array([IDS.index(one) if one in IDS else -1 for one in item_ids], dtype=np.int64)


TEXT = """
exploration = 0.2
deny = ["i4"]
allow = ["i0", "i1", "i2", "i3", "i4x", "i5", "i6", "i7", "i8", "i9", "i10"]
[filters]
not_tags = ["new"]
price_max = 9
[[pins]]
item = "i7"
place = 2
[[boosts]]
categories = ["Hats"]
factor = 2
[[boosts]]
items = ["i1", "i8"]
factor = 3
[[buries]]
age_min = "5d"
factor = 0.5
[caps]
Shoes = 2
"*" = 9
"""


def test_new_rows_alone_give_what_all_rows_give() -> None:
    rules = Rules.of(TEXT, 10)
    words = Words()
    whole = facts_of(12, words)
    names = ("price", "published_ms", "says_available", "words_from", "n_words")
    part = Facts(**{name: getattr(whole, name)[:7] for name in names}, words=words)

    def first_rows(item_ids: Sequence[str]) -> Int64:
        rows = rows_of(item_ids)
        return np.where(rows < 7, rows, -1)

    before = rules.for_rows(part, IDS[:7], first_rows, NOW_MS)
    grown, fresh = rules.for_rows(whole, IDS, rows_of, NOW_MS, before), rules.for_rows(whole, IDS, rows_of, NOW_MS)
    for name in ("allowed", "factors", "most", "pins"):
        np.testing.assert_array_equal(getattr(grown, name), getattr(fresh, name))
    for mine, theirs in zip(grown.by_hash, fresh.by_hash, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert grown.due_ms == fresh.due_ms


def test_what_each_rule_says() -> None:
    rules = Rules.of(TEXT, 10).for_rows(facts_of(12), IDS, rows_of, NOW_MS)
    assert np.flatnonzero(rules.allowed).tolist() == [1, 2, 5, 7, 8]
    assert rules.factors[[1, 2, 8, 7]].tolist() == [3.0, 2.0, 3.0, 0.5]
    assert rules.pins.tolist() == [-1, 7]
    assert denied_by(rules, 4, "i4", NOW_MS) == ("deny", "allow")
    assert denied_by(rules, 9, "i9", NOW_MS) == ("filters.not_tags",)
    assert denied_by(rules, 10, "i10", NOW_MS) == ("filters.price_max",)
    assert denied_by(rules, 8, "i8", NOW_MS) == ()
    assert weighted_by(rules, 8, "i8", NOW_MS) == (("boosts[1]", 2.0), ("boosts[2]", 3.0), ("buries[1]", 0.5))
    assert full_caps(rules, np.array([1, 5, 2]), 7) == ("caps.Shoes",)
    assert full_caps(rules, np.array([1, 2]), 7) == ()


def test_an_age_comes_due_and_the_rows_are_looked_at_again() -> None:
    rules = Rules.of('[filters]\nage_max = "3d"', 10)
    before = rules.for_rows(facts_of(12), IDS, rows_of, NOW_MS)
    assert np.flatnonzero(before.allowed).tolist() == [0, 1, 2, 3]
    assert before.due_ms == NOW_MS + 1 and not before.is_due(NOW_MS)
    later = rules.for_rows(before.facts, IDS, rows_of, NOW_MS + 1, before)
    assert np.flatnonzero(later.allowed).tolist() == [0, 1, 2]
    assert later.due_ms == NOW_MS + DAY_MS + 1


def test_many_factors_stay_finite() -> None:
    text = "[[boosts]]\ncategories = ['Shoes']\nfactor = 1000\n" * 100
    rules = Rules.of(text, 10).for_rows(facts_of(12), IDS, rows_of, NOW_MS)
    assert rules.factors.max() == pytest.approx(MAX_PRODUCT)


def test_words_that_no_row_has_are_dropped() -> None:
    words = Words()
    for i in range(3_000):
        kept = columns([ItemFacts(("Shoes",), (f"tag {i}",))], words)
    fewer, begins = words.used(kept["words_from"], kept["n_words"])
    assert fewer.n == 2 and len(words.code_of) == 3_001
    facts = Facts(**(kept | {"words_from": begins}), words=fewer)
    assert facts.names(0, "category") == ("Shoes",) and facts.names(0, "tag") == ("tag 2999",)


def test_a_trace_says_what_moved_each_item() -> None:
    rules = Rules.of(TEXT.replace("exploration = 0.2", "list_size = 3"), 10)
    compiled = rules.for_rows(facts_of(12), IDS, rows_of, NOW_MS)
    rows = np.array([1, 2, 5, 7, 8])
    probabilities = np.array([0.3, 0.2, 0.5, 0.1, 0.05], dtype=np.float32)
    items = Items(compiled.allowed, rows, np.eye(12, dtype=np.float32))
    seen = np.zeros(0, dtype=np.int64), np.zeros(2, dtype=np.int64)
    made = arranged(
        compiled, items, rows[None], np.array([5]), probabilities[None], seen, 3, np.zeros(1, dtype=np.uint64)
    )
    found = moves(compiled, made, 0, rows, probabilities, [IDS[row] for row in rows], NOW_MS)
    told = [(move.row, move.place, move.place_by_score, move.how, move.rules) for move in found]
    assert told == [
        (1, 1, 2, "score", ("boosts[2]",)),
        (7, 2, 4, "pin", ("pins[1]", "buries[1]")),
        (2, 3, 3, "score", ("boosts[1]",)),
        (5, None, 1, "caps.Shoes", ("buries[1]",)),
        (8, None, 5, "score", ("boosts[1]", "boosts[2]", "buries[1]")),
    ]
