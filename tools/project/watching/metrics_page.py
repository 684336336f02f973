"""Writes ``docs/watching/metrics.md``, the closed list of metrics, from the names in the code.

Run it with ``python -m tools.project.watching.metrics_page``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streams.health.metric_names import BY_APP, MEASURED_LATER, PREFIX, Described
from streams.server.gate import measures

FOLDER: Final = Path(__file__).parents[3] / "docs" / "watching"
DOCUMENT: Final = FOLDER / "metrics.md"
INTRODUCTION: Final = f"""# Metrics

`python -m tools.project.watching.metrics_page` writes this page from the code.

A worker's `/metrics` shows these and no others. Every series is there, with 0, from the worker's
start, so `rate()` and `increase()` miss no first event. Some come later, because nothing is known
before: `headrace_lag` with the broker's first answer, `headrace_events_total` of a partition when
the worker gets the partition, `headrace_artifact` once the artifact is loaded, and
{", ".join(f"`{PREFIX}{name}`" for name in MEASURED_LATER)} with the first measurement. The server shows what
has the label `route` from the route's first request on. What to do about a value is in
[operations](../operations.md#what-to-watch)."""
#: The metrics of each process, by its title.
TABLES: Final[dict[str, list[Described]]] = {
    **{app.capitalize(): names.described() for app, names in BY_APP.items()},
    "Server": measures.described(),
}
#: What follows a metric's name in a query.
ENDINGS: Final = {"counter": "_total", "gauge": "", "info": "_info", "histogram": ""}


def document() -> str:
    """Return the text of the page: one table for each process."""
    tables = [
        f"## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "\n".join(map(row, metrics))
        for title, metrics in TABLES.items()
    ]
    return "\n\n".join([INTRODUCTION, *tables]) + "\n"


def row(metric: Described) -> str:
    """Return a metric as a row of a table."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{PREFIX}{metric.name}{ENDINGS[metric.kind]}` | {metric.kind} | {labels} | {metric.meaning} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
