"""The pages show all counts; Prometheus can read them."""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.health.counters import FRESHNESS_BUCKETS_MS, Counts, Metrics
from streams.health.metric_names import BY_APP, MEASURED_LATER, App, CounterName, GaugeName, exposed

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
COUNTERS: list[CounterName] = [get_args(literal)[0] for literal, _ in map(get_args, get_args(CounterName))]
GAUGES: list[GaugeName] = [get_args(literal)[0] for literal, _ in map(get_args, get_args(GaugeName))]
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
    for gauge in GAUGES:
        metrics.put(gauge, 3)
    found = page(metrics)
    for name in COUNTERS:
        kind, meaning, series = found[f"headrace_{name}"]
        assert (kind, series) == ("counter", {f"headrace_{name}_total": 2.0}) and meaning
    for gauge in GAUGES:
        kind, meaning, series = found[f"headrace_{gauge}"]
        assert (kind, series) == ("gauge", {f"headrace_{gauge}": 3.0}) and meaning
    assert "_created" not in metrics.as_prometheus()


@pytest.mark.parametrize("app", list(BY_APP))
def test_every_series_of_an_app_is_there_from_the_start(app: App) -> None:
    """A series that comes with its first event has no rate for it."""
    metrics = Metrics(app)
    metrics.expect([0, 1])
    found = page(metrics)
    names = BY_APP[app]
    later = {"headrace_lag", "headrace_artifact", *(f"headrace_{name}" for name in MEASURED_LATER)}
    for name in names.counters:
        assert found[f"headrace_{name}"][2] == {f"headrace_{name}_total": 0.0}
    for gauge in names.gauges.keys() - set(MEASURED_LATER):
        assert found[f"headrace_{gauge}"][2] == {f"headrace_{gauge}": 0.0}
    without = {name for name, (_, _, series) in found.items() if not series}
    assert without <= later and ("headrace_index_recall_percent" in found) is False
    assert len(found["headrace_events"][2]) == 12 if app == "sequencer" else "headrace_events" not in found
    assert metrics.as_dict()["values"] == dict.fromkeys(
        [*names.counters, *(names.gauges.keys() - set(MEASURED_LATER))], 0
    )


def test_a_name_of_the_other_app_is_refused() -> None:
    """A sequencer makes no lists: zero lists would be an alarm."""
    with pytest.raises(KeyError):
        Metrics("sequencer").add("lists")
    with pytest.raises(KeyError):
        Metrics("recommender").add("users_expired")


def test_the_age_of_the_last_list_begins_anew_with_each_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fallback lists are lists; an empty delivery is none."""
    clock = [100.0]
    monkeypatch.setattr("streams.health.counters.time.monotonic", lambda: clock[0])
    metrics = Metrics("recommender")

    def age() -> float:
        return page(metrics)["headrace_list_age_seconds"][2]["headrace_list_age_seconds"]

    clock[0] = 130.0
    assert age() == 30.0
    metrics.add("lists", 0)
    assert age() == 30.0
    for name in ("lists", "lists_degraded"):
        metrics.add(name)
        assert age() == 0.0
        clock[0] += 7.5
        assert age() == 7.5


def test_the_release_is_on_the_page() -> None:
    """Two releases beside each other are seen before they differ."""
    (series,) = page(Metrics("sequencer"))["headrace_build_info"][2]
    assert (
        series.startswith("headrace_build_info")
        and "sequencer" in series
        and importlib.metadata.version("headrace") in series
    )


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
    known = [each for names in BY_APP.values() for each in names.described()]
    pages = exposed(known) | {f"headrace_{each.name}" for each in known if each.kind == "histogram"}
    assert named - pages == set()
