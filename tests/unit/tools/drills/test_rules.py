"""The judge of the drill ``rules``: it sees lists that break rules, and lists of older rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from models.rules.facts import ItemFacts
from models.rules.parse import parse
from models.rules.row_rules import Rules
from streams.contract.records import Item, Recommendation, RecommendedItem, encode
from tools.drills.kinds.rules import N_CHANGES, Watch, document_of

OLD, NEW = Rules.of("list_size = 2\ndeny = ['a']"), Rules.of("list_size = 2\ndeny = ['b']")


def record(offset: int, rules: Rules | None, *listed: str, missing: int = 0) -> Any:
    items = [RecommendedItem(item_id, 0.5, {}, None) for item_id in listed]
    made = Recommendation(1, "l", "u", 1, "e", 0, 0, 5, "artifact", 1, "none", items)
    made.rules = msgspec.UNSET if rules is None else rules.version
    made.missing = missing or msgspec.UNSET
    return SimpleNamespace(partition=0, offset=offset, value=encode(made))


def watch() -> Watch:
    found = Watch({name: ItemFacts() for name in "abc"}, 10)
    found.versions, found.complete = [OLD, NEW], [{0: 10}, {0: 20}]
    return found


def judged(*records: Any) -> tuple[int, int, int]:
    found = watch()
    for one in records:
        found.add(one)
    return found.n_checked, found.n_broken, found.n_stale


def test_lists_that_obey_the_rules_of_their_time() -> None:
    good = [record(9, None, "a"), record(10, OLD, "b", "c"), record(15, NEW, "a", "c"), record(20, NEW, "a", missing=1)]
    assert judged(*good) == (3, 0, 0)


def test_a_list_of_older_rules_after_the_receipts_is_seen() -> None:
    assert judged(record(20, OLD, "b", "c")) == (1, 0, 1)
    assert judged(record(10, None, "b", "c")) == (1, 0, 1)


def test_a_list_that_breaks_its_rules_is_seen() -> None:
    assert judged(record(5, OLD, "a", "c")) == (0, 1, 0)
    assert judged(record(20, NEW, "b", "c")) == (1, 1, 0)
    assert judged(record(20, NEW, "a")) == (1, 1, 0), "short, and it does not say so"
    assert judged(record(20, Rules.of("deny = ['z']"), "a", "c")) == (0, 1, 0), "rules that nobody has put"


def test_the_documents_can_be_used_and_differ() -> None:
    items = [Item(1, f"i{i}", "t") for i in range(300)]
    texts = [document_of(number, items, 1) for number in range(1, N_CHANGES + 1)]
    assert len(set(texts)) == N_CHANGES
    assert all(parse(text, 10).deny for text in texts)
