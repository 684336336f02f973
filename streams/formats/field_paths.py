"""Finds values in nested records by path: ``properties.products[].product_id``.

::

    a.b                  the field b of the object a
    a[].b                b of each element of the list a: one record becomes several rows
    a[key=session].b     b of the first element of the list a whose field key is the text "session"
    a.b|c                the first of the paths that has a value

A field whose whole name is the text of the path wins, so a column named ``a.b`` or ``a|b`` is found
by its name. A missing branch gives None. A text on the way that holds a JSON object or list is
taken as what it holds, because many exports keep nested values as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

#: Most elements of a list that one record may become: a list that somebody made must not fill the
#: memory.
MAX_ELEMENTS: Final = 10_000
#: Most steps of a path.
MAX_STEPS: Final = 32
_PART: Final = re.compile(r"(?P<key>[^.\[\]]+)(?P<brackets>(?:\[[^\]]*\])*)(?:\.|\Z)")
_BRACKET: Final = re.compile(r"\[([^\]]*)\]")
_SHOWN: Final = 60


class PathError(ValueError):
    """A path is no path, or leads through a value of the wrong kind; the message is one line."""


@dataclass(frozen=True, slots=True)
class Where:
    """A step to the first element of a list whose field ``key`` has the text ``value``."""

    key: str
    value: str


Step = str | Where


@dataclass(frozen=True, slots=True)
class FieldPath:
    """One path.

    Parameters
    ----------
    text : as the user wrote it
    to_list : the steps to the list of ``[]``; None for a path without one
    steps : the steps to the value: from the record, or from each element of the list
    """

    text: str
    to_list: tuple[Step, ...] | None
    steps: tuple[Step, ...]

    @property
    def list_text(self) -> str:
        """Return the part of the text that names the list of ``[]``; empty without one."""
        return "" if self.to_list is None else self.text.partition("[]")[0]

    @property
    def root(self) -> str:
        """Return the field of the record at which the path begins."""
        first = (self.to_list or self.steps)[0]
        assert isinstance(first, str)
        return first

    @property
    def is_plain(self) -> bool:
        """Whether the path is the name of a field."""
        return self.to_list is None and len(self.steps) == 1

    def find(self, record: Mapping[str, Any]) -> Any:
        """Return the value of a path without ``[]``; None where a branch is missing.

        Raises
        ------
        PathError
            When a value on the way is neither an object nor a list, as the path needs it.
        """
        found = record.get(self.text)
        if found is not None or self.is_plain:
            return found
        return walk(record, self.steps, self.text)

    def elements(self, record: Mapping[str, Any]) -> Sequence[Any]:
        """Return the elements of the list of ``[]``; none where it is missing.

        Raises
        ------
        PathError
            When the value is no list, or has more than :data:`MAX_ELEMENTS` elements.
        """
        assert self.to_list is not None
        name = self.list_text
        found = _opened(walk(record, self.to_list, name) if name not in record else record[name])
        if found is None:
            return ()
        if not isinstance(found, list | tuple):
            raise PathError(f"{name}[]: {name} is {_kind(found)}, not a list; write the path without []")
        if len(found) > MAX_ELEMENTS:
            raise PathError(f"{name}[]: {len(found)} elements, limit {MAX_ELEMENTS}; split the record")
        return found


def parse_path(text: str) -> FieldPath:
    """Return the path in a text.

    Raises
    ------
    PathError
        When the text is no path, or has two ``[]``.
    """
    steps: list[Step] = []
    to_list: tuple[Step, ...] | None = None
    at = 0
    while at < len(text) or not at:
        part = _PART.match(text, at)
        if part is None:
            raise PathError(f"{text!r} is no path; write it as a.b, a[].b or a[key=name].b")
        at = part.end()
        steps.append(part["key"])
        for bracket in _BRACKET.findall(part["brackets"]):
            if bracket:
                steps.append(_where(text, bracket))
            elif to_list is not None:
                raise PathError(f"{text!r} has two []; a record becomes the elements of one list")
            else:
                to_list, steps = tuple(steps), []
    if text.endswith(".") or len(steps) > MAX_STEPS:
        raise PathError(f"{text!r} ends in a dot or has more than {MAX_STEPS} steps; write it as a.b")
    return FieldPath(text, to_list, tuple(steps))


def parse_paths(text: str) -> tuple[FieldPath, ...]:
    """Return the paths between which ``|`` stands, as they are tried."""
    return tuple(parse_path(part.strip()) for part in text.split("|"))


def walk(value: Any, steps: Sequence[Step], text: str) -> Any:
    """Follow the steps from a value; ``text`` names the path in messages."""
    for step in steps:
        value = _opened(value)
        if value is None:
            return None
        value = _element(value, step, text) if isinstance(step, Where) else _field(value, step, text)
    return value


def _field(value: Any, key: str, text: str) -> Any:
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # a map of Parquet
    if not isinstance(value, Mapping):
        hint = f"; write {key!r} behind [] for each element" if isinstance(value, list) else ""
        raise PathError(f"{text}: {_kind(value)} has no field {key!r}{hint}")
    return value.get(key)


def _element(value: Any, step: Where, text: str) -> Any:
    if not isinstance(value, list | tuple):
        raise PathError(f"{text}: [{step.key}={step.value}] needs a list, found {_kind(value)}")
    for element in value:
        if isinstance(element, Mapping) and str(element.get(step.key)) == step.value:
            return element
    return None


def _opened(value: Any) -> Any:
    """Return what a text of JSON holds, where it holds an object or a list; else the value."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return value
    return value


def _kind(value: Any) -> str:
    """Return the value and its kind, shortened, for a message."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _where(text: str, bracket: str) -> Where:
    key, equals, value = bracket.partition("=")
    if not (key.strip() and equals):
        raise PathError(f"{text!r}: [{bracket}] is neither [] nor [key=name]")
    return Where(key.strip(), value.strip().strip("'\""))
