"""What answers may show now: the newest records of items, their times, and the rules."""

from __future__ import annotations

from typing import Any

from models.rules.row_rules import Rules
from streams.contract.records import Item
from streams.server.lists.shown_items import ShownItems

NOW_MS = 1_000_000


def item(item_id: str, **more: Any) -> Item:
    return Item(1, item_id, f"title of {item_id}", **more)


def shown(*items: Item, now_ms: int = NOW_MS) -> ShownItems:
    found = ShownItems(lambda: now_ms / 1000)
    for one in items:
        found.put(one.item_id, one)
    return found


def test_withdrawn_hidden_expired_and_coming_items_are_not_shown() -> None:
    """Each of them may be in a list that was pushed before."""
    items = shown(
        item("a"),
        item("sold", available=False),
        item("old", expires_ts=NOW_MS),
        item("coming", published_ts=NOW_MS + 1),
        item("now", published_ts=NOW_MS, expires_ts=NOW_MS + 1),
        item("gone"),
    )
    items.put("gone", None)
    assert items.hidden(["a", "sold", "old", "coming", "now", "gone", "never"]) == {
        "sold", "old", "coming", "gone", "never",
    }  # fmt: skip


def test_an_empty_catalogue_is_the_models_own() -> None:
    """A deployment without ``items`` serves the items that its model was trained on."""
    items = shown()
    assert items.hidden(["a"]) == set()
    items.obey(Rules.of('deny = ["b"]'))
    assert items.hidden(["a", "b"]) == {"b"}


def test_rules_hold_from_their_coming_until_they_are_taken_back() -> None:
    """The filters ask for facts of each item; ``deny`` names items."""
    items = shown(item("a", category="Shoes"), item("b", category="Hats"), item("c"))
    items.obey(Rules.of('deny = ["c"]\n[filters]\ncategories = ["Shoes"]'))
    assert items.hidden("abc") == {"b", "c"}
    items.put("b", item("b", category="Shoes"))
    assert items.hidden("abc") == {"c"}
    items.obey(None)
    assert items.hidden("abc") == set()


def test_an_age_that_rules_ask_about_comes_without_a_record() -> None:
    """What was allowed an hour ago may be too old now."""
    now = [0]
    items = ShownItems(lambda: now[0] / 1000)
    items.put("a", item("a", published_ts=0))
    items.obey(Rules.of('[filters]\nage_max = "1h"'))
    now[0] = 3_600_000
    assert items.hidden("a") == set()
    now[0] += 1
    assert items.hidden("a") == {"a"}


def test_categories_are_those_of_both_fields() -> None:
    """An item may be in several."""
    items = shown(item("a", category="Shoes", categories=["Sale"]))
    assert [items.is_in("a", name) for name in ("Shoes", "Sale", "Hats")] == [True, True, False]
    assert not items.is_in("unknown", "Shoes") and items.title("a") == "title of a" and items.title("x") == ""
