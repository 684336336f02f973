"""What a worker counts, for its pages ``/counts`` (JSON) and ``/metrics`` (Prometheus).

:mod:`streams.health.metric_names` has the closed lists of names and meanings.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample

from streams.health import metric_names
from streams.health.metric_names import BY_APP, MEASURED_LATER, PREFIX, App, CounterName, Described, GaugeName, Name
from streams.health.stage_times import StageTimes

FRESHNESS_BUCKETS_MS: Final = (
    1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000,
)  # fmt: skip
#: Lists of these names set ``headrace_list_age_seconds`` back to 0.
_LISTS: Final = ("lists", "lists_degraded")


class Metrics:
    """The counters, gauges, freshness and stage times of one worker. For one event loop.

    Every series is on the page from the start. Only what depends on the broker, the artifact or a
    measurement comes later: the lag, the artifact, and the names in ``MEASURED_LATER``.

    Parameters
    ----------
    apps : the worker's app; without one, the metrics of both, for tests and benchmarks
    """

    def __init__(self, *apps: App) -> None:
        # Without this, each counter has a second series: the time at which it was created.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        chosen = apps or tuple(BY_APP)
        self.registry = CollectorRegistry()
        self.delivered_offsets: dict[int, int] = {}
        self._known = {each.name: each for app in chosen for each in BY_APP[app].described()}
        self._named: dict[Name, Counter | Gauge] = {}
        for app in chosen:
            names = BY_APP[app]
            for name in names.counters.keys() - self._named.keys():
                self._named[name] = self._made(Counter, self._known[name])
            for gauge in names.gauges.keys() - set(MEASURED_LATER):
                self._named[gauge] = self._made(Gauge, self._known[gauge])
        self._events: Counter = self._made(Counter, metric_names.EVENTS)
        self._of_partition: dict[int, list[Counter]] = {}  # one for each outcome
        self._lag: Gauge = self._made(Gauge, metric_names.LAG)
        self._freshness: Histogram = self._made(Histogram, metric_names.FRESHNESS, buckets=FRESHNESS_BUCKETS_MS)
        self._artifact: Gauge = self._made(Gauge, metric_names.ARTIFACT)
        self._list_s = time.monotonic()  # when the last list was delivered
        self._made(Gauge, metric_names.LIST_AGE).set_function(lambda: time.monotonic() - self._list_s)
        build = {"app": ",".join(chosen), "python": platform.python_version(), "version": own_version()}
        self._made(Info, metric_names.BUILD).info(build)
        stages = [stage for app in chosen for stage in BY_APP[app].stages]
        self.stages = StageTimes(f"{PREFIX}{metric_names.STAGE.name}", metric_names.STAGE.meaning, stages)
        self.registry.register(self.stages)

    def _made(self, kind: Any, described: Described, **options: Any) -> Any:
        """Return a metric, which is on the page if the app has it."""
        registry = self.registry if described.name in self._known else None
        labels = () if kind is Info else described.labels  # the labels of an Info are in its value
        return kind(f"{PREFIX}{described.name}", described.meaning, labels, registry=registry, **options)

    def expect(self, partitions: Iterable[int]) -> None:
        """Put the events of these partitions on the page, with 0 for each outcome."""
        for partition in partitions:
            self._outcomes(partition)

    def _outcomes(self, partition: int) -> list[Counter]:
        """Return a partition's counters; a look-up of labels costs five times an increase."""
        if partition not in self._of_partition:
            self._of_partition[partition] = [self._events.labels(str(partition), each) for each in Counts().as_dict()]
        return self._of_partition[partition]

    def count_batch(self, partition: int, counts: Counts, offset: int) -> None:
        """Add a delivered batch of events, whose last offset is ``offset``."""
        for counter, n in zip(self._outcomes(partition), counts.as_dict().values(), strict=True):
            counter.inc(n)
        self.delivered_offsets[partition] = offset

    def add(self, name: CounterName, n: int = 1) -> None:
        """Increase a counter of the worker's app by ``n``."""
        self._named[name].inc(n)
        if name in _LISTS and n:
            self._list_s = time.monotonic()

    def put(self, name: GaugeName, value: int) -> None:
        """Set a gauge of the worker's app."""
        gauge = self._named.get(name)
        if gauge is None:
            gauge = self._named[name] = self._made(Gauge, self._known[name])
        if isinstance(gauge, Gauge):
            gauge.set(value)

    def note_artifact(self, version: str) -> None:
        """Note which artifact lists are made with from now on."""
        self._artifact.clear()
        self._artifact.labels(version).set(1)

    @property
    def artifact(self) -> str:
        """The artifact that lists are made with; empty where there is none."""
        return next((sample.labels["artifact"] for sample in _samples(self._artifact)), "")

    def add_freshness(self, samples_ms: Iterable[float]) -> None:
        """Record how long after its window each list was delivered, in milliseconds."""
        for sample_ms in samples_ms:
            self._freshness.observe(max(0.0, sample_ms))  # clocks of two machines

    def freshness_quantile_ms(self, q: float) -> float | None:
        """Return a quantile of the freshness since the worker's start, in milliseconds.

        The value is interpolated between the bounds of its bucket, and at most the last bound, 60
        s. It is None as long as no list was delivered.
        """
        buckets = [(float(s.labels["le"]), s.value) for s in _samples(self._freshness) if "le" in s.labels]
        wanted = q * buckets[-1][1]
        lower_ms = n_below = 0.0
        for upper_ms, n in buckets:
            if n >= wanted > 0:
                share = 0.0 if math.isinf(upper_ms) else (wanted - n_below) / (n - n_below)
                return round(lower_ms + share * (min(upper_ms, FRESHNESS_BUCKETS_MS[-1]) - lower_ms), 1)
            lower_ms, n_below = upper_ms, n
        return None

    @property
    def values(self) -> defaultdict[Name, int]:
        """The value of each name, 0 for a name without one."""
        return defaultdict(int, {name: int(_samples(metric)[0].value) for name, metric in self._named.items()})

    @property
    def lag(self) -> dict[int, int]:
        """The lag of each partition: offsets that are not committed, as the broker last said."""
        return {int(sample.labels["partition"]): int(sample.value) for sample in _samples(self._lag)}

    @lag.setter
    def lag(self, lag: Mapping[int, int]) -> None:
        self._lag.clear()
        for partition, n in lag.items():
            self._lag.labels(str(partition)).set(n)

    @property
    def counts(self) -> dict[int, Counts]:
        """The counts of each partition."""
        found: defaultdict[int, Counts] = defaultdict(Counts)
        for sample in _samples(self._events):
            setattr(found[int(sample.labels["partition"])], sample.labels["outcome"], int(sample.value))
        return found

    def as_dict(self) -> dict[str, object]:
        """Return all numbers, for ``/counts``."""
        counts, total = self.counts, Counts()
        for of_partition in counts.values():
            total.add(of_partition)
        return {
            "total": total.as_dict(),
            "partitions": {str(p): counts[p].as_dict() for p in sorted(counts)},
            "delivered_offsets": {str(p): offset for p, offset in sorted(self.delivered_offsets.items())},
            "lag": {str(p): lag for p, lag in sorted(self.lag.items())},
            "values": dict(self.values),
            "artifact": self.artifact,
            "freshness_ms": {"p50": self.freshness_quantile_ms(0.5), "p99": self.freshness_quantile_ms(0.99)},
        }

    def as_prometheus(self) -> str:
        """Return all numbers in Prometheus' text format, for ``/metrics``."""
        return generate_latest(self.registry).decode()


def own_version() -> str:
    """Return headrace's version; the checkout alone, without an installation, has none."""
    try:
        return importlib.metadata.version("headrace")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _samples(metric: MetricWrapperBase) -> list[Sample]:
    return [sample for family in metric.collect() for sample in family.samples]


@dataclass(slots=True)
class Counts:
    """How events ended. ``read`` is always the sum of the other five.

    ``forgotten`` are events of a user from before the user's request to be forgotten.
    """

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    forgotten: int = 0

    def add(self, other: Counts) -> None:
        """Add another batch's counts."""
        self.read += other.read
        self.accepted += other.accepted
        self.duplicate += other.duplicate
        self.late += other.late
        self.rejected += other.rejected
        self.forgotten += other.forgotten

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        names = ("read", "accepted", "duplicate", "late", "rejected", "forgotten")
        return {name: getattr(self, name) for name in names}
