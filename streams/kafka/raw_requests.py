"""Requests for which aiokafka's admin client has no method; it can send them all the same."""

from __future__ import annotations

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient


async def send(admin: AIOKafkaAdminClient, request: Any, node: int | None = None) -> Any:
    """Send a request to a broker, to any where ``node`` is None, and return its answer."""
    return await admin._send_request(request, node)


async def find_coordinator(admin: AIOKafkaAdminClient, kind: int, name: str) -> int:
    """Return the broker that coordinates a group (kind 0) or a transactional id (kind 1).

    Unlike ``admin.find_coordinator`` it also asks about transactional ids.
    """
    return int(await admin._client.coordinator_lookup(kind, name))
