"""One kept connection over which a caller asks a server, request by request."""

from __future__ import annotations

import asyncio
from typing import Final

#: Longest time for which an answer is waited for, in seconds.
ANSWER_S: Final = 30.0


class Connection:
    """Asks a server over HTTP/1.1. For one event loop, one request at a time.

    It connects at the first request, and again after a failure.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises
        ------
        OSError, EOFError
            When there is no server, or it ends before it has answered.
        TimeoutError
            When it does not answer within :data:`ANSWER_S`; it is an ``OSError``.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
                if body:
                    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"\r\n" + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                status = int(answer[9:12])
                return status, await reader.readexactly(int(length or b"0"))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. Repeat-safe."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
