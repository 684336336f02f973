"""Whether a list may hold an item that its user has had: never, after a time, or always.

A behaviour hides its item for a time, which depends on the behaviour's type::

    never     for ever
    after 7d  until 7 days after the behaviour
    always    not at all

An item is in no list while one of its behaviours hides it. Ages count back from the user's newest
behaviour and not from the wall clock, so a replay gives the lists that living through it gave.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from models.base.event_types import NOT

#: ``hides_ms`` of a behaviour that hides its item for ever, and of one that does not hide it.
FOR_EVER: Final = 1 << 62
NOT_AT_ALL: Final = 0
UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
#: The greatest time after ``after``: ten years.
MAX_AFTER_MS: Final = 3_650 * UNITS_MS["d"]
#: From this share of repeats on, a shop should decide whether its lists may hold them.
MANY_REPEATS: Final = 0.2
#: The name of the policy for types without one of their own.
DEFAULT: Final = "default"
LIMIT: Final = 'never, always, or after a time from 1s to 3650d, such as "after 7d" (units d, h, m, s)'
_AFTER: Final = re.compile(r"after ([1-9][0-9]{0,9})([dhms])")


@dataclass(frozen=True)
class Repeats:
    """For how long a behaviour hides its item, by the behaviour's type.

    Parameters
    ----------
    default_ms : ms, of every type that ``by_type`` does not name
    by_type : names of event types, rising, each with its ms. The type ``not NAME`` of a window
        follows NAME
    """

    default_ms: int = FOR_EVER
    by_type: tuple[tuple[str, int], ...] = ()

    @cached_property
    def _ms_of(self) -> dict[str, int]:
        return dict(self.by_type)

    @cached_property
    def longest_ms(self) -> int:
        """The longest time for which any behaviour hides its item."""
        return max(self.default_ms, *(ms for _, ms in self.by_type), 0)

    @property
    def is_never(self) -> bool:
        """Whether every behaviour hides its item for ever."""
        return self.default_ms >= FOR_EVER and all(ms >= FOR_EVER for _, ms in self.by_type)

    def hides_ms(self, name: str) -> int:
        """Return for how many ms a behaviour of this type hides its item.

        Parameters
        ----------
        name : a type as windows name it
        """
        found = self._ms_of.get(name)
        return self._ms_of.get(name.removeprefix(NOT), self.default_ms) if found is None else found

    def hides_beyond(self, reach_ms: int) -> bool:
        """Return whether items that have left a window are hidden.

        Of such an item only a hash is known, neither a type nor a time. It is at least as old as
        the window's oldest behaviour, and every type is possible: it is hidden unless the longest
        time has passed since that behaviour.

        Parameters
        ----------
        reach_ms : from the oldest behaviour of the window to the newest; 0 for an empty window
        """
        return reach_ms < self.longest_ms

    def hidden_items(self, window: Sequence[tuple[str, str, int]]) -> set[str]:
        """Return the items that the behaviours of a window hide at the time of the newest one.

        Parameters
        ----------
        window : ``(item_id, type, ts_ms)``, oldest first
        """
        if not window or self.longest_ms <= NOT_AT_ALL:
            return set()
        newest_ms, ms_of = window[-1][2], {name: self.hides_ms(name) for name in {one[1] for one in window}}
        return {item_id for item_id, name, ts_ms in window if newest_ms - ts_ms < ms_of[name]}

    def as_plain(self) -> dict[str, str]:
        """Return the table from which :func:`repeats_of` makes the same."""
        return {DEFAULT: policy_text(self.default_ms)} | {name: policy_text(ms) for name, ms in self.by_type}

    def __str__(self) -> str:
        default, *others = self.as_plain().items()
        return ", ".join([default[1], *(f"{name}={text}" for name, text in others)])


#: Every item that the user has had is hidden: what lists do unless somebody decides otherwise.
NO_REPEATS: Final = Repeats()
ALL_REPEATS: Final = Repeats(NOT_AT_ALL)


def policy_ms(text: object, field: str = DEFAULT) -> int:
    """Return for how many ms a policy hides an item.

    Parameters
    ----------
    text : ``never``, ``always`` or such as ``after 7d``
    field : the name of the value in an error

    Raises
    ------
    ValueError
        For any other value, with field, value and limit.
    """
    if text == "never":
        return FOR_EVER
    if text == "always":
        return NOT_AT_ALL
    found = _AFTER.fullmatch(text) if isinstance(text, str) else None
    ms = int(found[1]) * UNITS_MS[found[2]] if found else 0
    if not 0 < ms <= MAX_AFTER_MS:
        shown = repr(text)
        raise ValueError(f"{field}={shown if len(shown) <= 80 else shown[:77] + '...'} must be {LIMIT}")
    return ms


def policy_text(ms: int) -> str:
    """Return the words of a policy, in the greatest unit that gives a whole number."""
    if ms >= FOR_EVER:
        return "never"
    if ms <= NOT_AT_ALL:
        return "always"
    unit, size = next((unit, size) for unit, size in UNITS_MS.items() if ms % size == 0)
    return f"after {ms // size}{unit}"


def repeats_of(table: Mapping[str, object]) -> Repeats:
    """Return the policies of a table: ``default`` and names of event types, each with a policy.

    Without ``default`` the types that the table does not name are ``never``.

    Raises
    ------
    ValueError
        For a value that is not a policy.
    """
    found = {name: policy_ms(text, name) for name, text in table.items()}
    default_ms = found.pop(DEFAULT, FOR_EVER)
    return Repeats(default_ms, tuple(sorted(found.items())))


def read_repeats(text: str) -> Repeats:
    """Return the policies of one line: ``always``, or such as ``never, view=always``.

    Raises
    ------
    ValueError
        For a part that is not a policy, or a name that is given twice.
    """
    table: dict[str, object] = {}
    for part in text.split(","):
        name, has_name, policy = part.partition("=")
        name, policy = (name.strip(), policy.strip()) if has_name else (DEFAULT, name.strip())
        if name in table:
            raise ValueError(f"{name}={policy!r} must be given once")
        table[name] = policy
    return repeats_of(table)
