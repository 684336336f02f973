"""The rules document: what a shop may say about its lists, as plain values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from models.rules.repeats import UNITS_MS

#: Most characters of an id or of a category, as in the records of ``items``.
MAX_NAME: Final = 2_000
#: Most items of a list, as the setting ``list_size``.
MAX_LIST_SIZE: Final = 600
#: Greatest factor of a boost; the least factor of a bury is one divided by it.
MAX_FACTOR: Final = 1_000.0
#: In ``caps``, every category without a cap of its own.
EACH_CATEGORY: Final = "*"
_AGE: Final = re.compile(r"([1-9][0-9]{0,8})([dhms])")


class Selector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which items a rule is about: those that meet every condition.

    An item whose record lacks the field that a condition asks about does not meet the condition.

    Parameters
    ----------
    categories : the item's ``category``, or one of its ``categories``, is one of these
    not_categories : none of them is one of these
    tags : one of the item's tags is one of these
    not_tags : none of them is one of these
    price_min, price_max : bounds of the price, both inclusive
    available : True: the item's record must say that the item is available
    age_min, age_max : bounds of the time since ``published_ts``, such as ``"36h"``, both inclusive
    """

    categories: tuple[str, ...] = ()
    not_categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    available: bool | None = None
    age_min: str | None = None
    age_max: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no condition."""
        plain = msgspec.to_builtins(self)
        return not plain.keys() - {"factor"}


class Weight(Selector, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A boost or a bury: the scores of the items that it selects are multiplied.

    Parameters
    ----------
    factor : above 1 for a boost, between 0 and 1 for a bury
    items : ids; the rule is about these items alone
    """

    factor: float
    items: tuple[str, ...] = ()


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item at a fixed place of each list, from 1."""

    item: str
    place: int


class Diversity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much lists avoid items that resemble each other.

    Parameters
    ----------
    strength : above 0 and below 1; what one likeness costs beside the score, both in shares of the
        list's best
    """

    strength: float


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of items that the user was shown, where the events say so.

    Parameters
    ----------
    not_again_within : an item that was shown is in no list for so long after, such as ``"2h"``
    decay : above 0 and below 1; the score of an item that the user never had is multiplied by it
        for each time that the item was shown
    """

    not_again_within: str | None = None
    decay: float | None = None


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The rules of one scenario.

    Parameters
    ----------
    list_size : items of a list; None for the deployment's setting
    exploration : share of a list's places that go to items drawn by chance, from 0, below 1
    deny : ids that no list shows
    allow : ids; where there are any, lists show no others
    filters : lists show only the items that it selects
    pins : items at fixed places
    boosts, buries : factors on the scores
    caps : category to the most items of it in one list; ``"*"`` for every other category
    diversity : None for lists by score alone
    repeats : event type, or ``default``, to ``never``, ``always`` or ``after 7d``; None where the
        document says nothing about repeats
    shown : what becomes of items that the user was shown; None for nothing
    """

    list_size: int | None = None
    exploration: float = 0.0
    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    filters: Selector = Selector()
    pins: tuple[Pin, ...] = ()
    boosts: tuple[Weight, ...] = ()
    buries: tuple[Weight, ...] = ()
    caps: Mapping[str, int] = {}
    diversity: Diversity | None = None
    repeats: Mapping[str, str] | None = None
    shown: Shown | None = None


def age_ms(text: str) -> int:
    """Return the milliseconds of an age such as ``"36h"``: days, hours, minutes or seconds.

    Raises
    ------
    ValueError
        For any other text.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: must be a whole number and d, h, m or s, such as 90d or 36h")
    return int(found[1]) * UNITS_MS[found[2]]


def version_of(text: str) -> str:
    """Return the version of a rules document that lists name: 12 digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def as_plain(document: Document) -> dict[str, Any]:
    """Return a document as plain data, without what it does not say."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain
