"""Stage times: every stage is on the page from the start, and no sample gets lost."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from streams.health.counters import Metrics
from streams.health.metric_names import App
from streams.health.stage_times import BUCKETS_MS, RECOMMENDER_STAGES, SEQUENCER_STAGES

STAGES: dict[App, tuple[str, ...]] = {"sequencer": SEQUENCER_STAGES, "recommender": RECOMMENDER_STAGES}


def shown(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """Return the page's samples of stages by name, stage and bound."""
    return {
        (sample.name, sample.labels["stage"], sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(metrics.as_prometheus())
        if family.name == "headrace_stage_ms"
        for sample in family.samples
    }


def test_every_stage_of_an_app_is_there_from_the_start() -> None:
    """A series that comes later has no rate for its first samples."""
    for app, stages in STAGES.items():
        found = shown(Metrics(app))
        assert {stage for _, stage, _ in found} == set(stages)
        assert set(found.values()) == {0.0}


def test_a_batch_counts_as_its_samples_alone() -> None:
    """At a bound, between two, above the last, and below 0, where a clock is behind."""
    samples = [-5.0, 0.2, 0.3, 300.0, 300.1, 1e9]
    one, all_at_once = Metrics(), Metrics()
    all_at_once.stages.add("queue", samples)
    for sample in samples:
        one.stages.add_batch("queue", max(0.0, sample), 1)
    found = shown(all_at_once)
    assert found == shown(one)
    assert found["headrace_stage_ms_count", "queue", ""] == 6
    assert found["headrace_stage_ms_bucket", "queue", "0.2"] == 2
    assert found["headrace_stage_ms_bucket", "queue", "300.0"] == 4
    assert found["headrace_stage_ms_bucket", "queue", f"{float(BUCKETS_MS[-1])}"] == 5
    assert found["headrace_stage_ms_bucket", "queue", "+Inf"] == 6
    assert math.isclose(found["headrace_stage_ms_sum", "queue", ""], 0.2 + 0.3 + 300.0 + 300.1 + 1e9)


def test_a_batch_without_events_adds_nothing() -> None:
    metrics = Metrics()
    metrics.stages.add("window", [])
    assert set(shown(metrics).values()) == {0.0}
