"""Asks whether a broker answers, and if not, why: no listener, TLS or SASL, or no Kafka.

The functions import the Kafka client themselves, so that ``make clean`` can stop a broker by a
Python without packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from streams.errors import BrokerError, InputError

T = TypeVar("T")


class Answer(NamedTuple):
    """What a cluster says of itself: its number of nodes, and its id where it has one."""

    n_nodes: int
    cluster_id: str | None


def parse_bootstrap(bootstrap: str) -> list[tuple[str, int]]:
    """Return the hosts and ports of ``HOST:PORT[,HOST:PORT]``.

    Raises
    ------
    InputError : the text has another form
    """
    found = []
    for part in bootstrap.split(","):
        host, colon, port = part.strip().rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise InputError(f"--broker {bootstrap!r}: must be HOST:PORT[,HOST:PORT] with a port of 1 to 65535")
        found.append((host.strip("[]"), int(port)))
    return found


def check_broker(bootstrap: str, client: Mapping[str, Any] | None = None, timeout_s: float = 10.0) -> int:
    """Return the number of nodes that the named broker's cluster has.

    Parameters
    ----------
    bootstrap
        ``HOST:PORT[,HOST:PORT]``
    client
        further settings of the Kafka client, such as ``security_protocol`` or ``ssl_context``
    timeout_s
        seconds within which the broker must answer

    Raises
    ------
    BrokerError : the broker does not answer; the message says why and what to do
    """
    from streams.kafka.connection_diagnosis import why_not

    addresses = parse_bootstrap(bootstrap)
    try:
        return run_async(answer(bootstrap, client, timeout_s)).n_nodes
    except Exception as exc:  # noqa: BLE001 - the client raises its own and asyncio's
        reason = run_async(why_not(addresses, client or {}, exc))
    raise BrokerError(f"broker {bootstrap}: {reason}")


async def answer(bootstrap: str, client: Mapping[str, Any] | None, timeout_s: float) -> Answer:
    """Return what the cluster says of itself; raise the Kafka client's errors."""
    from aiokafka.admin import AIOKafkaAdminClient

    from streams.kafka.bounded_connections import bound_connections
    from streams.kafka.connection_diagnosis import quiet

    bound_connections()
    settings = {name: value for name, value in (client or {}).items() if name != "bootstrap_servers"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000), **settings)
    with quiet("aiokafka"):
        try:
            async with asyncio.timeout(timeout_s):
                await admin.start()
                described = await admin.describe_cluster()
                return Answer(len(described["brokers"]), described.get("cluster_id"))
        finally:
            with contextlib.suppress(Exception):
                await admin.close()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine, also where this thread already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread
            failures.append(exc)

    thread = threading.Thread(target=target, name="broker-probe")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
