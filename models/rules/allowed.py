"""Which items the rules let into any list, asked item by item, beside a catalogue of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.base.types import Int64
from models.rules.facts import Facts, ItemFacts, Words, columns
from models.rules.row_rules import Rules

#: Answers that are remembered.
MAX_KNOWN: Final = 200_000


class Allowed:
    """Says which items filters, ``allow`` and ``deny`` of some rules let into a list.

    It remembers its answers until an item changes or reaches an age that the rules ask about.

    Parameters
    ----------
    rules : None lets in every item
    """

    def __init__(self, rules: Rules | None) -> None:
        self._rules = rules
        self._known: dict[str, bool] = {}
        self._due_ms: int | None = None

    def forget(self, item_id: str) -> None:
        """Forget the answer about an item whose facts have changed."""
        self._known.pop(item_id, None)

    def refused(self, items: Mapping[str, ItemFacts], now_ms: int) -> set[str]:
        """Return the items that no list may hold.

        Parameters
        ----------
        items : the items in question, and what is known of each
        now_ms : the time from which ages count, since 1970
        """
        if self._rules is None:
            return set()
        if (self._due_ms is not None and now_ms >= self._due_ms) or len(self._known) > MAX_KNOWN:
            self._known.clear()
            self._due_ms = None
        new = {item_id: facts for item_id, facts in items.items() if item_id not in self._known}
        if new:
            self._ask(self._rules, new, now_ms)
        return {item_id for item_id in items if not self._known[item_id]}

    def _ask(self, rules: Rules, items: Mapping[str, ItemFacts], now_ms: int) -> None:
        ids, words = list(items), Words()
        row_of = {item_id: row for row, item_id in enumerate(ids)}

        def rows_of(wanted: Sequence[str]) -> Int64:
            return np.array([row_of.get(item_id, -1) for item_id in wanted], dtype=np.int64)

        facts = Facts(**columns(list(items.values()), words), words=words)
        found = rules.for_rows(facts, ids, rows_of, now_ms)
        self._known.update(zip(ids, found.allowed.tolist(), strict=True))
        if found.due_ms is not None:
            self._due_ms = found.due_ms if self._due_ms is None else min(self._due_ms, found.due_ms)
