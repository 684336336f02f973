"""A worker's answers to announcements, on the topic ``receipts``.

A receipt names the worker by its member id, because the broker tells commands the member ids of
those who are live. A worker that joins its group again has another id, so it gives its newest
receipt of each kind again; it does so every day too, for the topic keeps receipts for a month.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from streams.contract.announcements import Answering, GoldenState, Receipt, ReceiptKind, Stage
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, encode
from streams.errors import BrokerError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

#: Seconds between two looks at the member id, and before the next try after a failure.
POLL_S: Final = 0.5
#: Seconds after which a worker gives its newest receipts again: far less than the topic keeps them.
AGAIN_S: Final = 86_400.0
#: A detail is cut to this many characters.
MAX_DETAIL: Final = 2_000
#: The partition of ``receipts``.
PARTITION: Final = 0


class Receipts:
    """Writes a worker's receipts. For one event loop; :meth:`run` does the writing.

    Parameters
    ----------
    member_id : returns the worker's member id, empty while it has none
    clock : seconds since 1970
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        app: Answering,
        member_id: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = kafka
        self._app = app
        self._member_id = member_id
        self._clock = clock
        self._written_as = ""
        self._repeated_s = clock()
        self._newest: dict[ReceiptKind, Receipt] = {}
        self._waiting: list[tuple[Receipt, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()

    def give(
        self,
        kind: ReceiptKind,
        announcement: str,
        *,
        stage: Stage,
        partition: int | None = None,
        detail: str = "",
        artifact: str | None = None,
        golden: GoldenState | None = None,
    ) -> asyncio.Future[None]:
        """Note a receipt; the future ends when the broker has it. Awaiting it is optional.

        The same receipt may be given again: it replaces the one before.

        Parameters
        ----------
        announcement : the announcement's id
        partition : where the answer is for the users of one partition
        detail : for people: how far the work is, or why it failed
        artifact, golden : of an answer about a model: the one that is in force
        """
        receipt = Receipt(
            VERSION, kind, announcement, self._app, "-", stage, int(1000 * self._clock()), partition,
            detail[:MAX_DETAIL], artifact, golden,
        )  # fmt: skip
        if partition is None:
            self._newest[kind] = receipt
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((receipt, future))
        self._arrived.set()
        return future

    async def run(self) -> None:
        """Write receipts until cancelled; try again while the broker does not take them."""
        writer = BatchWriter(self._kafka)
        is_started = False
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), POLL_S)
                worker = self._member_id()
                if not worker:
                    await asyncio.sleep(POLL_S)
                    continue
                if self._written_as not in ("", worker) or self._clock() >= self._repeated_s + AGAIN_S:
                    self._repeated_s = self._clock()
                    for receipt in self._newest.values():
                        self._waiting.append((receipt, asyncio.get_running_loop().create_future()))
                self._written_as = worker
                self._arrived.clear()
                if not self._waiting:
                    continue
                try:
                    if not is_started:
                        await writer.start()
                        is_started = True
                    await self._write(writer, worker)
                except BrokerError as exc:
                    log.warning("receipts: not delivered, trying again: %s", exc)
                    await writer.stop()
                    writer, is_started = BatchWriter(self._kafka), False
                    self._arrived.set()
                    await asyncio.sleep(POLL_S)
        finally:
            await writer.stop()

    async def _write(self, writer: BatchWriter, worker: str) -> None:
        """Write all that waits; what arrives meanwhile waits for the next turn."""
        batch = list(self._waiting)
        topic = self._kafka.topic("receipts")
        records = []
        for receipt, _ in batch:
            receipt.worker = worker
            records.append(OutRecord(receipt.key(), encode(receipt)))
        await delivered(await writer.send(topic, PARTITION, records))
        del self._waiting[: len(batch)]
        for _, future in batch:
            if not future.done():
                future.set_result(None)
