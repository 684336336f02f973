"""The table of event types: what a shop's users do, and what each kind of event means.

::

    [event_types]                       in a window        counts as
    view = {}                           "view"             positive, weight 1
    "加购" = { weight = 3 }             "加购"             positive, weight 3
    rating = { positive_when = ">= 4" } "rating"           positive where its value is 4 or more
                                        "not rating"       else not positive
    dislike = { hides = true }          "dislike"          not positive; the item is in no list
    impression = { window = false }     (in no window)     nothing

A window names its behaviours in words, so neither a record nor an artifact depends on the order of
the table. :class:`EventTypes` is the table, as events are checked by it; :class:`WindowTypes` are
the names in windows, as models learn them.

Models may not import the contract, and commands that import the contract must not load NumPy. So
this module loads neither.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

MAX_TYPES: Final = 64
MAX_NAME_LENGTH: Final = 32
MAX_WEIGHT: Final = 1_000.0
#: Before the name of a type whose rule an event does not keep. No name in a table begins so.
NOT: Final = "not "
#: The type of an event without a type, and of one in a window that an artifact does not know.
VIEW: Final = "view"
#: ``weight`` of a type whose events weigh their own ``value``.
BY_VALUE: Final = "value"
_RULE: Final = re.compile(r"(>=|<=|==|>|<) ?(-?[0-9]{1,12}(?:\.[0-9]{1,6})?)")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_WEIGHT_LIMIT: Final = f"a number from 0 to {MAX_WEIGHT:g}"


class TableError(ValueError):
    """A table of event types that cannot be used.

    Parameters
    ----------
    field : the place of the value below ``event_types``, such as ``.dislike.weight``
    value : what stands there
    limit : what must stand there, in words that follow "must be"
    """

    def __init__(self, field: str, value: object, limit: str) -> None:
        super().__init__(f"event_types{field}={_shown(value)} must be {limit}")


class EventType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of event.

    Parameters
    ----------
    weight : how much an event counts in popularity, next-item counts, item neighbours and matrix
        factorisation; ``"value"`` takes the event's own value, within ``least`` and ``most``
    positive : whether an event is a wish for the item. Only such events are what models predict and
        count. None means yes for a type that enters the window and does not hide its item
    window : whether an event enters the window; one that does not changes no list
    hides : whether the item is left out of all later lists of the user
    positive_when : rule by which the event's value decides, such as ``>= 4``; an event without a
        value does not keep it
    least, most : bounds of a weight by value; an event without a value weighs ``least``
    shown : whether an event says that the item was shown to the user. Such a type does not enter
        the window; the window remembers what was shown, for rules
    """

    weight: float | str = 1.0
    positive: bool | None = None
    window: bool = True
    hides: bool = False
    positive_when: str = ""
    least: float = 0.0
    most: float | None = None
    shown: bool = False

    @property
    def can_be_positive(self) -> bool:
        """Whether there are positive events of this type."""
        return self.window and not self.hides if self.positive is None else self.positive

    def keeps_rule(self, value: float | None) -> bool:
        """Return whether a value keeps ``positive_when``; without a rule every value does."""
        if not self.positive_when:
            return True
        found = _RULE.fullmatch(self.positive_when)
        assert found is not None  # the table is checked
        return value is not None and _COMPARE[found[1]](value, float(found[2]))

    def weight_of(self, value: float | None) -> float:
        """Return the weight of an event with this value."""
        if isinstance(self.weight, str):
            found = self.least if value is None else value
            return min(max(found, self.least), MAX_WEIGHT if self.most is None else self.most)
        return self.weight


class WindowType(msgspec.Struct, frozen=True):
    """One name in windows, as an artifact stores it.

    Parameters
    ----------
    weight : of a behaviour in a window, which has no value: for a type that weighs by value, the
        mean in the log that the artifact is trained on
    """

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH + len(NOT))]
    weight: Annotated[float, Meta(ge=0, le=MAX_WEIGHT)] = 1.0
    positive: bool = True


@dataclass(frozen=True)
class WindowTypes:
    """The names in windows; an artifact's row of a type is its place here.

    Parameters
    ----------
    left_out : further names that a window may hold and that models must not see: types of the
        deployment that the artifact does not know and that are not positive
    """

    types: tuple[WindowType, ...]
    left_out: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, by row."""
        return tuple(one.name for one in self.types)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each name."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def fallback(self) -> int:
        """The row that unknown types take: that of ``view``, else of the first positive type."""
        first = next((row for row, one in enumerate(self.types) if one.positive), 0)
        return self.row_of.get(VIEW, first)

    @cached_property
    def is_all_positive(self) -> bool:
        """Whether every behaviour in a window is positive."""
        return not self.left_out and all(one.positive for one in self.types)

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all types are positive and weigh 1."""
        return self.is_all_positive and all(one.weight == 1.0 for one in self.types)

    def is_known(self, name: str) -> bool:
        """Return whether models may see a behaviour of this type."""
        return name not in self.left_out and (name in self.row_of or not name.startswith(NOT))

    def row(self, name: str) -> int:
        """Return the row of a type; one that the artifact does not know takes :attr:`fallback`."""
        return self.row_of.get(name, self.fallback)

    def is_positive(self, name: str) -> bool:
        """Return whether a behaviour of this type is a wish for the item."""
        return self.is_known(name) and self.types[self.row(name)].positive

    def beside(self, deployment: WindowTypes) -> WindowTypes:
        """Return these types for windows of a deployment with other types."""
        strangers = (one.name for one in deployment.types if one.name not in self.row_of and not one.positive)
        return WindowTypes(self.types, frozenset(strangers))


@dataclass(frozen=True)
class EventTypes:
    """A checked table; :func:`event_types` makes one."""

    table: tuple[tuple[str, EventType], ...]

    @cached_property
    def by_name(self) -> dict[str, EventType]:
        """Each type by its name on ``events``."""
        return dict(self.table)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that an event may have."""
        return tuple(self.by_name)

    @cached_property
    def default_name(self) -> str:
        """The type of a log's row without a type: ``view``, else the first positive type."""
        return VIEW if VIEW in self.by_name else next(name for name, one in self.table if one.can_be_positive)

    @cached_property
    def window_types(self) -> WindowTypes:
        """The names in windows; a type that weighs by value has the weight of no value."""
        rows = []
        for name, one in self.table:
            if one.window:
                rows.append(WindowType(name, one.weight_of(None), one.can_be_positive))
            if one.window and one.positive_when:
                rows.append(WindowType(NOT + name, 0.0, positive=False))
        return WindowTypes(tuple(rows))

    @cached_property
    def is_plain(self) -> bool:
        """Whether every event enters the window under its own name and hides nothing."""
        return all(one.window and not one.hides and not one.positive_when for _, one in self.table)

    def window_name(self, name: str, value: float | None) -> str | None:
        """Return the name of an event in a window; None where it does not enter.

        Raises
        ------
        KeyError
            For a type that is not in the table.
        """
        one = self.by_name[name]
        if not one.window:
            return None
        return name if one.keeps_rule(value) else NOT + name

    def as_plain(self) -> dict[str, dict[str, Any]]:
        """Return the table as plain objects, from which :func:`event_types` makes it again."""
        plain = msgspec.to_builtins(EventType())
        return {
            name: {field: value for field, value in msgspec.to_builtins(one).items() if value != plain[field]}
            for name, one in self.table
        }


def event_types(table: object) -> EventTypes:
    """Return the checked table of names and what each means.

    Parameters
    ----------
    table : name to a mapping with the fields of :class:`EventType`, as TOML and JSON give it

    Raises
    ------
    TableError
        For a name or a value outside its limits, fields that contradict each other, or a table
        without any positive type.
    """
    if not isinstance(table, Mapping) or not 1 <= len(table) <= MAX_TYPES:
        raise TableError("", table, f"a table of 1 to {MAX_TYPES} types, each NAME = {{}}")
    found = EventTypes(tuple((name, _checked(name, fields)) for name, fields in table.items()))
    if not any(one.can_be_positive for _, one in found.table):
        raise TableError("", list(found.names), "a table with at least one positive type")
    return found


def _checked(name: object, fields: object) -> EventType:
    if not (
        isinstance(name, str)
        and 1 <= len(name) <= MAX_NAME_LENGTH
        and name.isprintable()
        and name == name.strip()
        and not name.startswith(NOT)
        and not set(name) & set(",=")
    ):
        limit = (
            f"1 to {MAX_NAME_LENGTH} printable characters without ',' and '=', not blank at an end, not after {NOT!r}"
        )
        raise TableError(f".{_shown(name)}", name, f"a name of {limit}")
    try:
        one = msgspec.convert(fields, EventType)
    except msgspec.ValidationError as exc:
        known = ", ".join(EventType.__struct_fields__)
        raise TableError(f".{name}", fields, f"a table with {known} alone ({exc})") from None
    _check_weight(name, one)
    if one.positive_when and not _RULE.fullmatch(one.positive_when):
        limit = "a comparison with a number, such as '>= 4'; of >=, >, <=, <, =="
        raise TableError(f".{name}.positive_when", one.positive_when, limit)
    if one.positive and (one.hides or not one.window):
        why = "hides = true" if one.hides else "window = false"
        raise TableError(f".{name}.positive", True, f"false or absent beside {why}")
    if one.shown and (one.window or one.hides):
        why = "hides = true" if one.hides else "window = true, the default"
        raise TableError(f".{name}.shown", True, f"false or absent beside {why}")
    if one.positive_when and not one.can_be_positive:
        raise TableError(f".{name}.positive_when", one.positive_when, "absent where no event of the type is positive")
    return one


def _check_weight(name: str, one: EventType) -> None:
    if isinstance(one.weight, str):
        if one.weight != BY_VALUE:
            raise TableError(f".{name}.weight", one.weight, f'{_WEIGHT_LIMIT}, or "{BY_VALUE}"')
        if one.most is None or not _is_weight(one.most) or not _is_weight(one.least) or one.least > one.most:
            limit = f'numbers from 0 to {MAX_WEIGHT:g} beside weight = "{BY_VALUE}", least at most as great as most'
            raise TableError(f".{name}.least, .most", (one.least, one.most), limit)
    elif not _is_weight(one.weight):
        raise TableError(f".{name}.weight", one.weight, f'{_WEIGHT_LIMIT}, or "{BY_VALUE}"')
    elif one.most is not None or one.least:
        raise TableError(f".{name}.least, .most", (one.least, one.most), f'absent without weight = "{BY_VALUE}"')


def _is_weight(number: float) -> bool:
    return math.isfinite(number) and 0 <= number <= MAX_WEIGHT


def _shown(value: object) -> str:
    """Return a value as one short line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


DEFAULT_TYPES: Final = event_types({"click": {}, "view": {}, "purchase": {}})
