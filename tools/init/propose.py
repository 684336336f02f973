"""Proposes what each file is and which columns it is read from, for all files together.

The files explain each other: the log's column whose values are the catalogue's ids is the column
of the items, whatever its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.init.choose import choose_items, choose_log, choose_users
from tools.init.kinds import kind_of, kind_scores
from tools.init.profile import Column
from tools.init.tables import Chosen, Kind, Table

_NO_KIND: Final = "no log, catalogue or users: no columns that fit, by name or by content"
_WORDS: Final = {"log": "looks like a log", "items": "looks like a catalogue", "users": "looks like users"}


@dataclass(frozen=True)
class Part:
    """What one table is, and the columns that its fields are read from.

    Parameters
    ----------
    preset : the preset that reads the table; empty where the columns are named one by one
    """

    kind: Kind
    table: Table
    chosen: Chosen
    preset: str = ""

    def column_of(self, name: str) -> Column | None:
        """Return the column of a field, None where it has none."""
        choice = self.chosen.of(name)
        return None if choice is None else self.table.column(choice.column)

    def missing(self) -> list[str]:
        """Return the fields that the kind needs and that have no column; a log may lack times."""
        needed = {"log": ("user_id", "item_id"), "items": ("item_id", "title"), "users": ("user_id",)}
        return [name for name in needed.get(self.kind, ()) if not self.chosen.has(name)]


@dataclass(frozen=True)
class Proposal:
    """What is proposed for some files.

    Parameters
    ----------
    log, items, users : None where no file is of the kind
    unused : name of a file that nothing will read, and why
    """

    log: Part | None = None
    items: Part | None = None
    users: Part | None = None
    unused: list[tuple[str, str]] = field(default_factory=list)

    def parts(self) -> list[Part]:
        """Return the parts that there are: log, items, users."""
        return [part for part in (self.log, self.items, self.users) if part is not None]

    def strangers(self) -> list[str]:
        """Return a line for each pair of files that share no id although they should."""
        lines = []
        for part, name, what in ((self.items, "item_id", "items"), (self.users, "user_id", "users")):
            if self.log is not None and part is not None and not _values(self.log, name) & _values(part, name):
                lines.append(
                    f"{part.table.name} has none of the {what} of {self.log.table.name}: are they of one shop, and {name} "
                    "the right column of both?"
                )
        return lines


def propose(tables: Sequence[Table], known: Sequence[Part] = ()) -> Proposal:
    """Return the proposal for the tables of all files.

    Parameters
    ----------
    known : parts that a preset reads; the first of each kind counts
    """
    taken = {part.table.paths for part in known}
    rest = [table for table in tables if table.paths not in taken]
    by_preset = {part.kind: part for part in reversed(known)}
    unused = [
        (part.table.name, f"{by_preset[part.kind].table.name} is read")
        for part in known
        if part not in by_preset.values()
    ]
    by_kind: dict[Kind, list[Table]] = {"log": [], "items": [], "users": [], "unknown": []}
    for table in rest:
        by_kind[kind_of(table)].append(table)
    unused += [(table.name, _NO_KIND if table.n_rows else "no rows") for table in by_kind["unknown"]]
    log = by_preset.get("log")
    log_table = log.table if log else _largest(by_kind["log"], "log", unused)
    items = by_preset.get("items")
    items_table = None if items else _catalogue(by_kind["items"], log_table, unused)
    items = items or (None if items_table is None else _items(items_table, log_table))
    users = by_preset.get("users")
    users_table = None if users else _largest(by_kind["users"], "users", unused)
    users = users or (None if users_table is None else Part("users", users_table, choose_users(users_table)))
    if log is None and log_table is not None:
        log = Part("log", log_table, choose_log(log_table, _ids(items), _ids(users)))
    if users_table is not None and log is not None:
        users = Part("users", users_table, choose_users(users_table, _values(log, "user_id")))
    return _complete(Proposal(log, items, users, unused))


def _complete(proposal: Proposal) -> Proposal:
    """Return the proposal without parts that lack a column they need.

    It names the file of such a part as no use.
    """
    found: dict[str, Part | None] = {"log": proposal.log, "items": proposal.items, "users": proposal.users}
    unused = list(proposal.unused)
    for kind, part in found.items():
        if part is not None and (lacking := part.missing()):
            unused.append((part.table.name, f"{_WORDS[kind]}, but no column is its {' or '.join(lacking)}"))
            found[kind] = None
    return Proposal(found["log"], found["items"], found["users"], unused)


def _items(table: Table, log: Table | None) -> Part:
    """Return the columns of a catalogue, its ids those that the log's columns have."""
    first = choose_items(table)
    if log is None:
        return Part("items", table, first)
    user = choose_log(log).of("user_id") if log.has_header else None
    columns = [column for column in log.columns if column.is_id and not (user and column.name == user.column)]
    named = choose_log(log).of("item_id") if log.has_header else None
    keys = [column for column in table.columns if column.is_id and column.uniqueness >= 0.98]
    pairs = [(key.overlap(column.ids), column) for key in keys for column in columns]
    best = max(pairs, key=lambda pair: pair[0], default=None)
    if best is None or best[0] < 0.01:
        return Part("items", table, first)
    ids = log.column(named.column).ids if named else best[1].ids
    if named and max((key.overlap(ids) for key in keys), default=0.0) < best[0] / 4:
        ids = best[1].ids
    return Part("items", table, choose_items(table, ids))


def _catalogue(tables: list[Table], log: Table | None, unused: list[tuple[str, str]]) -> Table | None:
    """Return the table that is the catalogue of the log: the one with titles and the log's ids."""
    if not tables:
        return None

    def fit(table: Table) -> tuple[bool, float, float]:
        part = _items(table, log)
        item = part.column_of("item_id")
        ids = [] if log is None or item is None else [item.overlap(column.ids) for column in log.columns]
        return part.chosen.has("title"), max(ids, default=0.0), kind_scores(table)["items"]

    best = max(tables, key=fit)
    if not fit(best)[0]:
        unused += [(table.name, "a catalogue without titles; join it with a file that has them") for table in tables]
        return None
    for table in tables:
        if table is not best:
            why = f"{best.name} is the catalogue: it has titles" if not fit(table)[0] else f"{best.name} suits better"
            unused.append((table.name, why))
    return best


def _largest(tables: list[Table], kind: Kind, unused: list[tuple[str, str]]) -> Table | None:
    """Return the table for which most speaks; of equals, the one with most rows."""
    if not tables:
        return None
    best = max(tables, key=lambda table: (kind_scores(table)[kind], table.n_rows))
    unused += [(table.name, f"{best.name} is the better {kind}") for table in tables if table is not best]
    return best


def _ids(part: Part | None) -> frozenset[str]:
    """Return the ids of a catalogue, or of users."""
    if part is None:
        return frozenset()
    return _values(part, "item_id" if part.kind == "items" else "user_id")


def _values(part: Part, name: str) -> frozenset[str]:
    column = part.column_of(name)
    return frozenset() if column is None else column.ids
