"""Writes an evaluation's result: ``report.json`` for programs, ``report.html`` for people.

The page needs no other file. It leaves out the parts whose key the result lacks, so that a short
run and a full one have the same writer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.files.atomic import replace_file
from streams.printable import printable_json
from tools.reports.examples import examples_section
from tools.reports.html import NONE, Detailed, Section, Table, any_table, as_text, facts, figure, page, section, table
from tools.reports.metrics import METRICS, MODELS, OURS, metric_keys, metric_name, model_name
from tools.reports.plain import as_plain
from tools.reports.reliability import merged_bins
from tools.reports.svg import Bar, bar_plot, line_plot, reliability_plot
from tools.reports.verdict import DECIDES, verdict

#: The ablation's row without any removal: what the others are compared with, on the same cases.
WHOLE: Final = "nothing"
SIGMOID: Final = {
    "n": "pairs",
    "positive_share": "share of positives",
    "threshold": "threshold",
    "accuracy": "accuracy of the decision at the threshold",
    "precision": "precision of that decision",
    "recall": "recall of that decision",
    "f1": "F1 of that decision",
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
INTERVAL: Final = (
    "95 % interval",
    "percentile bootstrap over users; a lead's interval is that of the paired differences",
)

LEAK: Final = "Leak: the artifact was trained on events as late as those asked here. These numbers are too good."


def write_report(directory: Path, result: dict[str, Any], titles: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write ``report.json`` and ``report.html`` into a directory; safe to repeat.

    The directory is made if need be.

    Parameters
    ----------
    titles : of items, by id; the examples show the id of an item without one
    result : as ``headrace evaluate`` makes it. numpy's numbers and arrays become plain ones; NaN
        and infinity, which JSON has not, become null. Every part may be missing.

    Notes
    -----
    Each file is replaced as a whole: a reader sees the old or the new one, never a half.
    """
    plain = as_plain(result)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False)
    replace_file(directory / "report.json", f"{printable_json(text)}\n".encode())
    replace_file(directory / "report.html", as_page(plain, titles).encode())


def as_page(result: Mapping[str, Any], titles: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the page of a result in JSON's types."""
    log = _part(result, "data").get("log")
    title = f"headrace: evaluation on {log}" if log else "headrace: evaluation"
    named = partial(any_table, name_of=_name_of, ours=model_name(OURS))
    sections = [
        *_models(_part(result, "models")),
        examples_section(result.get("examples"), titles),
        _ablation(result),
        _sigmoid(_part(result, "sigmoid")),
        _curves(_part(result, "curves")),
        section("Missing features", named("By share or kind of what is missing.", "missing", result.get("missing"))),
        section("Cold start", named("By what is known of the user or the item.", "cold", result.get("cold"))),
        _circumstances(result),
    ]
    return page(title, sections, LEAK if result.get("leaks") else "", verdict(result), _rests_on(result))


def _rests_on(result: Mapping[str, Any]) -> str:
    """Return what the verdict rests on: the cases, and what the numbers are."""
    cases = result.get("cases")
    noun = "case" if cases == 1 else "cases"
    same = f"The same {cases:,} {noun}" if isinstance(cases, int) else "The same cases"
    return f"{same} for every model; the numbers are the 95 % interval of the difference. What each metric is stands below the models."


def _name_of(key: str) -> str:
    return metric_name(key) if key in METRICS else model_name(key)


def _models(models: Mapping[str, Any]) -> list[Section | None]:
    """Return the models with their metrics, and what each of the metrics is."""
    bars = [_bar(model_name(name), values, DECIDES, is_ours=name == OURS) for name, values in _rows(models)]
    decides = metric_name(DECIDES)
    plot = bar_plot(f"{decides} of each model", [bar for bar in bars if bar], decides)
    shown = metric_keys(key for _, values in _rows(models) for key in values)
    meanings = [(METRICS[key].name, METRICS[key].meaning) for key in shown if key in METRICS]
    return [
        section(
            "Models",
            figure(plot, f"{decides} of each model, ours in colour. The whisker is the 95 % interval."),
            _metric_table("Each model on the same cases.", "model", models, model_name(OURS)),
        ),
        section("What each number is", facts("Metrics and intervals.", [*meanings, INTERVAL] if meanings else [])),
    ]


def _ablation(result: Mapping[str, Any]) -> Section | None:
    ablation = _part(result, "ablation")
    reference = _part(ablation, WHOLE) or _part(_part(result, "models"), OURS)
    full = _number(reference.get("ndcg@10"))
    changed = {name: _with_change(values, full) for name, values in _rows(ablation)}
    bars = [_bar(name, values, "ndcg@10_change") for name, values in changed.items() if name != WHOLE]
    plot = bar_plot("Change of NDCG@10 without each part", [bar for bar in bars if bar], metric_name("ndcg@10_change"))
    return section(
        "Ablation",
        figure(plot, f"{METRICS['ndcg@10_change'].meaning}. Left of 0: the part helps."),
        _metric_table(f"{model_name(OURS)} without one source or feature.", "without", changed),
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
    bins = merged_bins([(a, b, c) for a, b, c in rows])
    named = [(name, as_text(sigmoid[key])) for key, name in SIGMOID.items() if key in sigmoid]
    return section(
        "Probabilities of the sigmoid",
        facts(f"On held-out pairs of user and item; {NONE} is not defined.", named),
        figure(
            reliability_plot("Observed share by mean predicted probability", bins),
            "Reliability. On the dashed line, what is predicted happens as often as predicted. A larger dot is more "
            "pairs, a whisker the 95 % interval (Wilson); neighbouring bins with few pairs are merged.",
        ),
        table(
            "The bins of the plot.",
            ("mean predicted", "observed share", "95 % interval", "pairs"),
            [(one.mean, one.share, [one.low, one.high], int(one.cases)) for one in bins],
        ),
    )


def _curves(curves: Mapping[str, Any]) -> Section | None:
    """Return a plot of each curve; a name of the form "NDCG@10 by epoch" names both axes."""
    figures = []
    for name, curve in curves.items():
        points = [
            (p[0], p[1]) for p in curve or [] if isinstance(p, list) and len(p) == 2 and None not in map(_number, p)
        ]
        if name in MODELS:
            y_label, x_label = metric_name("hr@10"), "questions"
            caption = f"{model_name(name)}: moving average of {y_label}."
        else:
            caption, (y_label, _, x_label) = f"{name}.", name.partition(" by ")
        figures.append(figure(line_plot(caption, points, x_label or "step", y_label), caption))
    return section("Curves", *figures)


def _circumstances(result: Mapping[str, Any]) -> Section | None:
    of_data = [(name, _part(result, "data").get(name)) for name in ("log", "events", "users", "items")]
    seed = result.get("seed")
    of_run = {key: result.get(key) for key in CIRCUMSTANCES}
    of_run["seed"] = None if seed is None else str(seed)  # a name: its digits are not grouped
    seconds = [(name, _seconds(value)) for name, value in _part(result, "seconds").items()]
    left_out = _part(result, "baselines_left_out").items()
    return section(
        "How it was measured",
        facts("Data, protocol, machine.", of_data + [(CIRCUMSTANCES[key], value) for key, value in of_run.items()]),
        table("Time of each stage.", ("stage", "seconds"), seconds),
        table("Baselines that were left out.", ("baseline", "why"), [(model_name(n), why) for n, why in left_out]),
    )


def _metric_table(caption: str, first: str, rows: Mapping[str, Any], ours: str | None = None) -> Table | None:
    """Return a table of metrics; an interval stands behind its metric, in the same column."""
    kept = _rows(rows)
    keys = metric_keys(key for _, values in kept for key in values)
    header = [first, *map(metric_name, keys)]
    cells = [[model_name(name), *(_with_interval(values, key) for key in keys)] for name, values in kept]
    return table(caption, header, cells, ours)


def _with_interval(values: Mapping[str, Any], key: str) -> str | Detailed:
    text, ends = as_text(values.get(key)), _interval(values.get(f"{key}_ci"))
    return Detailed(text, as_text(ends)) if ends else text


def _bar(name: str, values: Mapping[str, Any], key: str, *, is_ours: bool = False) -> Bar | None:
    value, ends = _number(values.get(key)), _interval(values.get(f"{key}_ci"))
    low, high = ends or (None, None)
    return None if value is None else Bar(name, value, low, high, is_ours)


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
