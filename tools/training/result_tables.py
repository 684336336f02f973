"""The results of ``train`` and ``evaluate`` as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from streams.printable import counted
from tools.cli import ResultTable
from tools.reports.metrics import OURS, metric_keys, metric_name, model_name
from tools.reports.progress_lines import duration
from tools.reports.verdict import verdict

#: How a training names the metrics of recent popularity, beside those of the model.
_POPULARITY = "recent_popularity_"


def of_training(result: Mapping[str, Any]) -> list[str | ResultTable]:
    """Return what ``headrace train`` reports: what it read, what it made, and how good that is."""
    share = result["catalogue_share"]
    facts = [
        ("artifact", str(result["artifact"])),
        ("folder", str(result["out"])),
        ("events", f"{result['events']:,}"),
        ("users", f"{result['users']:,}"),
        ("items", f"{result['items']:,}"),
        ("items in the catalogue", "no catalogue" if share is None else f"{share:.1%}"),
        ("epochs", f"{result['epochs']:,}"),
        ("items come back", str(result["repeats"])),
        ("time", duration(result["seconds"])),
    ]
    found = result["metrics"]
    keys = metric_keys(key for key in found if f"{_POPULARITY}{key}" in found)
    parts: list[str | ResultTable] = [ResultTable("trained", (), facts)]
    if keys:
        rows = [
            [model_name(OURS), *(f"{found[key]:.4f}" for key in keys)],
            [model_name("recent_popularity"), *(f"{found[_POPULARITY + key]:.4f}" for key in keys)],
        ]
        which = "of the log's end" if result["has_times"] else "at random"
        title = f"on {counted(int(found['n']), 'event')} {which}, which the first fit did not see"
        parts.append(ResultTable(title, ["model", *map(metric_name, keys)], rows, model_name(OURS)))
    return parts


def of_evaluation(result: Mapping[str, Any]) -> list[str | ResultTable]:
    """Return the output of ``headrace evaluate``: verdict, metrics of each model, limits."""
    models = result["models"]
    keys = metric_keys(key for values in models.values() for key in values)
    rows = [[model_name(name), *(_cell(values.get(key)) for key in keys)] for name, values in models.items()]
    table = ResultTable(_protocol(result), ["model", *map(metric_name, keys)], rows, model_name(OURS))
    return [*verdict(result), table, *_limits(result)]


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) and math.isfinite(value) else "-"


def _protocol(result: Mapping[str, Any]) -> str:
    policy = result["policy"]
    masked = "masked" if result["masked"] else "kept" if policy == "always" else f"by policy {policy!r}"
    cases = counted(result["cases"], "target")
    return f"{result['protocol']}, full ranking, seen items {masked}, ties {result['ties']}, {cases}"


def _limits(result: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of the numbers, a line each."""
    lines = [f"{model_name(name)} is left out: {why}" for name, why in result.get("baselines_left_out", {}).items()]
    if result["protocol"] == "loo":
        lines.append("leave-one-out: every model knows later events of other users, as in published protocols")
    if result["repeats"] and result["masked"]:
        lines.append(
            f"{counted(result['repeats'], 'target')} the user had before: lists leave such items out, so every model misses them"
        )
    if result["leaks"]:
        remedy = "--leave-out last" if result["protocol"] == "loo" else "--until"
        lines.append(
            f"the artifact was trained on the events that it must find, so its results are too good; train with {remedy}, or use --train"
        )
    return lines
