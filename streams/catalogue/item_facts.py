"""What an item's record says that rules ask about. This module loads no model library."""

from __future__ import annotations

import math

from models.rules.facts import UNKNOWN_MS, ItemFacts
from streams.contract.records import Item


def facts_of(item: Item) -> ItemFacts:
    """Return what rules may ask of an item."""
    category = (item.category,) if item.category else ()
    return ItemFacts(
        tuple(dict.fromkeys((*category, *item.categories))) if item.categories else category,
        tuple(item.tags or ()),
        item.price if item.price is None or math.isfinite(item.price) else None,
        UNKNOWN_MS if item.published_ts is None else item.published_ts,
        item.available is not None,
    )
