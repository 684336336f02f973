"""``/healthz``, ``/readyz`` and ``/metrics``: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

import math
from typing import Final

import msgspec
from litestar import MediaType, Response, get

from streams.server.gate.callers import needs
from streams.server.gate.measures import TEXT
from streams.server.lists.store import count_of
from streams.server.parts.server import TheServer

READY: Final = "ready"
#: Says in the document that no key is needed; Litestar takes an empty list for "as everywhere".
NO_KEY: Final[list[dict[str, list[str]]]] = [{}]


class Health(msgspec.Struct, omit_defaults=True):
    """Whether the server lives, or is ready; ``waiting`` names what it still reads."""

    status: str
    waiting: list[str] = []


@get("/healthz", operation_id="getHealth", summary="Whether the process lives", tags=["health"], security=NO_KEY)
async def healthz() -> Health:
    """Answer as long as the process answers at all."""
    return Health("alive")


@get("/readyz", operation_id="getReadiness", summary="Whether requests may come", tags=["health"], security=NO_KEY)
async def readyz(server: TheServer) -> Response[Health]:
    """Answer 200 once all is read that requests need; 503 before, and while the server stops."""
    waiting = server.ready.waiting()
    status = Health("waiting", waiting) if waiting else Health(READY)
    return Response(status, status_code=503 if waiting else 200)


@get(
    "/metrics",
    operation_id="getMetrics",
    summary="Counters in Prometheus' text format",
    tags=["health"],
    media_type=MediaType.TEXT,
    guards=[needs("read")],
)
async def metrics(server: TheServer) -> Response[bytes]:
    """Return the server's counters, gauges and latencies."""
    n_lists = await count_of(server.store)
    server.measures.put("lists", math.nan if n_lists is None else n_lists)
    return Response(server.measures.as_text(), media_type=TEXT)
