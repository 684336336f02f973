"""Says in words how headrace compares with the other models of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from tools.reports.metrics import OURS, PARTS, metric_name, model_name

#: The metric that decides; its lead over each model has an interval.
DECIDES: Final = "ndcg@10"


def verdict(result: Mapping[str, Any]) -> list[str]:
    """Return the verdict: the models that ours beats, equals and loses to.

    The parts of our model are left out.

    A lead whose 95 % interval lies above 0 is better, below 0 worse, and level otherwise. Without
    leads there is nothing to say.

    Parameters
    ----------
    result : of an evaluation; ``lead`` has by model ``ndcg@10_lead_ci``, the ends of the interval
    """
    leads = result.get("lead")
    ends = {name: _ends(values) for name, values in leads.items()} if isinstance(leads, Mapping) else {}
    known = {model_name(name): found for name, found in ends.items() if found and name not in PARTS}
    better = {name: found for name, found in known.items() if found[0] > 0}
    worse = {name: found for name, found in known.items() if found[1] < 0}
    level = [name for name in known if name not in better and name not in worse]
    ours, metric = model_name(OURS), metric_name(DECIDES)
    lines = []
    if better:
        lines.append(f"{ours} is better than {_joined([_by(*pair) for pair in _nearest_first(better)])} {metric}.")
    if level:
        lines.append(f"{ours} is level with {_joined(level)}: the difference may be chance.")
    if worse:
        lines.append(f"{ours} is worse than {_joined([_by(*pair) for pair in _nearest_first(worse)])} {metric}.")
    return lines


def _nearest_first(models: Mapping[str, tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """Return the models by the size of the difference: the strongest rival is named first."""
    return sorted(models.items(), key=lambda pair: abs(pair[1][0] + pair[1][1]))


def _by(name: str, ends: tuple[float, float]) -> str:
    low, high = sorted(map(abs, ends))
    return f"{name} by {low:.3f} to {high:.3f}"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ends(values: Any) -> tuple[float, float] | None:
    """Return the ends of a lead's interval; None for one that is not there."""
    ends = values.get(f"{DECIDES}_lead_ci") if isinstance(values, Mapping) else None
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        return None
    if not all(isinstance(end, float) and math.isfinite(end) for end in ends):
        return None
    return ends[0], ends[1]
