"""The parts of a report's page: sections of tables and figures.

``page.html.j2`` is the page; it escapes every text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

#: A value that is absent, or defined for nothing: an AUC of one class, a mean of no case.
NONE: Final = "–"


class Detailed(NamedTuple):
    """A cell: a value, and smaller below it a detail such as its interval."""

    text: str
    detail: str


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows; without a header it is a list of facts.

    The rows in which ``ours`` stands as a cell have a colour of their own.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    ours: str | None = None


@dataclass(frozen=True)
class Figure:
    """A plot, as SVG whose texts are escaped, with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Entry:
    """One item of a list of an example; ``is_next`` where the user took it next."""

    title: str
    is_next: bool = False


@dataclass(frozen=True)
class Example:
    """A user: what the user had, oldest first, the list, and what came next."""

    user: str
    history: Sequence[str]
    entries: Sequence[Entry]
    outcome: str


Part = Table | Figure | Example


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    parts: Sequence[Part]
    text: str = ""


def page(
    title: str, sections: Iterable[Section | None], warning: str = "", verdict: Sequence[str] = (), below: str = ""
) -> str:
    """Return a whole page of the sections that are there.

    Parameters
    ----------
    verdict : sentences that open the page
    below : what the verdict rests on
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as_text"] = as_text
    kept = [section for section in sections if section]
    return environment.get_template("page.html.j2").render(
        title=title, sections=kept, warning=warning, verdict=verdict, below=below
    )


def section(heading: str, *parts: Part | None, text: str = "") -> Section | None:
    """Return a section of the parts that are there, below a sentence; None where no part is."""
    kept = [part for part in parts if part]
    return Section(heading, kept, text) if kept else None


def figure(svg: str, caption: str) -> Figure | None:
    """Return a plot with its caption; None for an empty plot."""
    return Figure(svg, caption) if svg else None


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]], ours: str | None = None) -> Table | None:
    """Return a table; None without rows."""
    kept = list(rows)
    return Table(caption, header, kept, ours) if kept else None


def facts(caption: str, pairs: Iterable[tuple[str, Any]]) -> Table | None:
    """Return a table of names and values that are not None; None if there is none."""
    return table(caption, (), [pair for pair in pairs if pair[1] is not None])


def any_table(
    caption: str, first: str, data: Any, name_of: Callable[[str], str] = str, ours: str | None = None
) -> Table | None:
    """Return a table of data of unknown form: a list of rows, rows by name, or values by name.

    Parameters
    ----------
    name_of : returns the name for people of a key, or of a text in a cell
    """
    if isinstance(data, Mapping):
        if not any(isinstance(row, Mapping) for row in data.values()):
            return facts(caption, data.items())
        data = [{first: name} | dict(row) for name, row in data.items() if isinstance(row, Mapping)]
    if not isinstance(data, Sequence) or isinstance(data, str):
        return None
    rows = [row for row in data if isinstance(row, Mapping)]
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    cells = [[row.get(name) for name in columns] for row in rows]
    named = [[name_of(cell) if isinstance(cell, str) else cell for cell in row] for row in cells]
    return table(caption, [name_of(name) for name in columns], named, ours)


def as_text(value: Any) -> str:
    """Return a value for people.

    A whole number has its digits in groups, another number below 10 four decimals, an interval
    the form "from to to".
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return " to ".join(as_text(each) for each in value) if value else NONE
    return NONE if value is None else str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
