"""Counts the rows that cannot be used, and shows a few of each kind.

It refuses a log whose rows are mostly bad.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from streams.errors import InputError, RecordError
from streams.printable import counted
from tools.cli import say
from tools.files.cells.type_words import map_types

#: How many rows of each group are shown by default; a million bad rows must not bury the terminal.
SHOWN_BAD: Final = 5
#: How many examples of a group the result names.
N_EXAMPLES: Final = 3
#: The most unknown types that are counted by name; further ones are counted together.
MAX_TYPES: Final = 1_000
SHOWN_TYPES: Final = 8
#: A log is refused where it has more bad rows than ``MAX_BAD`` and their share is above
#: ``MAX_BAD_SHARE``: then the user has given wrong columns or a wrong time unit.
MAX_BAD: Final = 1_000
MAX_BAD_SHARE: Final = 0.5


@dataclass
class RefusedGroup:
    """Rows that were refused for the same reason in the same field, with the first ones of them."""

    field: str
    reason: str
    n: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    def in_words(self) -> str:
        """Return what a line calls the group."""
        return f"{self.field or 'row'}, {self.reason}" if self.reason else "refused"


class RefusedRows:
    """Counts refused rows by field and reason, and shows the first ones of each group.

    Types that the contract does not know are told once, with their counts, by :meth:`summary`.

    Parameters
    ----------
    what : what the rows are called, in the plural
    shown : how many of each group are shown; 0 shows nothing at all

    Attributes
    ----------
    n : rows refused so far
    first, last : place and reason of the first and of the last one; empty before the first
    types : unknown type to the number of its rows
    left_out : why a mapping leaves records out that are not wrong, to the number of such records
    """

    def __init__(self, what: str = "bad rows", shown: int = SHOWN_BAD) -> None:
        self._what = what
        self._shown = shown
        self._groups: dict[tuple[str, str], RefusedGroup] = {}
        self._notes: dict[str, None] = {}
        self._known: Collection[str] = ()
        self.n = 0
        self.first = ""
        self.last = ""
        self.types: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def refuse(self, place: str, reason: object) -> None:
        """Count a row, and show where it stands and why it was refused.

        Parameters
        ----------
        reason : a :class:`~streams.errors.RecordError` names its group; other texts are one group
        """
        group = self._count(place, reason)
        if group.n <= self._shown:
            say(self.last, style="yellow")
        if group.n == self._shown:
            say(f"{self._shown} {self._what} shown ({group.in_words()}): further ones are counted, not shown")

    def refuse_type(self, place: str, kind: str, known: Collection[str]) -> None:
        """Count a row whose type the contract does not know; :meth:`summary` tells of it.

        Parameters
        ----------
        known : the contract's types
        """
        self._known = known
        self._count(place, RecordError("value", "type", f"{kind!r} is none of {', '.join(known)}; map it with --types"))
        self.types[kind if kind in self.types or len(self.types) < MAX_TYPES else "(others)"] += 1

    def leave_out(self, reason: str) -> None:
        """Count a record that is not wrong, but that a mapping leaves out."""
        self.left_out[reason if reason in self.left_out or len(self.left_out) < MAX_TYPES else "(others)"] += 1

    def tell(self, line: str) -> None:
        """Keep a line about the log for :meth:`summary`.

        A second line of the same text is not kept.
        """
        self._notes[line] = None

    def check(self, n_read: int, name: str) -> None:
        """Raise :class:`InputError` where most of the rows of a log were refused.

        Parameters
        ----------
        n_read : rows so far, the refused ones among them
        name : what the message calls the log
        """
        if self.n > MAX_BAD and self.n > MAX_BAD_SHARE * n_read:
            told = self.types_line() or "check --columns, --types and --time-unit"
            raise InputError(
                f"{name}: {self.n} of {n_read} rows are bad, more than {MAX_BAD} and {MAX_BAD_SHARE:.0%}; "
                f"last: {self.last}; {told}"
            )

    def groups(self) -> list[RefusedGroup]:
        """Return the groups, the largest first."""
        return sorted(self._groups.values(), key=lambda group: -group.n)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the groups for ``--json``: field, reason, count and first examples of each."""
        return [
            {"field": group.field, "reason": group.reason, "n": group.n, "examples": group.examples}
            for group in self.groups()
        ]

    @property
    def exit_code(self) -> int:
        """Return 1 where a row was refused, else 0.

        Each command that reads rows exits with this code.
        """
        return 1 if self.n else 0

    def result(self) -> dict[str, Any]:
        """Return what ``--json`` says of the rows that were not used."""
        return {
            "refused": self.n,
            "groups": self.as_json(),
            "unknown_types": dict(self.types.most_common()),
            "left_out": dict(self.left_out.most_common()),
        }

    def types_line(self) -> str:
        """Return which unknown types the log has, and the option that maps them; or ``""``."""
        if not self.types:
            return ""
        common = self.types.most_common(SHOWN_TYPES)
        more = f" and {len(self.types) - SHOWN_TYPES} more" if len(self.types) > SHOWN_TYPES else ""
        found = ", ".join(f"{kind} {n:,}" for kind, n in common)
        return f"types in the file: {found}{more}; map them: --types {map_types([kind for kind, _ in common], self._known)}"

    def summary(self) -> list[str]:
        """Return lines for the end of a command.

        They say how the log was read, and what was left out and refused.
        """
        return [*self._notes, *self._left_out_lines(), *self._refused_lines()]

    def say_summary(self) -> None:
        """Show :meth:`summary` to people, what was refused in colour."""
        for line in [*self._notes, *self._left_out_lines()]:
            say(line, style="dim")
        for line in self._refused_lines():
            say(line, style="yellow")

    def _left_out_lines(self) -> list[str]:
        if not self.left_out:
            return []
        common = self.left_out.most_common(SHOWN_TYPES)
        more = f" and {len(self.left_out) - SHOWN_TYPES} more" if len(self.left_out) > SHOWN_TYPES else ""
        told = ", ".join(f"{reason}: {n:,}" for reason, n in common)
        return [f"{counted(self.left_out.total(), 'record')} left out by the mapping: {told}{more}"]

    def _refused_lines(self) -> list[str]:
        if not self.n:
            return []
        lines = [
            f"  {group.in_words()}: {group.n:,}, first at {group.examples[0]}"
            for group in self.groups()
            if (group.field, group.reason) != ("type", "value") or not self.types
        ]
        n_types = sum(self.types.values())
        if n_types:
            lines.append(f"  type, value: {n_types:,}; {self.types_line()}")
        return [f"{counted(self.n, 'row')} refused:", *lines]

    def _count(self, place: str, reason: object) -> RefusedGroup:
        self.n += 1
        self.last = f"{place}: {reason}"
        self.first = self.first or self.last
        key = (reason.field, reason.reason) if isinstance(reason, RecordError) else ("", "")
        group = self._groups.setdefault(key, RefusedGroup(*key))
        group.n += 1
        if len(group.examples) < N_EXAMPLES:
            group.examples.append(self.last)
        return group
