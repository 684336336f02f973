"""Writes an evaluation's result: ``report.json`` for programs, ``report.html`` for people.

The page needs no other file. It leaves out the parts whose key the result lacks, so that a short
run and a full one have the same writer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.files.atomic import replace_file
from streams.printable import printable_json
from tools.reports.html import NONE, Section, Table, any_table, as_text, facts, figure, page, section, table
from tools.reports.plain import as_plain
from tools.reports.svg import Bar, bar_plot, line_plot, reliability_plot

#: The served model.
FULL: Final = "pipeline"
#: The ablation's row without any removal: what the others are compared with, on the same cases.
WHOLE: Final = "nothing"
#: Metrics in the order of their columns; any other follows them under its own name.
COLUMNS: Final = {
    "hr@10": "HR@10",
    "ndcg@10": "NDCG@10",
    "mrr@10": "MRR@10",
    "recall@10": "Recall@10",
    "coverage": "Coverage",
    "novelty": "Novelty (bits)",
    "diversity": "Diversity",
    "ndcg@10_change": "Change of NDCG@10",
}
SIGMOID: Final = {
    "n": "pairs",
    "positive_share": "share of positives",
    "threshold": "threshold",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "log_loss": "log loss (nats)",
    "auc": "AUC",
    "ece": "expected calibration error",
    "ece_mass": "expected calibration error, bins of equal count",
}
CIRCUMSTANCES: Final = {
    "protocol": "protocol",
    "ties": "order of events of equal time",
    "cases": "cases",
    "repeats": "repeats (targets that the user had before)",
    "masked": "seen items masked",
    "leaks": "trained on events as late as the cases",
    "seed": "seed",
    "artifact": "artifact",
    "date": "date",
    "machine": "machine",
    "memory_mb": "peak memory (MB)",
}
MEANINGS: Final = (
    ("HR@10", "share of cases whose next item is among the first ten"),
    ("NDCG@10", "1 / log2(1 + rank) of the next item if its rank is at most 10, else 0; mean over cases"),
    ("MRR@10", "1 / rank if the rank is at most 10, else 0; mean over cases"),
    ("Recall@10", "share of the items that were to be found among the first ten; with one target per case it is HR@10"),
    ("Coverage", "share of the catalogue that is in at least one list"),
    ("Novelty", "mean of -log2 of the listed items' shares of all events"),
    ("Diversity", "mean of 1 - cosine over the pairs of items in a list"),
    ("Interval", "95 % percentile bootstrap"),
)

LEAK: Final = "Leak: the artifact was trained on events as late as those asked here. These numbers are too good."


def write_report(directory: Path, result: dict[str, Any]) -> None:
    """Write ``report.json`` and ``report.html`` into a directory, which is made if need be; safe to repeat.

    Parameters
    ----------
    result : as ``headrace evaluate`` makes it. numpy's numbers and arrays become plain ones; NaN and infinity, which JSON has not,
        become null. Every part may be missing.

    Notes
    -----
    Each file is replaced as a whole: a reader sees the old or the new one, never a half.
    """
    plain = as_plain(result)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False)
    replace_file(directory / "report.json", f"{printable_json(text)}\n".encode())
    replace_file(directory / "report.html", as_page(plain).encode())


def as_page(result: Mapping[str, Any]) -> str:
    """Return the page of a result in JSON's types."""
    log = _part(result, "data").get("log")
    title = f"headrace: evaluation on {log}" if log else "headrace: evaluation"
    sections = [
        _models(_part(result, "models")),
        _ablation(result),
        _sigmoid(_part(result, "sigmoid")),
        _curves(_part(result, "curves")),
        section(
            "Missing features", any_table("By share or kind of what is missing.", "missing", result.get("missing"))
        ),
        section("Cold start", any_table("By what is known of the user or the item.", "cold", result.get("cold"))),
        _circumstances(result),
        section("Words", facts("What each number is.", MEANINGS)),
    ]
    return page(title, sections, LEAK if result.get("leaks") else "")


def _models(models: Mapping[str, Any]) -> Section | None:
    bars = [_bar(name, values, "ndcg@10") for name, values in _rows(models)]
    plot = bar_plot("NDCG@10 of each model", [bar for bar in bars if bar], "NDCG@10")
    return section(
        "Models",
        figure(plot, "NDCG@10 of each model. The whisker is the 95 % interval."),
        _metric_table("Each model on the same cases.", "model", models),
    )


def _ablation(result: Mapping[str, Any]) -> Section | None:
    ablation = _part(result, "ablation")
    reference = _part(ablation, WHOLE) or _part(_part(result, "models"), FULL)
    full = _number(reference.get("ndcg@10"))
    changed = {name: _with_change(values, full) for name, values in _rows(ablation)}
    bars = [_bar(name, values, "ndcg@10_change") for name, values in changed.items() if name != WHOLE]
    plot = bar_plot("Change of NDCG@10 without each part", [bar for bar in bars if bar], "change of NDCG@10")
    return section(
        "Ablation",
        figure(plot, "NDCG@10 without a part minus NDCG@10 with all. Left of 0: the part helps."),
        _metric_table("The pipeline without one source or feature.", "without", changed),
    )


def _with_change(values: Mapping[str, Any], full: float | None) -> dict[str, Any]:
    """Return an ablation's row with its change from ``full``, the NDCG with all parts.

    Where neither is known, the change is the middle of its interval.
    """
    own, ends = _number(values.get("ndcg@10")), _interval(values.get("ndcg@10_change_ci"))
    change = values.get("ndcg@10_change")
    if change is None and own is not None and full is not None:
        change = own - full
    if change is None and ends:
        change = sum(ends) / 2
    return dict(values) | ({} if change is None else {"ndcg@10_change": change})


def _sigmoid(sigmoid: Mapping[str, Any]) -> Section | None:
    curve = sigmoid.get("reliability")
    rows = [row for row in curve or [] if isinstance(row, list) and len(row) == 3 and None not in map(_number, row)]
    named = [(name, as_text(sigmoid[key])) for key, name in SIGMOID.items() if key in sigmoid]
    return section(
        "Probabilities of the sigmoid",
        facts(f"On held-out pairs of user and item; {NONE} is not defined.", named),
        figure(
            reliability_plot("Observed share by mean predicted probability", [(a, b, c) for a, b, c in rows]),
            "Reliability. On the dashed line, what is predicted happens as often as predicted; a larger dot is more pairs.",
        ),
        table("The bins of the plot.", ("mean predicted", "observed share", "pairs"), rows),
    )


def _curves(curves: Mapping[str, Any]) -> Section | None:
    """Return a plot of each curve; a name of the form "NDCG@10 by epoch" names both axes."""
    figures = []
    for name, curve in curves.items():
        points = [
            (p[0], p[1]) for p in curve or [] if isinstance(p, list) and len(p) == 2 and None not in map(_number, p)
        ]
        y_label, _, x_label = name.partition(" by ")
        figures.append(figure(line_plot(name, points, x_label or "step", y_label), f"{name}."))
    return section("Curves", *figures)


def _circumstances(result: Mapping[str, Any]) -> Section | None:
    of_data = [(name, _part(result, "data").get(name)) for name in ("log", "events", "users", "items")]
    seed = result.get("seed")
    of_run = {key: result.get(key) for key in CIRCUMSTANCES}
    of_run["seed"] = None if seed is None else str(seed)  # a name: its digits are not grouped
    seconds = [(name, _seconds(value)) for name, value in _part(result, "seconds").items()]
    return section(
        "How it was measured",
        facts("Data, protocol, machine.", of_data + [(CIRCUMSTANCES[key], value) for key, value in of_run.items()]),
        table("Time of each stage.", ("stage", "seconds"), seconds),
    )


def _metric_table(caption: str, first: str, rows: Mapping[str, Any]) -> Table | None:
    """Return a table of metrics; an interval stands behind its metric, in the same column."""
    kept = _rows(rows)
    given = dict.fromkeys(key for _, values in kept for key in values if not key.endswith("_ci"))
    keys = [key for key in COLUMNS if key in given] + [key for key in given if key not in COLUMNS]
    header = [first, *(COLUMNS.get(key, key) for key in keys)]
    return table(caption, header, [[name, *(_with_interval(values, key) for key in keys)] for name, values in kept])


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    ends = _interval(values.get(f"{key}_ci"))
    return as_text(values.get(key)) + (f" ({as_text(ends)})" if ends else "")


def _bar(name: str, values: Mapping[str, Any], key: str) -> Bar | None:
    value, ends = _number(values.get(key)), _interval(values.get(f"{key}_ci"))
    return None if value is None else Bar(name, value, *(ends or (None, None)))


def _rows(part: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, values) for name, values in part.items() if isinstance(values, Mapping)]


def _part(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = result.get(key)
    return part if isinstance(part, Mapping) else {}


def _interval(ends: Any) -> tuple[float, float] | None:
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        return None
    low, high = _number(ends[0]), _number(ends[1])
    return None if low is None or high is None else (low, high)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _seconds(value: Any) -> str:
    number = _number(value)
    return as_text(value) if number is None else f"{number:,.2f}"
