"""The worker's three pages, on loopback: ``/health``, ``/counts`` (JSON) and ``/metrics`` (Prometheus)."""

from __future__ import annotations

from typing import Any

import faust

from streams.metrics import Metrics


def is_ready(app: faust.App) -> bool:
    """Whether the worker has its partitions and its state: recovery ended and no rebalance is under way."""
    return bool(app.tables.recovery.completed.is_set() and not app.rebalancing)


def serve(app: faust.App, metrics: Metrics) -> None:
    """Attach the pages to an app. ``/health`` answers 200 when the worker is ready, else 503."""

    @app.page("/health", name="health")
    async def health(self: Any, request: Any) -> Any:
        ready = is_ready(app)
        return self.json({"ready": ready}, status=200 if ready else 503)

    @app.page("/counts", name="counts")
    async def counts(self: Any, request: Any) -> Any:
        return self.json(metrics.as_dict())

    @app.page("/metrics", name="metrics")
    async def prometheus(self: Any, request: Any) -> Any:
        return self.text(metrics.as_prometheus())
