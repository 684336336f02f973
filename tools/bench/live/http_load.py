"""GET requests over kept connections: as many as a server answers, or at a steady rate.

At a steady rate each request has a time at which it is due, and its latency counts from then: a
server that stalls makes all requests of that time late, not one alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streams.errors import RunError


@dataclass
class Answers:
    """What came back.

    Parameters
    ----------
    latencies_s : of each request, in seconds
    statuses : how many answers had each status
    """

    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Return the answers a second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0


class Client:
    """Asks a server over some connections. For one event loop.

    Parameters
    ----------
    url : of the server
    paths : asked for in turn
    """

    def __init__(self, url: str, paths: Sequence[str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode() for path in paths]
        self._next = 0

    async def as_many_as_possible(self, seconds: float, connections: int) -> Answers:
        """Return the answers of connections that each ask again as soon as they are answered."""
        found, end_s = Answers(), time.perf_counter() + seconds

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (began_s := time.perf_counter()) < end_s:
                await self._ask(reader, writer, found, began_s)

        return await self._run(ask, connections, found)

    async def at_rate(self, rate: float, seconds: float, connections: int) -> Answers:
        """Return the answers to so many requests a second."""
        found, begun_s = Answers(), time.perf_counter() + 0.05
        due: Iterator[float] = iter([begun_s + n / rate for n in range(int(rate * seconds))])

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for due_s in due:
                if (wait_s := due_s - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                await self._ask(reader, writer, found, due_s)

        return await self._run(ask, connections, found)

    async def _run(self, ask: object, connections: int, found: Answers) -> Answers:
        streams = [await asyncio.open_connection(self._host, self._port) for _ in range(connections)]
        began_s = time.perf_counter()
        try:
            await asyncio.gather(*(ask(*one) for one in streams))  # type: ignore[operator]
        except (OSError, EOFError) as exc:
            raise RunError(f"the server ended a connection: {exc}; its log is beside its store") from exc
        finally:
            for _, writer in streams:
                writer.close()
        found.seconds = time.perf_counter() - began_s
        return found

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, found: Answers, since_s: float
    ) -> None:
        writer.write(self._requests[self._next % len(self._requests)])
        self._next += 1
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        found.latencies_s.append(time.perf_counter() - since_s)
        status = int(head[9:12])
        found.statuses[status] = found.statuses.get(status, 0) + 1
