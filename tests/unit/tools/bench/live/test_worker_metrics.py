"""Percentiles of a worker's stage times, from two looks at its page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from streams.health.counters import Metrics
from tools.bench.live.worker_metrics import stage_counts
from tools.workers.process import Worker


def test_percentiles_are_of_the_samples_between_two_looks() -> None:
    metrics = Metrics()
    worker = cast(Worker, SimpleNamespace(metrics=metrics.as_prometheus))
    metrics.stages.add("queue", [5_000.0] * 100)
    earlier = stage_counts(worker)
    metrics.stages.add("queue", [0.1] * 50 + [45.0] * 50)
    found = stage_counts(worker).since(earlier).quantiles()
    assert found["score"] == {"mean": None, "p50": None, "p90": None, "p99": None}
    assert found["queue"] == {"mean": 22.55, "p50": 0.2, "p90": 48.0, "p99": 49.8}
