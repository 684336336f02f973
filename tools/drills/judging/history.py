"""What was in force when: the changes of ``headrace drill serve``, as callers may rely on them.

::

    asked ────────── held ─────────────────►
    before   either         what was changed

A question that begins after a change holds must not see what was before; one that ends before the
change was asked for cannot see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

V = TypeVar("V")
NEVER: Final = float("inf")


@dataclass
class Change(Generic[V]):
    """A change of something.

    Parameters
    ----------
    asked_s : before this time nobody knew of it; monotonic clock, as all times
    held_s : from then on it holds on every server; infinite while that is not known
    done_s : from then on the topic has it: a server that starts later has it when it answers
    held_on_s : the same as ``held_s``, by server, where servers learn of it one by one
    """

    value: V
    asked_s: float
    held_s: float = NEVER
    done_s: float = NEVER
    held_on_s: dict[int, float] = field(default_factory=dict)

    def holds(self, server: int, started_s: float, begun_s: float) -> bool:
        """Whether a question to a server must be answered by it.

        Parameters
        ----------
        started_s : when the server's process was started
        begun_s : when the question began
        """
        return begun_s >= min(self.held_s, self.held_on_s.get(server, NEVER)) or started_s >= self.done_s


class History(Generic[V]):
    """The values that something had, one after the other."""

    def __init__(self, first: V) -> None:
        self.changes: list[Change[V]] = [Change(first, -NEVER, -NEVER)]

    @property
    def newest(self) -> V:
        """The value that was asked for last."""
        return self.changes[-1].value

    def ask(self, value: V, now_s: float) -> Change[V]:
        """Note that a change begins."""
        change = Change(value, now_s)
        self.changes.append(change)
        return change

    def possible(self, server: int, started_s: float, begun_s: float, ended_s: float) -> list[V]:
        """Return the values that a question to a server may be answered by, the newest first."""
        found = []
        for change in reversed(self.changes):
            if change.asked_s <= ended_s:
                found.append(change.value)
                if change.holds(server, started_s, begun_s):
                    break
        return found


@dataclass(frozen=True)
class Hidden:
    """Items that no list may show from a change on.

    Parameters
    ----------
    deleted : whose records are removed
    unavailable : whose records say so
    """

    deleted: frozenset[str] = frozenset()
    unavailable: frozenset[str] = frozenset()

    def __contains__(self, item_id: str) -> bool:
        return item_id in self.deleted or item_id in self.unavailable


@dataclass
class Forgotten:
    """The requests to forget users, by user; the value of each is its mark."""

    of_user: dict[str, list[Change[int]]] = field(default_factory=dict)

    def add(self, marks: Mapping[str, int], asked_s: float, done_s: float) -> list[Change[int]]:
        """Note requests, each with its mark in ms since 1970."""
        changes = [Change(mark, asked_s, done_s=done_s) for mark in marks.values()]
        for user, change in zip(marks, changes, strict=True):
            self.of_user.setdefault(user, []).append(change)
        return changes

    def least_mark(self, user: str, server: int, started_s: float, begun_s: float) -> int:
        """Return the mark that a list must be behind: its revision is higher; -1 for none."""
        changes = self.of_user.get(user, ())
        return max((one.value for one in changes if one.holds(server, started_s, begun_s)), default=-1)

    def may_be_forgotten(self, user: str, ended_s: float, revision: int) -> bool:
        """Whether a request that ends a life with this revision was under way at a time."""
        return any(one.asked_s <= ended_s and revision <= one.value for one in self.of_user.get(user, ()))
