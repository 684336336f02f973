"""From the text of a rules document to its values, or to one line that says what is wrong where."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from models.rules.document import (
    MAX_FACTOR,
    MAX_LIST_SIZE,
    MAX_NAME,
    Diversity,
    Document,
    Pin,
    Selector,
    Shown,
    Weight,
    age_ms,
)
from models.rules.lines import Path, line_of, lines_of
from models.rules.repeats import repeats_of

#: Bytes of a document in UTF-8: its record must fit into the limit of records.
MAX_BYTES: Final = 60_000
#: Boosts and buries together. Each is one comparison an item when the catalogue changes.
MAX_WEIGHTS: Final = 200
_PLACE: Final = re.compile(r" - at `\$([^`]*)`$")
_PART: Final = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")
_STRUCT_OF: Final[dict[str, type[msgspec.Struct]]] = {
    "": Document,
    "filters": Selector,
    "pins": Pin,
    "boosts": Weight,
    "buries": Weight,
    "diversity": Diversity,
    "shown": Shown,
}


class RulesError(ValueError):
    """A rules document that cannot be used.

    Attributes
    ----------
    line : where, from 1
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


class _Wrong(Exception):
    """What is wrong with the value at a path."""

    def __init__(self, path: Path, message: str) -> None:
        self.path, self.message = path, message


def parse(text: str, list_size: int | None = None) -> Document:
    """Return the values of a rules document.

    Parameters
    ----------
    list_size : of the deployment, for a document that does not set one; None where nobody knows it

    Raises
    ------
    RulesError
        When the text is not TOML, has a key that is not known or a value of the wrong type, or
        contradicts itself. The message names line, field, value, limit and remedy.
    """
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    if n_bytes > MAX_BYTES:
        raise RulesError(1, f"{n_bytes} bytes, limit {MAX_BYTES}; name categories or tags instead of single items")
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _not_toml(text, str(exc)) from exc
    except RecursionError as exc:
        raise RulesError(1, "arrays within arrays, too deep to read; no rule needs more than two levels") from exc
    try:
        document = _converted(plain)
        for path, message in _contradictions(document, document.list_size or list_size):
            raise _Wrong(path, message)
    except _Wrong as wrong:
        raise RulesError(line_of(lines_of(text), wrong.path), wrong.message) from None
    return document


def _not_toml(text: str, message: str) -> RulesError:
    found = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    line = int(found[1]) if found else text.count("\n") + 1
    what = message[: found.start()].strip() if found else message.removesuffix("(at end of document)").strip()
    column = f", column {found[2]}" if found else ""
    return RulesError(line, f"this is not TOML{column}: {what}; correct the line, see docs/rules.md")


def _converted(plain: dict[str, Any]) -> Document:
    """Return the document of plain data, of which every key is known and every type is right."""
    _no_unknown_key(plain, ())
    try:
        return msgspec.convert(plain, Document)
    except msgspec.ValidationError as exc:
        message = str(exc)
        place = _PLACE.search(message)
        where: Path = ()
        if place is not None:
            message = message[: place.start()]
            where = tuple(int(number) if number else name for name, number in _PART.findall(place[1]))
        if "[...]" in (place[1] if place else "") and isinstance(table := plain.get(str(where[0])), dict):
            wanted = int if where[0] == "caps" else str
            name = next(name for name, value in table.items() if type(value) is not wanted)
            where = (where[0], name)
        what = (
            message.replace("Expected", "must be").replace(" | null", "").replace("Object missing", "this misses the")
        )
        for word, told in (("`int`", "a whole number"), ("`float`", "a number"), ("`str`", "text in quotes"),
                           ("`bool`", "true or false"), ("`array`", "a list in brackets"), ("`object`", "a table")):  # fmt: skip
            what = what.replace(word, told)
        raise _Wrong(where, f"{_named(where)}{what}; see docs/rules.md") from exc


def _no_unknown_key(plain: Mapping[str, Any], path: Path) -> None:
    """Refuse a key that no table of the document has, and name the one that was meant."""
    struct = _STRUCT_OF[str(path[0]) if path else ""]
    names = [field.name for field in msgspec.structs.fields(struct)]
    for key, value in plain.items():
        if key not in names:
            near = get_close_matches(key, names, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise _Wrong((*path, key), f"{_named((*path, key))}no such key; {meant}known are {', '.join(names)}")
        if not path and key in _STRUCT_OF:
            tables: list[tuple[Path, dict[str, Any]]] = [((key,), value)] if isinstance(value, dict) else []
            if isinstance(value, list):
                tables = [((key, place), entry) for place, entry in enumerate(value) if isinstance(entry, dict)]
            for where, table in tables:
                _no_unknown_key(table, where)


def _named(path: Path) -> str:
    """Return a path as readers write it, places from 1, with a colon; empty for the document."""
    name = ""
    for part in path:
        name += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if name else part
    return f"{name}: " if name else ""


def _contradictions(document: Document, list_size: int | None) -> Iterator[tuple[Path, str]]:
    """Yield where the document contradicts itself or a limit, and what to do about it."""
    if document.list_size is not None and not 1 <= document.list_size <= MAX_LIST_SIZE:
        yield ("list_size",), f"list_size={document.list_size}: must be between 1 and {MAX_LIST_SIZE}"
    if not 0 <= document.exploration < 1:
        yield ("exploration",), f"exploration={document.exploration}: must be at least 0 and below 1, such as 0.1"
    if document.diversity is not None and not 0 < document.diversity.strength < 1:
        strength = document.diversity.strength
        yield (
            ("diversity", "strength"),
            f"diversity.strength={strength}: must be above 0 and below 1; remove the table for none",
        )
    yield from _names(document)
    yield from _selector(document.filters, ("filters",))
    yield from _lists(document)
    yield from _pins(document, list_size)
    yield from _weights(document)
    for category, most in document.caps.items():
        if most < 1:
            remedy = "to show none, put the category into filters.not_categories"
            yield ("caps", category), f"caps.{category}={most}: must be at least 1; {remedy}"
    if document.shown is not None:
        yield from _shown(document.shown)
    if document.repeats is not None:
        for kind, value in document.repeats.items():
            try:
                repeats_of({kind: value})
            except ValueError as exc:
                yield ("repeats", kind), f"repeats: {exc}"


def _shown(one: Shown) -> Iterator[tuple[Path, str]]:
    if one.not_again_within is None and one.decay is None:
        yield ("shown",), "shown: needs not_again_within, decay or both; remove the table for none"
    if one.not_again_within is not None:
        try:
            age_ms(one.not_again_within)
        except ValueError as exc:
            yield ("shown", "not_again_within"), f"shown.not_again_within: {exc}"
    if one.decay is not None and not 0 < one.decay < 1:
        remedy = "remove the line for no decay"
        yield ("shown", "decay"), f"shown.decay={one.decay}: must be above 0 and below 1, such as 0.9; {remedy}"


def _names(document: Document) -> Iterator[tuple[Path, str]]:
    """Yield the ids, categories and tags that no record can have."""
    tables: list[tuple[Path, Any]] = [((), document), (("filters",), document.filters)]
    tables += [((name, i), one) for name in ("boosts", "buries") for i, one in enumerate(getattr(document, name))]
    for path, table in tables:
        for field in ("deny", "allow", "items", "categories", "not_categories", "tags", "not_tags"):
            for place, name in enumerate(getattr(table, field, ())):
                if not 1 <= len(name) <= MAX_NAME:
                    where = (*path, field, place)
                    yield where, f"{_named(where)}{len(name)} characters; must be 1 to {MAX_NAME}"


def _selector(one: Selector, path: Path) -> Iterator[tuple[Path, str]]:
    for name in ("price_min", "price_max"):
        value = getattr(one, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield (*path, name), f"{_named((*path, name))}{value}; must be a number from 0 on"
    if one.price_min is not None and one.price_max is not None and one.price_min > one.price_max:
        yield (
            (*path, "price_min"),
            f"{_named((*path, 'price_min'))}{one.price_min:g} is above price_max {one.price_max:g}: "
            "no item could match; exchange or correct them",
        )
    yield from _ages(one, path)
    if one.available is False:
        remedy = "write available = true, or remove the line"
        yield (*path, "available"), f"{_named((*path, 'available'))}no list shows an unavailable item; {remedy}"
    for name in ("categories", "tags"):
        both = set(getattr(one, name)) & set(getattr(one, f"not_{name}"))
        if both:
            yield (
                (*path, f"not_{name}"),
                f"{_named((*path, f'not_{name}'))}{min(both)!r} is in {name} too; remove it from one of the two",
            )


def _ages(one: Selector, path: Path) -> Iterator[tuple[Path, str]]:
    ages: list[int] = []
    for name in ("age_min", "age_max"):
        if (text := getattr(one, name)) is not None:
            try:
                ages.append(age_ms(text))
            except ValueError as exc:
                yield (*path, name), f"{_named((*path, name))}{exc}"
    if len(ages) == 2 and ages[0] > ages[1]:
        yield (
            (*path, "age_min"),
            f"{_named((*path, 'age_min'))}{one.age_min} is above age_max {one.age_max}: no item could match; "
            "exchange or correct them",
        )


def _lists(document: Document) -> Iterator[tuple[Path, str]]:
    denied = set(document.deny)
    for name, told in (("allow", "allowed"), ("boosts", "boosted"), ("pins", "pinned")):
        for path, item in _items_of(document, name):
            if item in denied:
                yield path, f"{_named(path)}{item!r} is {told} here and denied by deny; remove it from one of the two"


def _items_of(document: Document, name: str) -> list[tuple[Path, str]]:
    if name == "allow":
        return [((name, place), item) for place, item in enumerate(document.allow)]
    if name == "pins":
        return [((name, place, "item"), pin.item) for place, pin in enumerate(document.pins)]
    return [
        ((name, i, "items", place), item)
        for i, weight in enumerate(document.boosts)
        for place, item in enumerate(weight.items)
    ]


def _pins(document: Document, list_size: int | None) -> Iterator[tuple[Path, str]]:
    places: dict[int, int] = {}
    items: dict[str, int] = {}
    allowed = set(document.allow)
    for i, pin in enumerate(document.pins):
        at: Path = ("pins", i, "place")
        of: Path = ("pins", i, "item")
        most = list_size or MAX_LIST_SIZE
        if not 1 <= len(pin.item) <= MAX_NAME:
            yield of, f"{_named(of)}{len(pin.item)} characters; must be 1 to {MAX_NAME}"
        if not 1 <= pin.place <= most:
            yield at, f"{_named(at)}{pin.place}; must be between 1 and the list's size, {most}"
        if pin.place in places:
            yield at, f"{_named(at)}{pin.place} is the place of pins[{places[pin.place] + 1}]; give each pin its own"
        if pin.item in items:
            yield of, f"{_named(of)}{pin.item!r} is pinned by pins[{items[pin.item] + 1}]; a list shows an item once"
        if allowed and pin.item not in allowed:
            yield of, f"{_named(of)}{pin.item!r} is not in allow, so no list shows it; add it there or remove the pin"
        places[pin.place], items[pin.item] = i, i


def _weights(document: Document) -> Iterator[tuple[Path, str]]:
    n = len(document.boosts) + len(document.buries)
    if n > MAX_WEIGHTS:
        yield ("boosts",), f"{n} boosts and buries, limit {MAX_WEIGHTS}; name several categories or tags in one"
    kinds: Sequence[tuple[str, tuple[Weight, ...], str]] = (
        ("boosts", document.boosts, "a factor below 1 belongs into buries"),
        ("buries", document.buries, "a factor above 1 belongs into boosts"),
    )
    for name, weights, remedy in kinds:
        for i, one in enumerate(weights):
            low, high = (1.0, MAX_FACTOR) if name == "boosts" else (1 / MAX_FACTOR, 1.0)
            inside = low < one.factor <= high if name == "boosts" else low <= one.factor < high
            if not inside:
                bounds = f"above 1, up to {high:g}" if name == "boosts" else f"from {low:g} on, below 1"
                yield (name, i, "factor"), f"{_named((name, i, 'factor'))}{one.factor:g}; must be {bounds}; {remedy}"
            if one.is_empty:
                yield (name, i), f"{_named((name, i))}selects every item, so it moves none; add a condition or items"
            yield from _selector(one, (name, i))
