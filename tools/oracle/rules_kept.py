"""Whether a list obeys a rules document, item by item, as the document's words say.

It shares no code with what makes the lists, beyond the document itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from models.rules.document import EACH_CATEGORY, Document, Selector, age_ms
from models.rules.facts import ItemFacts


def matches(one: Selector, facts: ItemFacts, now_ms: int) -> bool:
    """Whether an item meets every condition."""
    age = now_ms - facts.published_ms
    conditions = [
        not one.categories or bool(set(one.categories) & set(facts.categories)),
        not set(one.not_categories) & set(facts.categories),
        not one.tags or bool(set(one.tags) & set(facts.tags)),
        not set(one.not_tags) & set(facts.tags),
        one.price_min is None or (facts.price is not None and facts.price >= one.price_min),
        one.price_max is None or (facts.price is not None and facts.price <= one.price_max),
        not one.available or facts.says_available,
        one.age_min is None or (facts.published_ms >= 0 and age >= age_ms(one.age_min)),
        one.age_max is None or (facts.published_ms >= 0 and age <= age_ms(one.age_max)),
    ]
    return all(conditions)


def may_show(document: Document, item_id: str, facts: ItemFacts, now_ms: int) -> bool:
    """Whether filters, ``allow`` and ``deny`` let lists show an item."""
    if item_id in document.deny or (document.allow and item_id not in document.allow):
        return False
    return matches(document.filters, facts, now_ms)


def cap_of(document: Document, category: str) -> int | None:
    """Return the most items of a category in a list, None for any number."""
    return document.caps.get(category, document.caps.get(EACH_CATEGORY))


def exceeds(document: Document, items: Sequence[ItemFacts]) -> str | None:
    """Return a category of which a list has more items than its cap, None for none."""
    counts = Counter(name for facts in items for name in dict.fromkeys(facts.categories))
    over = [name for name, n in counts.items() if n > (cap_of(document, name) or n)]
    return min(over, default=None)


def breaches(
    document: Document, listed: Sequence[str], catalogue: Mapping[str, ItemFacts], now_ms: int, list_size: int
) -> Iterator[str]:
    """Yield each way in which a list breaks the rules, in words.

    Parameters
    ----------
    listed : item ids by place
    catalogue : the items that lists may show, apart from rules
    now_ms : when the list was made
    list_size : of the deployment
    """
    size = document.list_size or list_size
    if len(listed) > size:
        yield f"{len(listed)} items, list_size {size}"
    if len(set(listed)) < len(listed):
        yield "an item twice"
    for item_id in listed:
        if item_id in catalogue and not may_show(document, item_id, catalogue[item_id], now_ms):
            yield f"{item_id!r} is denied"
    facts = [catalogue[item_id] for item_id in listed if item_id in catalogue]
    if over := exceeds(document, facts):
        yield f"more than {cap_of(document, over)} of {over!r}"
    held: list[ItemFacts] = []
    for pin in sorted(document.pins, key=lambda pin: pin.place):
        known = catalogue.get(pin.item)
        if known is None or pin.place > size or not may_show(document, pin.item, known, now_ms):
            continue
        if exceeds(document, [*held, known]):
            continue
        held.append(known)
        at = listed.index(pin.item) + 1 if pin.item in listed else None
        is_moved_up = len(listed) < size and at is not None and at <= pin.place
        if at != pin.place and not is_moved_up:
            yield f"{pin.item!r} at place {at}, pinned at {pin.place}"
