"""What the server counts, for ``/metrics``."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from streams.health.counters import own_version
from streams.health.metric_names import BUILD, Described
from streams.health.metric_names import PREFIX as ALL

PREFIX: Final = "headrace_serve_"
#: Content type of Prometheus' text format.
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1, 3, 10)
#: The route of a request that no handler has.
NO_ROUTE: Final = "none"
#: What the server measures when it is asked, by name.
GAUGES: Final[dict[str, str]] = {
    "lists": "lists in the store, as it estimates; NaN while it does not answer",
    "lists_lag": "records on recommendations that are not read, as the broker last said",
    "items": "items of the catalogue, shown or not",
    "ready": "1 when all is read that requests need",
}
#: What the server counts beside its requests, by name.
COUNTERS: Final[dict[str, str]] = {
    "lists_read": "records read from recommendations",
    "lists_malformed": "records on recommendations that are no lists",
    "store_failures": "requests that the store of lists did not answer, or refused, while lists were read",
    "items_malformed": "records on items that break the contract",
    "users_malformed": "records on users that break the contract",
    "windows_malformed": "records on sequences that are no windows, read by a server that ranks",
    "refused_keys": "requests without a key, or with one that is not known",
    "refused_rates": "requests above the rate of their caller",
}


LIST_AGE_BUCKETS_S: Final = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)
#: What has labels, or is no plain counter or gauge. A series with labels comes with its first
#: request.
REQUESTS: Final = Described("serve_requests", "counter", ("route", "status"), "requests by route and class of status")
LATENCY: Final = Described(
    "serve_latency_seconds", "histogram", ("route",), "seconds from the head of a request to the end of its answer"
)
LIST_AGE: Final = Described(
    "serve_list_age_seconds", "histogram", (), "seconds from the making of a pushed list to its answer"
)


def described() -> list[Described]:
    """Return every metric of the server, by name."""
    found = [Described(f"serve_{name}", "counter", (), text) for name, text in COUNTERS.items()]
    found += [Described(f"serve_{name}", "gauge", (), text) for name, text in GAUGES.items()]
    return sorted([*found, BUILD, REQUESTS, LATENCY, LIST_AGE], key=lambda each: each.name)


class Measures:
    """The server's counters, gauges and latencies. For one event loop."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(f"{ALL}{REQUESTS.name}", REQUESTS.meaning, REQUESTS.labels, registry=self.registry)
        self._latency = Histogram(
            f"{ALL}{LATENCY.name}", LATENCY.meaning, LATENCY.labels, buckets=LATENCY_BUCKETS_S, registry=self.registry
        )
        self._list_age = Histogram(
            f"{ALL}{LIST_AGE.name}", LIST_AGE.meaning, buckets=LIST_AGE_BUCKETS_S, registry=self.registry
        )
        build = {"app": "server", "python": platform.python_version(), "version": own_version()}
        Info(f"{ALL}{BUILD.name}", BUILD.meaning, registry=self.registry).info(build)
        self._counters = {name: Counter(PREFIX + name, text, registry=self.registry) for name, text in COUNTERS.items()}
        self._gauges = {name: Gauge(PREFIX + name, text, registry=self.registry) for name, text in GAUGES.items()}
        self._of_route: dict[tuple[str, int], Counter] = {}  # a look-up of labels costs five times an increase
        self._latency_of: dict[str, Histogram] = {}

    def note(self, route: str, status: int, took_s: float) -> None:
        """Count a request that was answered."""
        counter = self._of_route.get((route, status))
        if counter is None:
            counter = self._of_route[route, status] = self._requests.labels(route, f"{status // 100}xx")
            self._latency_of[route] = self._latency.labels(route)
        counter.inc()
        self._latency_of[route].observe(took_s)

    def note_list_age(self, age_s: float) -> None:
        """Note how old a list was when it was the answer."""
        self._list_age.observe(max(0.0, age_s))  # clocks of two machines

    def add(self, name: str, n: int = 1) -> None:
        """Increase one of :data:`COUNTERS`."""
        self._counters[name].inc(n)

    def ask(self, name: str, value: Callable[[], float]) -> None:
        """Ask a function for one of :data:`GAUGES` whenever somebody reads the metrics."""
        self._gauges[name].set_function(value)

    def put(self, name: str, value: float) -> None:
        """Set one of :data:`GAUGES`."""
        self._gauges[name].set(value)

    def as_text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self.registry)
