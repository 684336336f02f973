"""What a worker counts, for its pages ``/counts`` (JSON) and ``/metrics`` (Prometheus).

The names are closed lists, so a misspelt name is a type error. Beside each name stands its meaning,
which ``/metrics`` shows. There, every name begins with ``headrace_`` and a counter ends with
``_total``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample

from streams.health.stage_times import RECOMMENDER_STAGES, SEQUENCER_STAGES, Stage, StageTimes

#: Numbers that only grow while a worker lives.
CounterName: TypeAlias = (
    Annotated[Literal["lists"], "lists published"]
    | Annotated[Literal["windows_read"], "windows read from sequences"]
    | Annotated[Literal["model_batches"], "forward passes of the model"]
    | Annotated[Literal["model_windows"], "windows in the model's forward passes"]
    | Annotated[Literal["lists_degraded"], "fallback lists: made without the model, a full list follows"]
    | Annotated[
        Literal["windows_poisoned"], "windows from which the model makes no number; their users got popular items"
    ]
    | Annotated[Literal["model_late"], "forward passes that took longer than model_timeout_ms"]
    | Annotated[Literal["model_failures"], "times that the model failed on every window it was given"]
    | Annotated[Literal["items_left_out"], "item records without a usable vector"]
    | Annotated[Literal["rules_malformed"], "records on rules that are no rules records"]
    | Annotated[Literal["events_unknown_item"], "new behaviours of items that the catalogue does not have"]
    | Annotated[Literal["windows_malformed"], "records on sequences that are not windows"]
    | Annotated[Literal["windows_newer"], "windows of a newer version, which this worker cannot read"]
    | Annotated[Literal["windows_older"], "windows of a lower revision than the user's last list"]
    | Annotated[Literal["windows_damaged"], "windows that the sequencer could not read and started again"]
    | Annotated[Literal["vectors_damaged"], "user vectors that could not be read"]
    | Annotated[Literal["keys_foreign"], "records on a changelog whose key is not a user_id"]
    | Annotated[Literal["users_forgotten"], "forgotten users of whom this worker erased data"]
    | Annotated[Literal["privacy_malformed"], "records on privacy that are not requests"]
    | Annotated[Literal["users_expired"], "users whose window was removed because of user_ttl_days"]
    | Annotated[Literal["users_removed"], "users whose vector was removed after a tombstone on sequences"]
    | Annotated[Literal["users_malformed"], "records on users that break the contract; they change nothing"]
    | Annotated[Literal["lists_first"], "lists of users without events, from a record on users"]
    | Annotated[Literal["events_expired"], "events that the broker deleted before they were read, at most"]
    | Annotated[Literal["reject_alarms"], "minutes with so many rejects that an ERROR was logged"]
    | Annotated[Literal["index_rebuilds"], "times that the catalogue's rows and index were built again"]
    | Annotated[Literal["stores_rebuilt"], "partitions whose RocksDB files could not be used"]
    | Annotated[Literal["announcements_malformed"], "records on models, rules or privacy that cannot be read"]
    | Annotated[Literal["model_swaps"], "announced artifacts that were put in force while the worker served"]
    | Annotated[Literal["model_swaps_failed"], "announced artifacts that could not be put in force"]
    | Annotated[Literal["lists_refreshed"], "lists that users got again, without a new event, after a model swap"]
)
#: Numbers that rise and fall.
GaugeName: TypeAlias = (
    Annotated[Literal["catalogue_items"], "items that can be recommended now"]
    | Annotated[Literal["catalogue_hidden"], "items of the catalogue that lists must not show now"]
    | Annotated[Literal["catalogue_tail"], "rows since the last rebuild, which are searched exactly"]
    | Annotated[
        Literal["index_recall_percent"], "share of the exact best 100 that retrieval finds, measured each minute"
    ]
    | Annotated[Literal["users_known"], "users of this worker of whom a record is on users"]
    | Annotated[Literal["users_followed"], "followed users of other workers whose vectors are kept"]
    | Annotated[Literal["index_generation"], "version of the catalogue snapshot"]
    | Annotated[
        Literal["catalogue_taken_in"], "items that the catalogue of an announced artifact has taken in while it loads"
    ]
    | Annotated[Literal["refresh_waiting"], "users who wait for a list of the new model, without a new event"]
    | Annotated[Literal["index_engine_failures"], "searches and builds in which the index engine failed"]
    | Annotated[Literal["pending_windows"], "users who wait for the model"]
    | Annotated[Literal["windows_held"], "users who wait because of lists_per_minute"]
    | Annotated[Literal["windows_superseded"], "windows that a newer one replaced before the model ran"]
    | Annotated[Literal["popularity_events"], "events since training, in this worker's windows, that popularity counts"]
)
Name: TypeAlias = CounterName | GaugeName
PREFIX: Final = "headrace_"
FRESHNESS_BUCKETS_MS: Final = (
    1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000,
)  # fmt: skip
#: Meaning by name.
_MEANINGS: Final[dict[Name, str]] = {
    get_args(literal)[0]: text for literal, text in map(get_args, [*get_args(CounterName), *get_args(GaugeName)])
}


class Metrics:
    """The counters, gauges, freshness and stage times of one worker. For one event loop.

    Parameters
    ----------
    stages : the stages of the worker's app
    """

    def __init__(self, stages: Sequence[Stage] = (*SEQUENCER_STAGES, *RECOMMENDER_STAGES)) -> None:
        # Without this, each counter has a second series: the time at which it was created.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.delivered_offsets: dict[int, int] = {}
        self._named: dict[Name, Counter | Gauge] = {}  # a name is on the pages once it has a value
        self._events = Counter(
            f"{PREFIX}events",
            "events by how they ended; read is the sum of the other five",
            ["partition", "outcome"],
            registry=self.registry,
        )
        self._of_partition: dict[int, list[Counter]] = {}  # one for each outcome
        self._lag = Gauge(
            f"{PREFIX}lag",
            "offsets that are not committed, as the broker last said",
            ["partition"],
            registry=self.registry,
        )
        self._freshness = Histogram(
            f"{PREFIX}freshness_ms",
            "milliseconds from a window's write to the delivery of its list",
            buckets=FRESHNESS_BUCKETS_MS,
            registry=self.registry,
        )
        self._artifact: Gauge | None = None
        self.stages = StageTimes(f"{PREFIX}stage_ms", stages)
        self.registry.register(self.stages)

    def count_batch(self, partition: int, counts: Counts, offset: int) -> None:
        """Add a delivered batch of events, whose last offset is ``offset``."""
        if partition not in self._of_partition:  # a look-up of labels costs five times an increase
            outcomes = counts.as_dict()
            self._of_partition[partition] = [self._events.labels(str(partition), outcome) for outcome in outcomes]
        for counter, n in zip(self._of_partition[partition], counts.as_dict().values(), strict=True):
            counter.inc(n)
        self.delivered_offsets[partition] = offset

    def add(self, name: CounterName, n: int = 1) -> None:
        """Increase a counter by ``n``."""
        counter = self._named.get(name)
        if counter is None:
            counter = self._named[name] = Counter(PREFIX + name, _MEANINGS[name], registry=self.registry)
        counter.inc(n)

    def put(self, name: GaugeName, value: int) -> None:
        """Set a gauge."""
        gauge = self._named.get(name)
        if not isinstance(gauge, Gauge):
            gauge = self._named[name] = Gauge(PREFIX + name, _MEANINGS[name], registry=self.registry)
        gauge.set(value)

    def note_artifact(self, version: str) -> None:
        """Note which artifact lists are made with from now on."""
        if self._artifact is None:
            help_text = "1 for the artifact that lists are made with"
            self._artifact = Gauge(f"{PREFIX}artifact", help_text, ["artifact"], registry=self.registry)
        self._artifact.clear()
        self._artifact.labels(version).set(1)

    @property
    def artifact(self) -> str:
        """The artifact that lists are made with; empty where there is none."""
        found = [] if self._artifact is None else _samples(self._artifact)
        return next((sample.labels["artifact"] for sample in found), "")

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
