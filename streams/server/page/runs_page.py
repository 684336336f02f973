"""The page of runs: reports of evaluations, drills and replays side by side, from a folder.

A report is what a command printed with ``--json``: a file whose only, or last, line is a JSON
object.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from litestar import Response, get
from litestar.params import FromQuery

from streams.server.gate.callers import needs
from streams.server.page.frame.forms import Asked
from streams.server.page.frame.shell import show
from streams.server.parts.server import TheServer

#: Newest reports that are read, and bytes of each.
MAX_FILES: Final = 200
MAX_BYTES: Final = 4 << 20
MAX_COLUMNS: Final = 24
MAX_TEXT: Final = 60
#: The served pipeline among the models of an evaluation.
OURS: Final = "pipeline"
#: The longest pause that a fault of a drill made.
LONGEST_PAUSE: Final = "downtime_s.max"
#: What comes first of a report of each kind; other numbers follow.
FIRST: Final[dict[str, tuple[str, ...]]] = {
    "evaluation": ("artifact", "preset", "encoder", "epochs", "date"),
    "drill": ("kind", "seed", "workers", "rate", "events", "lost", "wrong_windows", "wrong_lists", "duplicate_lists",
              LONGEST_PAUSE, "restarts", "problems"),
    "replay": ("run", "read", "sent", "skipped", "seconds"),
    "other": (),
}  # fmt: skip


class Run(NamedTuple):
    """A report.

    Parameters
    ----------
    name : of its file, without the suffix
    kind : ``evaluation``, ``drill``, ``replay`` or ``other``
    group : what runs must share to be compared
    values : by column
    models : of an evaluation: by model, by metric
    """

    name: str
    kind: str
    group: str
    values: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]


class Table(NamedTuple):
    """Runs that can be compared.

    Parameters
    ----------
    rows : name of each run, and its cell in each column
    """

    kind: str
    group: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@get("/page/runs", guards=[needs("read")])
async def runs_page(request: Asked, server: TheServer, run: FromQuery[str] = "") -> Response[bytes]:
    """Return the tables of all runs, and one run in full."""
    folder = server.settings.server.serve_runs_dir
    runs, left_out = await asyncio.to_thread(read_runs, folder) if folder else ([], [])
    one = next((found for found in runs if found.name == run), None)
    full = (
        None
        if one is None
        else tables([Run(name, "evaluation", "", values, {}) for name, values in one.models.items()])
    )
    return show(request, "runs", folder=folder, tables=tables(runs), left_out=left_out, one=one, full=full)


def read_runs(folder: str) -> tuple[list[Run], list[str]]:
    """Return the newest reports of a folder, newest first, and the names of files that are none."""
    try:
        with os.scandir(folder) as entries:
            files = [one for one in entries if one.name.endswith(".json")]
            found = [(one.stat(follow_symlinks=False), one.name) for one in files]
    except OSError as exc:
        return [], [f"{folder}: {exc.strerror}"]
    regular = [(at.st_mtime, name) for at, name in found if stat.S_ISREG(at.st_mode) and at.st_size <= MAX_BYTES]
    left_out = sorted({name for _, name in found} - {name for _, name in regular})
    runs = []
    for _, name in sorted(regular, reverse=True)[:MAX_FILES]:
        report = _report(Path(folder, name))
        if report is None:
            left_out.append(name)
        else:
            runs.append(run_of(name.removesuffix(".json"), report))
    return runs, left_out


def _report(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text("utf-8").strip()
        for part in (text, text.rpartition("\n")[2]):
            try:
                found = json.loads(part)
            except (ValueError, RecursionError):
                continue
            return found if isinstance(found, dict) else None
    except (OSError, UnicodeDecodeError):
        pass
    return None


def run_of(name: str, report: Mapping[str, Any]) -> Run:
    """Return a report as a run."""
    models = report.get("models")
    if isinstance(models, dict) and isinstance(models.get(OURS), dict) and "protocol" in report:
        known = {one: found for one, found in models.items() if isinstance(found, dict)}
        data = report.get("data")
        log = data.get("log", "") if isinstance(data, dict) else ""
        words = (log, report["protocol"], report.get("targets"), f"ties {report.get('ties')}", report.get("policy"))
        group = ", ".join(str(word) for word in (*words, f"n={report.get('cases')}") if word)
        values = {key: report.get(key) for key in FIRST["evaluation"]} | known[OURS]
        return Run(name, "evaluation", group, values, known)
    if {"kind", "problems"} <= report.keys():
        pauses = report.get("downtime_s")
        longest = pauses.get("max") if isinstance(pauses, dict) else pauses
        return Run(name, "drill", "", {**report, LONGEST_PAUSE: longest}, {})
    return Run(name, "replay" if {"run", "sent"} <= report.keys() else "other", "", report, {})


def tables(runs: Iterable[Run]) -> list[Table]:
    """Return runs as tables, one for each kind and group."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.kind, run.group), []).append(run)
    return [_table(kind, group, members) for (kind, group), members in sorted(groups.items())]


def _table(kind: str, group: str, runs: Sequence[Run]) -> Table:
    first = [key for key in FIRST[kind] if any(run.values.get(key) is not None for run in runs)]
    others = dict.fromkeys(
        key
        for run in runs
        for key, value in run.values.items()
        if key not in FIRST[kind] and is_number(value) and not key.endswith("_ts")
    )
    columns = [*first, *others][:MAX_COLUMNS]
    return Table(kind, group, columns, [(run.name, [cell(run.values.get(key)) for key in columns]) for run in runs])


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def cell(value: Any) -> str:
    """Return a value as people read it; of a list, how many it has."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case float() if math.isfinite(value):
            return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
        case str():
            return value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT - 1]}…"
        case list():
            return str(len(value))
    return "-"
