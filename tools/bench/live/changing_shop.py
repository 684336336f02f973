"""Records of ``items`` of a shop that changes: new texts, hidden, shown, new and removed items."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.types import Behaviours, Int64
from streams.contract.records import VERSION, Item, encode
from tools.bench.made.shop import made_windows

#: What the records of a load do, in turn.
KINDS: Final = ("text", "hide", "new", "show", "text", "remove")
TYPES: Final = ("view", "click", "purchase")


def item_name(row: int) -> str:
    """Return the id of a made shop's item."""
    return f"i{row:07}"


@dataclass
class Record:
    """A record of ``items``, as the consumer gives it, and when it came."""

    key: bytes
    value: bytes | None
    came_s: float
    offset: int = 0
    partition: int = 0
    headers: tuple[()] = ()


class Shop:
    """A made shop that changes."""

    def __init__(self, n_items: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._n_new = itertools.count()
        self._editions = itertools.count(1)
        self._kinds = itertools.cycle(KINDS)
        self.ids = [item_name(row) for row in range(n_items)]
        self.hidden: set[str] = set()
        self.removed: set[str] = set()

    def change(self) -> Record:
        """Return the next record."""
        kind, now_s = next(self._kinds), time.monotonic()
        item_id = self.ids[int(self._rng.integers(len(self.ids)))]
        if kind == "new":
            item_id = f"new{next(self._n_new)}"
            self.ids.append(item_id)
        if kind == "show" and self.hidden:
            item_id = min(self.hidden)
        if kind == "remove":
            self.removed.add(item_id)
            return Record(item_id.encode(), None, now_s)
        self.removed.discard(item_id)
        (self.hidden.add if kind == "hide" else self.hidden.discard)(item_id)
        title = f"{item_id} edition {next(self._editions)}" if kind in ("text", "new") else f"Item {item_id}"
        return Record(item_id.encode(), encode(Item(VERSION, item_id, title, available=kind != "hide")), now_s)


def windows_of(groups: Int64, n: int, length: int, seed: int) -> list[Behaviours]:
    """Return windows of ``n`` users on a made shop's items."""
    made = made_windows(groups, n, length, seed)
    columns = zip(made["rows"].tolist(), made["types"].tolist(), made["times"].tolist(), strict=True)
    return [Behaviours([item_name(row) for row in rows], [TYPES[i] for i in kinds], ts) for rows, kinds, ts in columns]
