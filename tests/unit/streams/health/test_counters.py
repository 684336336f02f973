"""The pages show all counts; Prometheus can read them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.health.counters import FRESHNESS_BUCKETS_MS, CounterName, Counts, GaugeName, Metrics

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
COUNTERS = [get_args(literal)[0] for literal, _ in map(get_args, get_args(CounterName))]
GAUGES = [get_args(literal)[0] for literal, _ in map(get_args, get_args(GaugeName))]
BATCH = Counts(read=7, accepted=3, duplicate=2, late=1, rejected=1)


def page(metrics: Metrics) -> dict[str, tuple[str, str, dict[str, float]]]:
    """Return type, meaning and the value of each series by name, as Prometheus reads them."""
    families = text_string_to_metric_families(metrics.as_prometheus())
    return {
        family.name: (
            family.type,
            family.documentation,
            {sample.name + ",".join(sample.labels.values()): sample.value for sample in family.samples},
        )
        for family in families
    }


def test_each_name_has_its_type_and_its_meaning() -> None:
    """Only a counter has a rate, and its name ends with ``_total``."""
    metrics = Metrics()
    for name in COUNTERS:
        metrics.add(name, 2)
    for name in GAUGES:
        metrics.put(name, 3)
    found = page(metrics)
    for name in COUNTERS:
        kind, meaning, series = found[f"headrace_{name}"]
        assert (kind, series) == ("counter", {f"headrace_{name}_total": 2.0}) and meaning
    for name in GAUGES:
        kind, meaning, series = found[f"headrace_{name}"]
        assert (kind, series) == ("gauge", {f"headrace_{name}": 3.0}) and meaning
    assert "_created" not in metrics.as_prometheus()


def test_a_name_without_a_value_is_on_no_page() -> None:
    """A sequencer makes no lists: zero lists would be an alarm."""
    metrics = Metrics()
    metrics.add("lists")
    assert metrics.as_dict()["values"] == {"lists": 1}
    always = {"headrace_events", "headrace_lag", "headrace_freshness_ms", "headrace_stage_ms"}
    assert set(page(metrics)) == always | {"headrace_lists"}
    assert metrics.values["model_late"] == 0


def test_events_are_counted_by_partition_and_outcome() -> None:
    """The five outcomes add up to what was read, on both pages."""
    metrics = Metrics()
    for offset in (8, 9):
        metrics.count_batch(3, BATCH, offset)
    metrics.count_batch(1, Counts(read=5, late=1, forgotten=4), 5)
    shown = json.loads(json.dumps(metrics.as_dict()))
    assert shown["partitions"]["3"] == {
        "read": 14,
        "accepted": 6,
        "duplicate": 4,
        "late": 2,
        "rejected": 2,
        "forgotten": 0,
    }
    assert shown["total"] == {"read": 19, "accepted": 6, "duplicate": 4, "late": 3, "rejected": 2, "forgotten": 4}
    assert shown["delivered_offsets"] == {"1": 5, "3": 9}
    kind, _, series = page(metrics)["headrace_events"]
    assert kind == "counter" and series["headrace_events_totalaccepted,3"] == 6.0
    assert sum(series.values()) == 2 * 19


def test_lag_is_of_the_partitions_that_the_worker_has_now() -> None:
    """A partition that went to another worker keeps no old lag here."""
    metrics = Metrics()
    metrics.lag = {0: 5, 1: 6}
    metrics.lag = {1: 7}
    assert metrics.lag == {1: 7} and page(metrics)["headrace_lag"][2] == {"headrace_lag1": 7.0}


def test_freshness_is_a_histogram_from_1_ms_to_60_s() -> None:
    """Histograms of several workers can be added, quantiles cannot."""
    metrics = Metrics()
    metrics.add_freshness([-3.0, 0.5, 40.0, 90_000.0])
    kind, _, series = page(metrics)["headrace_freshness_ms"]
    assert kind == "histogram"
    assert series["headrace_freshness_ms_bucket1.0"] == 2.0 and series["headrace_freshness_ms_bucket50.0"] == 3.0
    assert series["headrace_freshness_ms_bucket60000.0"] == 3.0 and series["headrace_freshness_ms_bucket+Inf"] == 4.0
    assert series["headrace_freshness_ms_count"] == 4.0 and series["headrace_freshness_ms_sum"] == 90_040.5


@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.99])
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(q: float) -> None:
    """Buckets can say no more."""
    samples = [1.03**n for n in range(300)]
    metrics = Metrics()
    metrics.add_freshness(samples)
    exact = samples[math.ceil(q * len(samples)) - 1]
    upper = next(bound for bound in FRESHNESS_BUCKETS_MS if exact <= bound)
    lower = max([0, *(bound for bound in FRESHNESS_BUCKETS_MS if bound < upper)])
    found = metrics.freshness_quantile_ms(q)
    assert found is not None and lower <= found <= upper


def test_a_quantile_without_lists_is_none_and_beyond_the_buckets_is_their_end() -> None:
    """A quantile is never a number that nobody measured."""
    metrics = Metrics()
    assert metrics.freshness_quantile_ms(0.5) is None
    metrics.add_freshness([1e6])
    assert metrics.freshness_quantile_ms(0.5) == 60_000.0


def test_every_metric_that_the_runbook_names_exists() -> None:
    """An alarm on a name that is on no page never rings."""
    named = set(re.findall(r"headrace_[a-z_]+", OPERATIONS.read_text("utf-8")))
    pages = {f"headrace_{name}_total" for name in COUNTERS} | {f"headrace_{name}" for name in GAUGES}
    pages |= {"headrace_events_total", "headrace_lag", "headrace_freshness_ms", "headrace_freshness_ms_bucket"}
    pages |= {"headrace_stage_ms", "headrace_artifact"}
    assert named - pages == set()
