"""A server forgets users and answers for it; nothing connects to a broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from streams.announcements.follow import Announced
from streams.contract.announcements import PrivacyRequest
from streams.server.forgetting import YOUNG_MS, Forgotten
from streams.server.lists.answers import ListAnswers, Question
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.shown_items import ShownItems
from streams.settings.load import KafkaSettings
from tests.unit.streams.server.served import NOW_MS, a_list, change


class RecordingReceipts:
    """Remembers what was given, and in which order with what was erased."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def give(self, kind: str, announcement: str, *, stage: str, detail: str = "", **more: Any) -> None:
        self.told.append((kind, announcement, stage))

    async def erase(self, key: bytes) -> None:
        self.told.append(key)


def request(user_id: str, ts: int, request_id: str | None = "r") -> dict[str, Announced[PrivacyRequest]]:
    return {user_id: Announced(user_id, PrivacyRequest(1, user_id, "forget", ts, request_id), 0, 0)}


def test_a_user_is_erased_before_the_receipt_and_what_is_later_stays() -> None:
    """A request without an id gets no receipt; a removed one marks nobody."""

    async def run() -> None:
        now_ms, told = int(1000 * time.time()), RecordingReceipts()
        receipts: Any = told
        forgotten = Forgotten(KafkaSettings(), receipts, told.erase, 1_000)
        await forgotten.take(request("u", now_ms) | request("v", now_ms, None))
        assert told.told == [b"u", ("forget", "r", "done"), b"v"]
        assert [forgotten.is_forgotten(b"u", ts) for ts in (0, now_ms, now_ms + 1)] == [True, True, False]
        assert not forgotten.is_forgotten(b"w", 0)
        await forgotten.take({"u": Announced("u", None, 0, 1)})
        assert not forgotten.is_forgotten(b"u", 0)

    asyncio.run(run())


def test_an_old_request_still_marks_but_is_not_answered_again() -> None:
    """Nor is a record under another key taken for a request."""

    async def run() -> None:
        told = RecordingReceipts()
        receipts: Any = told
        forgotten = Forgotten(KafkaSettings(), receipts, told.erase, 1_000)
        old_ms = int(1000 * time.time()) - YOUNG_MS - 1
        await forgotten.take(request("u", old_ms))
        await forgotten.take({"x": request("y", old_ms + YOUNG_MS)["y"]})
        assert told.told == []
        assert forgotten.is_forgotten(b"u", old_ms) and not forgotten.is_forgotten(b"y", 0)

    asyncio.run(run())


def test_a_request_of_the_future_counts_for_nobody() -> None:
    """Workers refuse it; a server that took it would hide all lists of the user to come."""

    async def run() -> None:
        told = RecordingReceipts()
        receipts: Any = told
        forgotten = Forgotten(KafkaSettings(), receipts, told.erase, 1_000)
        await forgotten.take(request("u", int(1000 * time.time()) + 60_000))
        assert told.told == [] and not forgotten.is_forgotten(b"u", 0)

    asyncio.run(run())


@pytest.mark.parametrize("after_ms", [0, 1])
def test_a_list_of_before_a_request_is_in_no_answer(tmp_path: Path, after_ms: int) -> None:
    """Even if the store still has it; the list of a user who came back is."""

    async def run() -> None:
        store = RocksDbStore(tmp_path)
        await store.apply(0, 1, [change(0, a_list("u", event_ts=NOW_MS + after_ms))])
        answers = ListAnswers(
            store, ShownItems(), clock=lambda: NOW_MS / 1000, is_forgotten=lambda key, ts: key == b"u" and ts <= NOW_MS
        )
        assert (await answers.stored("u") is None) is (after_ms == 0)
        if after_ms:
            assert (await answers.answer(Question("u"))).items
        await store.close()

    asyncio.run(run())
