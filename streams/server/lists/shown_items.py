"""What answers may show now: the items of the catalogue, under the rules in force.

A list on ``recommendations`` is as old as its user's last event. Since then an item may have been
withdrawn, may have expired, or may have been denied by new rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from models.rules.allowed import Allowed
from models.rules.facts import NO_FACTS, ItemFacts
from models.rules.row_rules import Rules
from streams.catalogue.item_facts import facts_of
from streams.contract.records import Item


class KnownItem(NamedTuple):
    """What the server keeps of an item's record."""

    title: str
    facts: ItemFacts
    available: bool
    published_ms: int
    expires_ms: int | None

    def is_shown(self, now_ms: int) -> bool:
        """Whether lists may show the item at a time."""
        return self.available and self.published_ms <= now_ms and (self.expires_ms is None or now_ms < self.expires_ms)


class ShownItems:
    """The catalogue and the rules. For one event loop.

    While the topic ``items`` has no entry, the catalogue is the model's own, which the server does
    not know: then the rules alone decide.

    Parameters
    ----------
    clock : seconds since 1970

    Attributes
    ----------
    rules : in force; None for none
    version : changes with whatever may change an answer
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._items: dict[str, KnownItem] = {}
        self._clock = clock
        self._allowed = Allowed(None)
        self.rules: Rules | None = None
        self.version = 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def get(self, item_id: str) -> KnownItem | None:
        """Return an item, shown or not; None where the catalogue has none of this id."""
        return self._items.get(item_id)

    def put(self, item_id: str, item: Item | None) -> None:
        """Take an item's newest record; None removes the item."""
        self._allowed.forget(item_id)
        self.version += 1
        if item is None:
            self._items.pop(item_id, None)
            return
        is_available = item.available is not False
        self._items[item_id] = KnownItem(
            item.title, facts_of(item), is_available, item.published_ts or 0, item.expires_ts
        )

    def obey(self, rules: Rules | None) -> None:
        """Put rules in force; None takes those before back."""
        self.rules = rules
        self._allowed = Allowed(rules)
        self.version += 1

    def hidden(self, item_ids: Iterable[str]) -> set[str]:
        """Return those of some items that no answer may show now."""
        now_ms = int(1000 * self._clock())
        gone, asked = self._known(item_ids, now_ms)
        return gone | self._allowed.refused(asked, now_ms) if self.rules is not None else gone

    def hidden_under(self, item_ids: Iterable[str], rules: Rules | None) -> set[str]:
        """Return those of some items that no answer could show now if other rules were in force."""
        now_ms = int(1000 * self._clock())
        gone, asked = self._known(item_ids, now_ms)
        return gone | Allowed(rules).refused(asked, now_ms)

    def _known(self, item_ids: Iterable[str], now_ms: int) -> tuple[set[str], dict[str, ItemFacts]]:
        """Return the items that the catalogue does not show, and the facts of the others."""
        items, asked, gone = self._items, dict[str, ItemFacts](), set[str]()
        for item_id in item_ids:
            item = items.get(item_id)
            if item is None:
                if items:
                    gone.add(item_id)
                else:
                    asked[item_id] = NO_FACTS
            elif item.is_shown(now_ms):
                asked[item_id] = item.facts
            else:
                gone.add(item_id)
        return gone, asked

    def is_in(self, item_id: str, category: str) -> bool:
        """Whether an item is in a category."""
        item = self._items.get(item_id)
        return item is not None and category in item.facts.categories

    def title(self, item_id: str) -> str:
        """Return an item's title; empty for an unknown one."""
        item = self._items.get(item_id)
        return "" if item is None else item.title
