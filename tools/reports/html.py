"""The parts of a self-contained page: its frame and style, tables, figures. Every text is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

#: A value that is absent, or defined for nothing: an AUC of one class, a mean of no case.
NONE: Final = "–"

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5a6675;--paper:#fff;--rule:#d5dae1;--fill:#9db8d9;--mark:#14365f}
@media (prefers-color-scheme:dark){
:root{--ink:#e6e9ee;--soft:#a3adba;--paper:#14181e;--rule:#363d47;--fill:#3f6796;--mark:#d2e3f8}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid var(--rule)}
p.warning{border:2px solid var(--ink);padding:.5rem .8rem;font-weight:600}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
caption,figcaption{text-align:left;color:var(--soft);padding:.3rem 0}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top}
th:first-child,td:first-child,table.facts td{text-align:left}th{font-weight:600}
figure{margin:1.2rem 0}svg{width:100%;height:auto;font:13px system-ui,sans-serif}
svg text{fill:var(--ink)}.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}.bar{fill:var(--fill);stroke:var(--mark)}
.whisker{stroke:var(--mark);stroke-width:2}.curve{fill:none;stroke:var(--mark);stroke-width:2}
.dot{fill:var(--fill);stroke:var(--mark)}.diagonal{fill:none;stroke:var(--soft);stroke-dasharray:5 4}
dt{font-weight:600}dd{margin:0 0 .4rem 1.2rem}
@media print{body{max-width:none;margin:0}figure,table{break-inside:avoid}}
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page in English that loads nothing and runs nothing."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """Return a section of the parts that are there; nothing where none is."""
    kept = [part for part in parts if part]
    return f"<section>\n<h2>{escape(heading)}</h2>\n" + "\n".join(kept) + "\n</section>" if kept else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; ``kind`` is its class in the style sheet."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def figure(svg: str, caption: str) -> str:
    """Return a plot with its caption; nothing for an empty plot."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>" if svg else ""


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table whose first column names its rows; nothing without rows."""
    lines = [
        f'<tr><th scope="row">{escape(as_text(row[0]))}</th>'
        + "".join(f"<td>{escape(as_text(value))}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    ]
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def facts(caption: str, pairs: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values; those whose value is None are left out, and nothing without any."""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(as_text(value))}</td></tr>'
        for name, value in pairs
        if value is not None
    ]
    if not lines:
        return ""
    body = "\n".join(lines)
    return f'<table class="facts"><caption>{escape(caption)}</caption>\n<tbody>\n{body}\n</tbody></table>'


def any_table(caption: str, first: str, data: Any) -> str:
    """Return a table of data whose form is not known: a list of rows by column, rows by name, or values by name."""
    if isinstance(data, Mapping):
        if not any(isinstance(row, Mapping) for row in data.values()):
            return facts(caption, data.items())
        data = [{first: name} | dict(row) for name, row in data.items() if isinstance(row, Mapping)]
    if not isinstance(data, Sequence) or isinstance(data, str):
        return ""
    rows = [row for row in data if isinstance(row, Mapping)]
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    return table(caption, columns, [[row.get(name) for name in columns] for row in rows])


def as_text(value: Any) -> str:
    """Return a value for people: whole numbers in groups, others with four significant decimals, intervals as from and to."""
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
