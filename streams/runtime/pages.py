"""The worker's pages.

They are ``/health`` (ready), ``/live``, ``/counts`` (JSON) and ``/metrics`` (Prometheus).
"""

from __future__ import annotations

from typing import Any

from streams.health.counters import Metrics
from streams.runtime.app import StreamApp


def serve(app: StreamApp, metrics: Metrics) -> None:
    """Attach the pages to an app.

    ``/health`` answers 200 when the worker has its partitions and its state. It answers 503 during
    recovery, during a rebalance, and while the worker stops. ``healthy`` is false also while there
    are ``alarms``: these need a person, and the worker goes on.
    ``/live`` answers 200 until the worker is stuck; a stuck worker soon ends itself.
    """
    app.health.metrics = metrics

    @app.page("/health", name="health")
    async def health(self: Any, request: Any) -> Any:
        why = app.health.not_ready()
        alarms = app.health.alarms()
        shown: dict[str, Any] = {"ready": not why, "why": why, "healthy": not (why or alarms), "alarms": alarms}
        if metrics.artifact:
            shown["artifact"] = metrics.artifact
        return self.json(shown, status=503 if why else 200)

    @app.page("/live", name="live")
    async def live(self: Any, request: Any) -> Any:
        return self.json(app.health.as_dict(), status=503 if app.health.stalled else 200)

    @app.page("/counts", name="counts")
    async def counts(self: Any, request: Any) -> Any:
        return self.json(metrics.as_dict())

    @app.page("/metrics", name="metrics")
    async def prometheus(self: Any, request: Any) -> Any:
        return self.text(metrics.as_prometheus())
