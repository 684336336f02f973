"""A hostile broker, by its bytes on a socket.

An answer that exceeds a limit, or is not Kafka's, is one refusal and costs little.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import ApiVersionResponse_v0, SaslAuthenticateResponse_v0, SaslHandShakeResponse_v1
from aiokafka.protocol.metadata import MetadataRequest, MetadataResponse_v0

from streams.errors import BrokerError
from streams.kafka.bounded_connections import (
    MAX_FIRST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    BoundedConnection,
    BrokerAnswerError,
    bound_connections,
)
from streams.kafka.connection_diagnosis import why_not
from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings
from tests.support.waiting import wait_until

APIS = [(3, 0, 0), (17, 0, 1), (18, 0, 0), (36, 0, 0)]
VERSIONS = ApiVersionResponse_v0(error_code=0, api_versions=APIS).encode()
MECHANISMS = SaslHandShakeResponse_v1(error_code=0, enabled_mechanisms=["SCRAM-SHA-256"]).encode()
PASSWORD = "marker-5ecret"  # noqa: S105 - searched for in messages
SCRAM: dict[str, Any] = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "SCRAM-SHA-256",
    "sasl_plain_username": "u",
    "sasl_plain_password": PASSWORD,
}
#: Answers one request: its content without the header goes in, the answer's content comes out;
#: bytes are sent as they are.
Answer = Callable[[bytes], bytes]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def in_frames(*answers: bytes | Answer) -> Serve:
    """Return a broker that gives one answer to each request in Kafka's frames.

    It closes the connection behind the last answer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            content = answer if isinstance(answer, bytes) else answer(request)
            writer.write((len(content) + 4).to_bytes(4, "big") + request[4:8] + content)
        await reader.read()

    return serve


def raw(sent: bytes, *, n_more: int = 0, behind: Serve | None = None, taken: list[int] | None = None) -> Serve:
    """Return a broker that sends bytes and then ``n_more`` mebibytes.

    It notes how many of the mebibytes were taken.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if behind is not None:
            await behind(reader, writer)
        await reader.readexactly(4)
        writer.write(sent)
        for n in range(n_more):
            writer.write(bytes(1 << 20))
            await writer.drain()
            if taken is not None:
                taken[:] = [n]
        await reader.read()

    return serve


def with_broker(serve: Serve, ask: Callable[[tuple[str, int]], Awaitable[Any]]) -> Any:
    """Return what ``ask`` returns of a broker's address."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> Any:
        async with await asyncio.start_server(guarded, "127.0.0.1", 0) as server:
            async with asyncio.timeout(20):
                return await ask(server.sockets[0].getsockname())

    return asyncio.run(run())


async def connect(address: tuple[str, int], **client: Any) -> BoundedConnection:
    """Return an open connection; the caller closes it."""
    connection = BoundedConnection(*address, **client)
    try:
        await connection.connect()
    finally:
        if not connection.connected():
            connection.close()
    return connection


def refusal(serve: Serve, **client: Any) -> str:
    """Return how a connection to a broker is refused."""
    with pytest.raises(BrokerAnswerError) as caught:
        with_broker(serve, lambda address: connect(address, **client))
    text = str(caught.value)
    assert "\n" not in text and "; " in text and PASSWORD not in text
    return text


@pytest.mark.parametrize("size", [MAX_FIRST_FRAME_BYTES + 1, 2**31 - 1, -1, -(2**31), int.from_bytes(b"HTTP", "big")])
def test_an_answer_that_announces_too_much_is_not_read(size: int) -> None:
    """Nothing of it but what the socket holds: the broker is left with the rest."""
    taken: list[int] = [0]
    told = refusal(raw(size.to_bytes(4, "big", signed=True), n_more=512, taken=taken))
    assert f"announces an answer of {size} bytes before the login is done" in told
    assert taken[0] < 64, f"{taken[0]} MiB were taken in"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 40,
        b"\x00" * 3,
        b"\x00\x00\x7f\xff\xff\xff" + b"\x00" * 90,
        VERSIONS[:-1],
        b"\x00\x00\x00\x00\x00\x01\x00\x03\x00\x05\x00\x01",
    ],
    ids=["empty", "ones", "short", "2**31 entries", "cut", "minimum above maximum"],
)
def test_bytes_that_are_no_answer_are_one_refusal(content: bytes) -> None:
    """Aiokafka raises whatever reading them raises, an assertion too."""
    assert "not Kafka's" in refusal(in_frames(content))


def test_a_frame_too_short_for_its_header_is_one_refusal() -> None:
    assert "not Kafka's" in refusal(raw(b"\x00\x00\x00\x02ab"))


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def ask(address: tuple[str, int]) -> bool:
        connection = await connect(address)
        await asyncio.to_thread(wait_until, lambda: not connection.connected(), 5.0, lambda: "still connected")
        return True

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        frame = (len(VERSIONS) + 4).to_bytes(4, "big") + request[4:8] + VERSIONS
        writer.write(frame + frame)
        await reader.read()

    assert with_broker(twice, ask)


class ScramBroker:
    """Answers SCRAM-SHA-256 as RFC 5802 says, but for what a test changes."""

    def __init__(
        self, iterations: object = MIN_ITERATIONS, first: str = "r={r}x,s={s},i={i}", final: str = "v={v}"
    ) -> None:
        self.iterations, self.first, self.final = iterations, first, final

    def challenge(self, request: bytes) -> bytes:
        """Answer the client's first message."""
        self.bare = request[request.index(b"n,,") + 3 :].decode()
        self.salt = b"salt-of-the-user"
        nonce = self.bare.split("r=")[1]
        self.server_first = self.first.format(r=nonce, s=base64.b64encode(self.salt).decode(), i=self.iterations)
        return self._frame(self.server_first)

    def verdict(self, request: bytes) -> bytes:
        """Answer the client's proof."""
        without_proof = request[request.index(b"c=biws") :].decode().split(",p=")[0]
        message = f"{self.bare},{self.server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), self.salt, int(str(self.iterations)))
        key = hmac.digest(salted, b"Server Key", "sha256")
        return self._frame(self.final.format(v=base64.b64encode(hmac.digest(key, message, "sha256")).decode()))

    def serve(self) -> Serve:
        """Return the broker."""
        return in_frames(VERSIONS, MECHANISMS, self.challenge, self.verdict)

    @staticmethod
    def _frame(text: str) -> bytes:
        content: bytes = SaslAuthenticateResponse_v0(
            error_code=0, error_message=None, sasl_auth_bytes=text.encode("utf-8", "surrogateescape")
        ).encode()
        return content


@pytest.mark.parametrize("iterations", [MIN_ITERATIONS, 16_384, MAX_ITERATIONS])
def test_a_good_login_opens_the_connection_for_large_answers(iterations: int) -> None:
    async def ask(address: tuple[str, int]) -> int:
        connection = await connect(address, **SCRAM)
        connection.close()
        return connection.max_frame_bytes

    assert with_broker(ScramBroker(iterations).serve(), ask) == MAX_FRAME_BYTES


@pytest.mark.parametrize("iterations", [0, 1, MIN_ITERATIONS - 1, MAX_ITERATIONS + 1, 2**31 - 1, 10**30, -4_096])
def test_a_broker_chooses_no_cost_and_no_weakness(iterations: int) -> None:
    """Too many stop the client for minutes; one makes its password cheap to guess for who asked."""
    began = time.process_time()
    told = refusal(ScramBroker(iterations).serve(), **SCRAM)
    assert f"asks for {iterations} SCRAM iterations, must be {MIN_ITERATIONS} to {MAX_ITERATIONS}" in told
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "first",
    [
        "",
        "r={r}x,s={s}",
        "r={r}x,i={i}",
        "s={s},i={i}",
        "r=mine,s={s},i={i}",
        "r={r}x,s=%%%,i={i}",
        "r={r}x,s={s},i=many",
        "nonsense",
        "e=x",
        "\udcff",
    ],
)
def test_a_broken_challenge_is_one_refusal(first: str) -> None:
    assert "not Kafka's" in refusal(ScramBroker(first=first).serve(), **SCRAM)


@pytest.mark.parametrize("final", ["v=AAAA", "v=", "e=other-error", "", "v=%%%"])
def test_a_broker_that_does_not_know_the_password_is_refused(final: str) -> None:
    """Its signature shows that it does; without one it may be anybody."""
    assert "not Kafka's" in refusal(ScramBroker(final=final).serve(), **SCRAM)


def test_large_answers_are_read_after_the_login_and_larger_ones_are_not(caplog: pytest.LogCaptureFixture) -> None:
    """A worker sees a lost connection only, so the reason is logged."""
    topics: list[tuple[int, str, list[Any]]] = [(0, f"t{i:06d}" + "x" * 200, []) for i in range(4_000)]
    metadata = MetadataResponse_v0([], topics).encode()
    assert MAX_FIRST_FRAME_BYTES < len(metadata) < MAX_FRAME_BYTES
    taken = [0]

    async def ask(address: tuple[str, int]) -> int:
        connection = await connect(address)
        answer = await connection.send(MetadataRequest([]))
        with pytest.raises(conn.Errors.KafkaConnectionError):
            await connection.send(MetadataRequest([]))
        return len(answer.topics)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for content in (VERSIONS, metadata):
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            writer.write((len(content) + 4).to_bytes(4, "big") + request[4:8] + content)
        await raw((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), n_more=512, taken=taken)(reader, writer)

    assert with_broker(serve, ask) == 4_000
    assert taken[0] < 64
    assert f"announces an answer of {MAX_FRAME_BYTES + 1} bytes, must be 0 to {MAX_FRAME_BYTES}" in caplog.text


@pytest.mark.model
@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "announces an answer of 1213486160 bytes"),
        (raw(b"\x15\x03\x03\x00\x02\x02\x46"), "answers with a TLS alert; set HEADRACE_SECURITY_PROTOCOL"),
        (in_frames(b"\xff" * 40), "not Kafka's"),
    ],
)
def test_a_command_names_it_in_its_one_line(serve: Serve, told: str) -> None:
    async def ask(address: tuple[str, int]) -> str:
        with pytest.raises(BrokerError) as caught:
            await open_admin(KafkaSettings(broker=f"{address[0]}:{address[1]}"), timeout_ms=3_000)
        return str(caught.value)

    found = with_broker(serve, ask)
    assert told in found and "\n" not in found and "HEADRACE_BROKER" in found


@pytest.mark.model
def test_the_diagnosis_of_a_login_names_it() -> None:
    async def ask(address: tuple[str, int]) -> str:
        return await why_not([address], SCRAM, OSError())

    assert with_broker(ScramBroker(2**31 - 1).serve(), ask).startswith("it asks for 2147483647 SCRAM iterations")


def test_clients_of_settings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conn, "AIOKafkaConnection", BoundedConnection.__mro__[1])
    KafkaSettings().client_arguments()
    assert conn.AIOKafkaConnection is BoundedConnection
    bound_connections()
    assert conn.AIOKafkaConnection is BoundedConnection


@pytest.mark.model
def test_a_worker_is_bounded() -> None:
    """Faust makes its clients by itself, and they are bounded too.

    Whether a broker answers at the start is another matter.
    """
    code = (
        "import contextlib\nfrom streams.runtime.app import start_app\nfrom streams.sequencer.agent import build_sequencer\n"
        "with contextlib.suppress(SystemExit):\n    start_app(build_sequencer)\n"
        "from aiokafka import client, conn; assert client.create_conn.__globals__['AIOKafkaConnection'].__name__ == 'BoundedConnection'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_client_without_a_leader_or_a_broker_asks_ten_times_a_second() -> None:
    """Of itself it asks again as soon as an update has failed. Other topics wait for nobody."""

    async def attempts() -> tuple[int, float]:
        bound_connections()
        client, n = AIOKafkaClient(), 0
        began_s = time.monotonic()
        while time.monotonic() < began_s + 0.45:
            assert not await client._metadata_update(client.cluster, {"events"})
            n += 1
        began_s = time.monotonic()
        await client._metadata_update(client.cluster, {"events", "items"})
        return n, time.monotonic() - began_s

    n, took_s = asyncio.run(attempts())
    assert 2 <= n <= 6
    assert took_s < 0.05
