"""Opens the search engine that the settings name, and reports on it."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from typing import TYPE_CHECKING, Final

from streams.errors import SettingsError
from streams.health.counters import Metrics
from streams.settings.load import RecommenderSettings
from streams.settings.secrets import read_secret

if TYPE_CHECKING:
    from models.index.qdrant import QdrantEngine

PERIOD_S: Final = 1.0


def worker_name(prefix: str, port: int) -> str:
    """Return the name of this worker in the engine: no other worker has its prefix, host and port.

    Parameters
    ----------
    prefix : of the deployment's topics
    port : of the worker's pages
    """
    host = re.sub(r"[^0-9A-Za-z_.-]", "-", socket.gethostname())[:60]
    return f"{prefix[-20:]}headrace-{host}-{port}"


def open_index_engine(settings: RecommenderSettings, worker: str, artifact: str) -> QdrantEngine | None:
    """Return the engine, None where the settings name none; connects to nothing yet.

    Parameters
    ----------
    worker : from :func:`worker_name`
    artifact : version of the artifact that is served

    Raises
    ------
    SettingsError
        When its client is not installed, or the file of its key cannot be used.
    """
    if not settings.index_engine:
        return None
    try:
        from qdrant_client import QdrantClient

        from models.index.qdrant import QdrantEngine
    except ImportError as exc:
        raise SettingsError(
            f"index_engine={settings.index_engine!r} needs the package qdrant-client: install headrace[qdrant], "
            "or leave HEADRACE_INDEX_ENGINE empty"
        ) from exc
    key = None
    if settings.index_engine_key_file:
        key = read_secret(settings.index_engine_key_file, "index_engine_key_file")
    timeout_s = settings.index_engine_timeout_ms / 1e3
    client = QdrantClient(
        url=settings.index_engine, api_key=key, timeout=math.ceil(timeout_s), check_compatibility=False
    )
    return QdrantEngine(client, worker, artifact, timeout_s)


async def report(engine: QdrantEngine, metrics: Metrics) -> None:
    """Keep the gauge of the engine's failures up to date until cancelled."""
    while True:
        metrics.put("index_engine_failures", engine.n_failures)
        await asyncio.sleep(PERIOD_S)
