"""What a worker counts. The names are a closed list; a misspelt one is a type error."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Name = Literal[
    "lists",  # lists published
    "windows_read",  # windows read from sequences
    "windows_superseded",  # windows that a newer one of the same user replaced before the model ran
    "model_batches",  # forward passes
    "model_windows",  # windows in them
    "texts_embedded",  # item texts that the language model encoded
    "catalogue_items",  # items that can be recommended now
    "index_generation",  # version of the catalogue snapshot
    "pending_windows",  # users waiting for the model
    "lists_degraded",  # lists made without the model, a full one follows
    "windows_poisoned",  # windows that the model can make nothing of; their users got popular items
    "windows_held",  # users who wait because of lists_per_minute
    "model_late",  # forward passes that took longer than model_timeout_ms
    "model_failures",  # times that the model failed whatever it was given
    "items_left_out",  # item records without a usable vector
    "popularity_events",  # events since training, in windows of this worker's users, that popularity counts
    "events_unknown_item",  # new behaviours of items that the catalogue does not have
    "windows_malformed",  # records on sequences that are no windows
    "windows_newer",  # windows of a newer version, which this worker does not read
    "windows_older",  # windows of a lower revision than the user's last list
    "windows_damaged",  # windows that the sequencer could not read, and began anew
    "vectors_damaged",  # user vectors that could not be read
    "keys_foreign",  # records on a changelog whose key is no user_id
    "users_expired",  # users whose window was removed because of user_ttl_days
    "users_removed",  # users whose vector was removed after a tombstone on sequences
    "events_expired",  # events that the broker deleted before they were read, at most
    "reject_alarms",  # minutes in which so much was rejected that an ERROR said so
    "stores_rebuilt",  # partitions whose RocksDB files could not be used
]
LATENCY_SAMPLES: Final = 100_000


class Metrics:
    """Counts per partition, named values, and freshness samples. For one event loop."""

    def __init__(self) -> None:
        self.counts: defaultdict[int, Counts] = defaultdict(Counts)
        self.values: defaultdict[Name, int] = defaultdict(int)
        self.delivered_offsets: dict[int, int] = {}
        self.lag: dict[int, int] = {}  # per partition: offsets that are not committed, as the broker last said
        self._freshness_ms: deque[float] = deque(maxlen=LATENCY_SAMPLES)

    def count_batch(self, partition: int, counts: Counts, offset: int) -> None:
        """Add a delivered batch of events, whose last offset is ``offset``."""
        self.counts[partition].add(counts)
        self.delivered_offsets[partition] = offset

    def add(self, name: Name, n: int = 1) -> None:
        """Increase a value."""
        self.values[name] += n

    def put(self, name: Name, value: int) -> None:
        """Set a value."""
        self.values[name] = value

    def add_freshness(self, samples_ms: Iterable[float]) -> None:
        """Record how long after its window each list was delivered, in milliseconds."""
        self._freshness_ms.extend(samples_ms)

    def freshness_quantile_ms(self, q: float) -> float | None:
        """Return a quantile of the newest freshness samples in milliseconds, or None without any."""
        ordered = sorted(self._freshness_ms)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None

    def total(self) -> Counts:
        """Return the counts over all partitions."""
        total = Counts()
        for counts in self.counts.values():
            total.add(counts)
        return total

    def as_dict(self) -> dict[str, object]:
        """Return everything, for ``/counts``."""
        return {
            "total": self.total().as_dict(),
            "partitions": {str(p): counts.as_dict() for p, counts in sorted(self.counts.items())},
            "delivered_offsets": {str(p): offset for p, offset in sorted(self.delivered_offsets.items())},
            "lag": {str(p): lag for p, lag in sorted(self.lag.items())},
            "values": dict(self.values),
            "freshness_ms": {"p50": self.freshness_quantile_ms(0.5), "p99": self.freshness_quantile_ms(0.99)},
        }

    def as_prometheus(self) -> str:
        """Return everything in Prometheus' text format, for ``/metrics``."""
        lines = ["# TYPE headrace_events_total counter"]
        for partition, counts in sorted(self.counts.items()):
            for outcome, n in counts.as_dict().items():
                lines.append(f'headrace_events_total{{partition="{partition}",outcome="{outcome}"}} {n}')
        lines += ["# TYPE headrace_lag gauge"] if self.lag else []
        lines += [f'headrace_lag{{partition="{partition}"}} {lag}' for partition, lag in sorted(self.lag.items())]
        for name, value in sorted(self.values.items()):
            lines += [f"# TYPE headrace_{name} gauge", f"headrace_{name} {value}"]
        for q in (0.5, 0.99):
            value_ms = self.freshness_quantile_ms(q)
            if value_ms is not None:
                lines.append(f'headrace_freshness_ms{{quantile="{q}"}} {value_ms:.1f}')
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Counts:
    """How events ended. ``read`` is always the sum of the other four."""

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0

    def add(self, other: Counts) -> None:
        """Add another batch's counts."""
        self.read += other.read
        self.accepted += other.accepted
        self.duplicate += other.duplicate
        self.late += other.late
        self.rejected += other.rejected

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        names = ("read", "accepted", "duplicate", "late", "rejected")
        return {name: getattr(self, name) for name in names}
