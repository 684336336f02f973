"""What a broker can make a connection of this process read and compute is bounded, and what is no answer of Kafka's ends the connection.

aiokafka 0.14 reads as many bytes as four bytes of the broker announce, up to 2 GiB, and computes as many SCRAM iterations as the broker
asks for (2**31 of them take half an hour), both before it is known who the broker is. kafka-python had the same fault
(GHSA-2jcm-hq8r-84wx).
"""

from __future__ import annotations

import logging
import struct
from typing import Any, Final

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator
from aiokafka.errors import KafkaConnectionError

log = logging.getLogger("aiokafka.conn")  # commands hold its lines back, because their one line of error says the same

#: A broker takes requests of 100 MiB at most (``socket.request.max.bytes``), so that no record batch is larger; and some room beside it.
MAX_FRAME_BYTES: Final = 101 << 20
#: An answer before the login is done: versions, mechanisms, what SCRAM and tokens exchange. Kafka's are under 2 KiB.
MAX_FIRST_FRAME_BYTES: Final = 1 << 16
#: RFC 7677, section 4: fewer make a password cheap to guess for who reads or asks for the exchange.
MIN_ITERATIONS: Final = 4_096
#: Kafka 4 lets no credential have more than 16,384; older brokers set no limit. This many take 0.2 s.
MAX_ITERATIONS: Final = 100_000

#: How a TLS listener's answer to plain text begins: an alert (21) of version 3. As a length it would be 352 MB.
TLS_ALERT: Final = 0x1503
#: What aiokafka raises on bytes that are no answer of Kafka's.
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


class BrokerAnswerError(ConnectionError):
    """A broker's answer is beyond a limit or none of Kafka's. The message says which, and what to do, for a sentence about the broker."""


def bound_connections() -> None:
    """Bound all connections to brokers that this process opens from now on, those of Faust too. Repeat-safe."""
    conn.AIOKafkaConnection = BoundedConnection


class BoundedConnection(AIOKafkaConnection):
    """aiokafka's connection, with limits on what the broker sends."""

    max_frame_bytes = MAX_FIRST_FRAME_BYTES

    async def connect(self) -> Any:
        """Connect and log in; raise :class:`BrokerAnswerError` where an answer is beyond a limit or none of Kafka's."""
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
        """Return what logs in by SCRAM."""
        return BoundedScram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    @staticmethod
    async def _read(self_ref: Any) -> None:
        """Hand over answer after answer: aiokafka's own loop, which also holds no reference to the connection while it waits."""
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
        """Raise :class:`BrokerAnswerError` where an answer of so many bytes is beyond the limit."""
        if size >> 16 == TLS_ALERT:
            self._refuse(
                BrokerAnswerError(
                    "it answers with an alert of TLS; set HEADRACE_SECURITY_PROTOCOL to SSL or SASL_SSL, or correct HEADRACE_BROKER"
                )
            )
        if not 0 <= size <= self.max_frame_bytes:
            when = " before the login is done" if self.max_frame_bytes == MAX_FIRST_FRAME_BYTES else ""
            self._refuse(
                BrokerAnswerError(
                    f"it announces an answer of {size} bytes{when}, must be 0 to {self.max_frame_bytes}; Kafka sends none such: check who "
                    "listens there, and HEADRACE_BROKER"
                )
            )

    def take(self, answer: bytes) -> None:
        """Give an answer to who waits for it."""
        try:
            self._handle_frame(answer)
        except _NO_ANSWER as exc:
            self._refuse(_no_answer(exc))

    def _refuse(self, error: BrokerAnswerError) -> None:
        """End the connection; say so, because the client only sees one that was lost."""
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
        """Derive the password's key, for which the broker gives salt and iterations."""
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise BrokerAnswerError(
                f"it asks for {iterations} SCRAM iterations, must be {MIN_ITERATIONS} to {MAX_ITERATIONS}; set the user's password on the "
                "broker again with so many, or check who listens there"
            )
        super().create_salted_password(salt, iterations)


def _no_answer(exc: BaseException) -> BrokerAnswerError:
    return BrokerAnswerError(
        f"its answer is none of Kafka's ({type(exc).__name__}); check who listens there, and HEADRACE_BROKER"
    )
