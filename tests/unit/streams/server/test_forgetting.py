"""A server forgets users and answers for it; nothing connects to a broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from streams.announcements.follow import Announced
from streams.contract.announcements import PrivacyRequest
from streams.contract.records import User, encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.server.forgetting import YOUNG_MS, Forgotten
from streams.server.lists.answers import ListAnswers, Question
from streams.server.lists.records import KeptRecords, forget_user
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.store import Span
from streams.server.ranking.known_users import KnownUsers
from streams.settings.load import KafkaSettings
from tests.support.builders import FakeRecord
from tests.unit.streams.server.served import NOW_MS, a_list, begun, change


class RecordingReceipts:
    """Remembers what was given, and in which order with what was erased."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def give(self, kind: str, announcement: str, *, stage: str, detail: str = "", **more: Any) -> None:
        self.told.append((kind, announcement, stage))

    async def erase(self, marks: Mapping[bytes, int]) -> None:
        self.told.append(dict(marks))


def request(user_id: str, ts: int, request_id: str | None = "r") -> dict[str, Announced[PrivacyRequest]]:
    return {user_id: Announced(user_id, PrivacyRequest(1, user_id, "forget", ts, request_id), 0, 0)}


def test_a_user_is_erased_before_the_receipt_and_what_is_later_stays() -> None:
    """A request without an id gets no receipt; a removed one marks nobody."""

    async def run() -> None:
        now_ms, told = int(1000 * time.time()), RecordingReceipts()
        receipts: Any = told
        forgotten = Forgotten(KafkaSettings(), receipts, told.erase, 1_000)
        await forgotten.take(request("u", now_ms) | request("v", now_ms, None))
        assert told.told == [{b"u": now_ms, b"v": now_ms}, ("forget", "r", "done")]
        assert [forgotten.is_former(b"u", revision) for revision in (0, now_ms, now_ms + 1)] == [True, True, False]
        assert not forgotten.is_former(b"w", 0)
        await forgotten.take({"u": Announced("u", None, 0, 1)})
        assert not forgotten.is_former(b"u", 0)

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
        assert forgotten.is_former(b"u", old_ms) and not forgotten.is_former(b"y", 0)

    asyncio.run(run())


def test_a_request_of_the_future_counts_for_nobody() -> None:
    """Workers refuse it; a server that took it would hide all lists of the user to come."""

    async def run() -> None:
        told = RecordingReceipts()
        receipts: Any = told
        forgotten = Forgotten(KafkaSettings(), receipts, told.erase, 1_000)
        await forgotten.take(request("u", int(1000 * time.time()) + 60_000))
        assert told.told == [] and not forgotten.is_former(b"u", 0)

    asyncio.run(run())


def test_a_list_of_a_former_life_is_in_no_answer(tmp_path: Path) -> None:
    """Even if the store still has it, and whatever time its event had.

    A sequencer that has not read the request makes lists of the former life, also of events after
    the request. The list of a user who came back is an answer.
    """

    async def run() -> None:
        store = await begun(RocksDbStore(tmp_path))
        answers = ListAnswers(
            store,
            ShownItems(),
            clock=lambda: NOW_MS / 1000,
            is_former=lambda key, revision: key == b"u" and revision <= NOW_MS,
        )
        await store.apply(Span(0, 0, 1), [change(0, a_list("u", 7, event_ts=NOW_MS + 5))])
        assert await answers.stored("u") is None
        await store.apply(Span(0, 1, 2), [change(1, a_list("u", NOW_MS + 2, event_ts=NOW_MS + 1))])
        assert (await answers.answer(Question("u"))).revision == NOW_MS + 2
        await store.close()

    asyncio.run(run())


def test_only_former_lives_are_erased(tmp_path: Path) -> None:
    """A start reads requests again: a user who came back since keeps record and window."""

    async def run() -> None:
        records, counted = KeptRecords(tmp_path), RecordingPopularity()
        known = KnownUsers(records, lambda name, n: None, is_on=True)
        known.adopt(cast(LivePopularity, counted))
        mark = NOW_MS
        for name, revision, written_ms in (("before", 3, mark), ("after", mark + 2, mark + 1)):
            key = name.encode()
            records.put("users", key, encode(User(1, name, {"age": 3.0})), written_ms)
            await known.take([FakeRecord(key, window(revision), topic="sequences")])
            forget_user(records, key, mark)
            known.forget(key, mark)
        kept = [(records.get("users", key), known.window(key)) for key in (b"before", b"after")]
        assert kept[0] == (None, None) and None not in kept[1]
        assert counted.keys == {b"after"}
        records.close()

    asyncio.run(run())


def test_a_window_of_a_former_life_that_comes_late_is_not_kept(tmp_path: Path) -> None:
    """Nor does it count as popular."""

    async def run() -> None:
        records, counted = KeptRecords(tmp_path), RecordingPopularity()
        known = KnownUsers(records, lambda name, n: None, is_on=True, is_former=lambda key, revision: revision < 5)
        known.adopt(cast(LivePopularity, counted))
        await known.take([FakeRecord(b"u", window(6), topic="sequences")])
        assert counted.keys == {b"u"}
        await known.take([FakeRecord(b"u", window(4), topic="sequences")])
        assert known.window(b"u") is None and counted.keys == set() and not records.page("windows", b"", 9)
        records.close()

    asyncio.run(run())


class RecordingPopularity:
    """Knows whose windows count."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()

    def put(self, partition: int, key: bytes, state: Any) -> None:
        self.keys.add(key)

    def remove(self, partition: int, keys: Sequence[bytes]) -> None:
        self.keys -= set(keys)


def window(revision: int) -> bytes:
    """Return an encoded window of one event."""
    return encode(WindowState(1, revision, NOW_MS, [WindowItem(NOW_MS, "e", "a", "view")], Trigger("e", NOW_MS, 0)))
