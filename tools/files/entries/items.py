"""Reads the items of catalogue files as the contract's ``Item``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from streams.contract.records import Item
from streams.errors import RecordError
from streams.formats.topic_fields import time_ms
from tools.files.cells.lists import SEPARATOR
from tools.files.cells.prices import WrittenPrice, decimal_mark, read_price
from tools.files.entries.reader import EntryFiles, Kind, Row
from tools.files.file_options import FileOptions

ITEM_FIELDS: Final = (
    "item_id", "title", "text", "category", "categories", "tags", "price", "features", "relations", "vectors",
    "available", "published_ts", "expires_ts",
)  # fmt: skip
REQUIRED: Final = ("item_id", "title")
#: Fields that only JSON and Parquet hold: the contract checks them as they are.
_OBJECTS: Final = ("relations", "vectors")
_TIMES: Final = ("published_ts", "expires_ts")
_IS_AVAILABLE: Final = dict.fromkeys(("true", "yes", "y", "1", "1.0", "是"), True) | dict.fromkeys(
    ("false", "no", "n", "0", "0.0", "否"), False
)


def item_files(
    paths: Sequence[Path], options: FileOptions, *, separator: str = SEPARATOR, prefix: str = ""
) -> EntryFiles[Item]:
    """Return the files of a catalogue.

    Each item has a ``title``: its id where the title is empty. ``tags`` and ``categories`` are
    lists: see :func:`~tools.files.cells.lists.list_of`. A price is read as a shop writes it:
    :mod:`tools.files.cells.prices`; the prices of all files together decide what ``1,299`` is.
    """
    return EntryFiles(_ITEMS, paths, options, separator, prefix, _decide_prices)


def _fields(item_id: str, row: Row) -> dict[str, Any]:
    """Return the contract's fields of a row; a price is one that is still to be decided."""
    fields: dict[str, Any] = {"title": row.text("title")}
    if not fields["title"]:
        fields["title"] = item_id
        row.replaced("title", "item_id")
    is_list = isinstance(row.raws["category"], list | tuple)
    fields["text"] = row.text("text")
    fields["category"] = None if is_list else row.text("category")
    categories = [*(row.texts("category") if is_list else ()), *row.texts("categories")]
    fields["categories"] = list(dict.fromkeys(categories))
    fields["tags"] = row.texts("tags")
    fields["price"] = _price(row)
    fields["features"] = row.features()
    fields["available"] = _available(row)
    fields |= {name: _time(row, name) for name in _TIMES}
    fields |= {name: row.get(name) for name in _OBJECTS}
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _available(row: Row) -> bool | None:
    """Return whether the item can be had, None where the cell does not tell.

    In that case a line tells the user.
    """
    raw = row.get("available")
    if raw is None or isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word not in _IS_AVAILABLE:
        row.leave_out("available", "are neither true nor false", raw)
    return _IS_AVAILABLE.get(word)


def _time(row: Row, field: str) -> int | None:
    """Return a time in ms since 1970, from such a number or an ISO 8601 text."""
    raw = row.get(field)
    if raw is None:
        return None
    try:
        ms = time_ms(raw, "ms", field)
    except RecordError:
        ms = None
    if not isinstance(ms, int) or isinstance(ms, bool):
        row.leave_out(field, "are neither milliseconds since 1970 nor ISO 8601 times", raw)
        return None
    return ms


def _price(row: Row) -> WrittenPrice | None:
    raw = row.get("price")
    if raw is None:
        return None
    price = read_price(raw)
    if isinstance(price, str):
        row.leave_out("price", price.replace("is", "are", 1), raw)
        return None
    return price


def _decide_prices(items: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Put numbers in the place of written prices.

    Yield a line where nothing tells what a mark means.
    """
    prices = {item_id: fields["price"] for item_id, fields in items.items() if "price" in fields}
    mark = decimal_mark(prices.values())
    for item_id, price in prices.items():
        items[item_id]["price"] = price.value(mark)
    ambiguous = [item_id for item_id, price in prices.items() if price.is_ambiguous]
    if mark is None and ambiguous:
        first = items[ambiguous[0]]["price"]
        other = next(value for value in (prices[ambiguous[0]].point, prices[ambiguous[0]].comma) if value != first)
        yield (
            f"price: {len(ambiguous):,} of {len(prices):,} are {first:,g} or {other:,g}, as in item {ambiguous[0]!r}, and "
            f"no other price tells; read as {first:,g}: write a decimal point if that is wrong"
        )


_ITEMS: Final = Kind("item", Item, ITEM_FIELDS, REQUIRED, _fields, "tag-separator")
