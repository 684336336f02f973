"""What the values of a column look like.

It says how many differ, and how many are numbers, times, texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from tools.files.cells.missing import MISSING, parse_words
from tools.init.time_form import TimeForm, find_time_form

_DATE_LIKE: Final = re.compile(r"\d.*[-/.:, ].*\d")
#: Only so many values are looked at one by one; the distinct ones are counted among all.
LOOKED_AT: Final = 2_000
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}(\.0+)?")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_ADDRESS: Final = re.compile(r"(https?:)?//|www\.", re.IGNORECASE)
_PRICE: Final = re.compile(r"[$€£¥￥₹]\s*\d[\d.,\s]*|\d[\d.,\s]*\s*([$€£¥￥₹元]|USD|EUR|CNY|RMB)", re.IGNORECASE)
#: Texts that are no value.
_NOTHING: Final = parse_words(MISSING) | {""}
#: What separates the parts of a cell that holds several, the surest first.
SEPARATORS: Final = ("|", ";", "；", "、", ",", "，", "/")


@dataclass(frozen=True)
class Column:
    """The values of one column in the first rows of a file.

    Parameters
    ----------
    name : the header's name, or the position from 0 as text
    values : raw values in the order of the rows, None where a row has none
    """

    name: str
    values: Sequence[Any]

    @cached_property
    def present(self) -> list[Any]:
        """The values that are there."""
        return [value for value in self.values if value is not None and not (type(value) is str and value in _NOTHING)]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each value comes, as text."""
        return Counter(as_text(value) for value in self.present)

    @cached_property
    def texts(self) -> list[str]:
        """The first present values as text."""
        return [as_text(value) for value in self.present[:LOOKED_AT]]

    @property
    def is_named(self) -> bool:
        """Whether the header names the column."""
        return not self.name.isdecimal()

    @property
    def filled(self) -> float:
        """The share of rows that have a value."""
        return len(self.present) / len(self.values) if self.values else 0.0

    @property
    def n_distinct(self) -> int:
        """How many values differ."""
        return len(self.counts)

    @property
    def uniqueness(self) -> float:
        """The number of distinct values over the number of values: 1 where no value repeats."""
        return self.n_distinct / len(self.present) if self.present else 0.0

    def share(self, test: Callable[[str], object]) -> float:
        """Return the share of the first values, as text, that pass a test; 0 without values."""
        return sum(bool(test(text)) for text in self.texts) / len(self.texts) if self.texts else 0.0

    @cached_property
    def whole(self) -> float:
        """The share of whole numbers."""
        return self.share(_WHOLE.fullmatch)

    @cached_property
    def number(self) -> float:
        """The share of numbers."""
        return self.share(_NUMBER.fullmatch)

    @cached_property
    def price(self) -> float:
        """The share of amounts with a currency."""
        return self.share(lambda text: _PRICE.fullmatch(text.strip()))

    @cached_property
    def address(self) -> float:
        """The share of web addresses."""
        return self.share(_ADDRESS.match)

    @cached_property
    def words(self) -> float:
        """The share of texts as people write them: with a blank between letters, or with Han."""
        return self.share(is_prose)

    @cached_property
    def han(self) -> float:
        """The share of values with a Chinese character."""
        return self.share(has_han)

    @cached_property
    def mean_length(self) -> float:
        """The mean number of characters."""
        return sum(map(len, self.texts)) / len(self.texts) if self.texts else 0.0

    @cached_property
    def separator(self) -> str | None:
        """What separates the parts of the values, None where most values have one part."""
        for separator in SEPARATORS:
            if self.share(lambda text, s=separator: s in text.strip(s)) >= 0.3:  # type: ignore[misc]
                return separator
        return None

    @cached_property
    def time_form(self) -> TimeForm | None:
        """How the values write times; None where they are no times."""
        if self.words > 0.5 and not self.share(_DATE_LIKE.search) > 0.5:
            return None
        return find_time_form(self.present)

    @property
    def is_id(self) -> bool:
        """Whether the values can be ids.

        Ids are in nearly every row, short, not prose, and without fractions.
        """
        return (
            self.filled >= 0.9
            and self.words < 0.2
            and self.address < 0.5
            and self.mean_length <= 64
            and self.whole_or_code
        )

    @property
    def whole_or_code(self) -> bool:
        """Whether the values are whole numbers or codes, and not numbers with a fraction."""
        return self.number - self.whole < 0.05

    def overlap(self, ids: frozenset[str]) -> float:
        """Return the size of the intersection with ``ids`` over the size of the union."""
        both = len(self.ids & ids)
        return both / (len(self.ids) + len(ids) - both) if both else 0.0

    @cached_property
    def ids(self) -> frozenset[str]:
        """The distinct values as ids."""
        return frozenset(as_id(text) for text in self.counts)


def as_text(value: Any) -> str:
    """Return a raw value as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, list):
        return "|".join(map(as_text, value))
    return str(value).strip()


def as_id(text: str) -> str:
    """Return a text as an id: ``29.0`` is 29."""
    head, point, tail = text.partition(".")
    return head if point and head.isdecimal() and tail and not tail.strip("0") else text


def has_han(text: str) -> bool:
    """Return whether a text has a Chinese character."""
    return any("\u4e00" <= char <= "\u9fff" for char in text)


def is_prose(text: str) -> bool:
    """Return whether people wrote a text.

    It has letters on both sides of a blank, or Han.
    """
    return has_han(text) or bool(re.search(r"[^\W\d_]\W* \W*[^\W_]", text))


def depends(item: Column, other: Column) -> bool:
    """Return whether ``other`` is an attribute of ``item``: each item has one value of it.

    That can be seen only where items repeat, and the attribute must have fewer values than there
    are items.
    """
    if not item.counts or other.n_distinct >= item.n_distinct or item.uniqueness > 0.9:
        return False
    found: dict[str, str] = {}
    n_repeats = n_same = 0
    for one, two in zip(item.values, other.values, strict=True):
        if one is None or two is None:
            continue
        key, value = as_text(one), as_text(two)
        if key in found:
            n_repeats += 1
            n_same += found[key] == value
        found[key] = value
    return n_repeats > 0 and n_same / n_repeats >= 0.98
