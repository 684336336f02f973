"""Bounds how much a broker, or its absence, can make this process read, compute and ask.

aiokafka 0.14 reads as many bytes as the first four bytes of an answer announce, up to 2 GiB. It
computes as many SCRAM iterations as the broker asks for; 2**31 of them take half an hour. Both
happen before the broker has proved who it is. kafka-python had the same fault
(GHSA-2jcm-hq8r-84wx). Here an answer that is not Kafka's ends the connection.

aiokafka's consumer asks for the topology again and again, without a pause, as long as a partition
has no leader; its producer does so too. With the broker away that was 1,700 attempts a second and a
quarter of a core. Here an update waits until ``retry_backoff_ms`` have passed since the one before.
"""

from __future__ import annotations

import asyncio
import logging
import math
import struct
import time
from typing import Any, Final

from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator
from aiokafka.errors import KafkaConnectionError

log = logging.getLogger("aiokafka.conn")  # commands hide its lines: their own error says the same

#: A broker takes requests of at most 100 MiB (``socket.request.max.bytes``), so no record batch is
#: larger; the rest is room around the batch.
MAX_FRAME_BYTES: Final = 101 << 20
#: Largest answer before the login: versions, mechanisms, the login's messages. Kafka's are < 2 KiB.
MAX_FIRST_FRAME_BYTES: Final = 1 << 16
#: RFC 7677, section 4. With fewer, whoever reads the exchange can guess the password cheaply.
MIN_ITERATIONS: Final = 4_096
#: Takes 0.2 s. Kafka 4 allows at most 16,384 for a credential; older brokers have no limit.
MAX_ITERATIONS: Final = 100_000

#: A TLS listener answers plain text with an alert (21) of version 3; as a length that is 352 MB.
TLS_ALERT: Final = 0x1503
#: aiokafka raises these on bytes that are not an answer of Kafka's.
_NO_ANSWER: Final = (
    ValueError,
    LookupError,
    AssertionError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    struct.error,
)
_LENGTH: Final = struct.Struct(">i")
_update: Final = AIOKafkaClient._metadata_update


class BrokerAnswerError(ConnectionError):
    """A broker's answer is beyond a limit, or not Kafka's.

    The message continues a sentence about the broker: fault, limit, remedy.
    """


def bound_connections() -> None:
    """Bound all connections that this process opens from now on, also those of Faust.

    A second call changes nothing.
    """
    conn.AIOKafkaConnection = BoundedConnection
    AIOKafkaClient._metadata_update = _paced_update


async def _paced_update(client: Any, cluster: Any, topics: Any) -> Any:
    """Update the topology; wait before if the same topics were just asked for."""
    asked_s, asked = getattr(client, "last_update", (-math.inf, None))
    if cluster is client.cluster and asked == set(topics):
        await asyncio.sleep(asked_s + client._retry_backoff - time.monotonic())
    is_updated = await _update(client, cluster, topics)
    if cluster is client.cluster:
        client.last_update = time.monotonic(), set(topics)
    return is_updated


class BoundedConnection(AIOKafkaConnection):
    """aiokafka's connection, with limits on what the broker sends."""

    max_frame_bytes = MAX_FIRST_FRAME_BYTES

    async def connect(self) -> Any:
        """Connect and log in.

        Raises
        ------
        BrokerAnswerError
            When an answer is beyond a limit, or not Kafka's.
        """
        try:
            streams = await super().connect()
        except KafkaConnectionError as exc:
            if isinstance(exc.__cause__, BrokerAnswerError):
                raise exc.__cause__ from None
            raise
        except _NO_ANSWER as exc:
            raise _no_answer(exc) from exc
        self.max_frame_bytes = MAX_FRAME_BYTES
        return streams

    def authenticator_scram(self) -> BoundedScram:
        """Return the object that logs in by SCRAM."""
        return BoundedScram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    @staticmethod
    async def _read(self_ref: Any) -> None:
        """Hand over one answer after another, as aiokafka's own loop does.

        It holds no reference to the connection while it waits, so that a lost one can be collected.
        """
        connection = self_ref()
        if connection is None:
            return
        reader = connection._reader
        del connection
        while True:
            (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            connection = self_ref()
            if connection is None:
                return
            connection.check_size(size)
            del connection
            answer = await reader.readexactly(size)
            connection = self_ref()
            if connection is None:
                return
            connection.take(answer)
            del connection

    def check_size(self, size: int) -> None:
        """Raise :class:`BrokerAnswerError` when an answer of ``size`` bytes is beyond the limit."""
        if size >> 16 == TLS_ALERT:
            self._refuse(
                BrokerAnswerError(
                    "it answers with a TLS alert; set HEADRACE_SECURITY_PROTOCOL to SSL or SASL_SSL, or correct HEADRACE_BROKER"
                )
            )
        if not 0 <= size <= self.max_frame_bytes:
            when = " before the login is done" if self.max_frame_bytes == MAX_FIRST_FRAME_BYTES else ""
            self._refuse(
                BrokerAnswerError(
                    f"it announces an answer of {size} bytes{when}, must be 0 to {self.max_frame_bytes}; that is not Kafka: check which "
                    "program listens there, and HEADRACE_BROKER"
                )
            )

    def take(self, answer: bytes) -> None:
        """Give an answer to the request that waits for it."""
        try:
            self._handle_frame(answer)
        except _NO_ANSWER as exc:
            self._refuse(_no_answer(exc))

    def _refuse(self, error: BrokerAnswerError) -> None:
        """Log why and end the connection: the client itself only reports a lost connection."""
        log.error("broker %s:%s: %s", self.host, self.port, error)
        raise error


class BoundedScram(ScramAuthenticator):
    """SCRAM with a limit on the iterations that the broker asks for."""

    def _step(self, payload: bytes | None) -> Any:
        try:
            return super()._step(payload)
        except BrokerAnswerError:
            raise
        except _NO_ANSWER as exc:
            raise _no_answer(exc) from exc

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Derive the password's key with the salt and the iterations that the broker gives."""
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise BrokerAnswerError(
                f"it asks for {iterations} SCRAM iterations, must be {MIN_ITERATIONS} to {MAX_ITERATIONS}; set the user's password on the "
                "broker again with a number in that range, or check which program listens there"
            )
        super().create_salted_password(salt, iterations)


def _no_answer(exc: BaseException) -> BrokerAnswerError:
    return BrokerAnswerError(
        f"its answer is not Kafka's ({type(exc).__name__}); check which program listens there, and HEADRACE_BROKER"
    )
