"""What a worker makes of the records on privacy: marks, erasures, receipts, and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

from streams.announcements.follow import Announced
from streams.announcements.receipts import Receipts
from streams.contract.announcements import PrivacyRequest
from streams.forgetting.requests import YOUNG_MS, Forgetting, Request, describe_remains, lapsed_marks
from streams.health.counters import Metrics
from streams.settings.load import load_settings

NOW_MS = int(time.time() * 1000)


class Answers:
    """Notes receipts."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str, str]] = []

    def give(self, _kind: str, id: str, *, stage: str, partition: int, detail: str) -> None:
        self.given.append((id, stage, detail))


class FakeEraser:
    """Has data of the users that it is given."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = keys
        self.ready_after = 0

    def can_erase(self, _partition: int) -> bool:
        self.ready_after -= 1
        return self.ready_after < 0

    async def erase(self, _partition: int, requests: Sequence[Request]) -> dict[bytes, str]:
        return {request.key: "a window" for request in requests if request.key in self.keys}


def forgetting(eraser: FakeEraser, answers: Answers) -> Forgetting:
    """Return one that follows nothing by itself."""
    return Forgetting(load_settings({}), eraser, cast(Receipts, answers), Metrics(), ())


def asked(user: str, ts: int = NOW_MS, key: str = "", **more: Any) -> dict[str, Announced[PrivacyRequest]]:
    """Return a request as it is read."""
    record = PrivacyRequest(1, user, "forget", ts, **{"request_id": f"r-{user}"} | more)
    return {key or user: Announced(key or user, record, 0, 0)}


def test_the_newest_request_of_a_user_is_the_mark_and_a_removal_ends_it() -> None:
    """A whole reading replaces the marks: what lapsed meanwhile is gone."""
    found = forgetting(FakeEraser(), Answers())
    found.take(asked("a", 5) | asked("b", 6))
    found.take(asked("a", 9))
    assert found.marks == {b"a": 9, b"b": 6}
    found.take({"b": Announced("b", None, 0, 1)})
    assert found.marks == {b"a": 9}
    marks = found.marks
    found.take(asked("c", 7), is_whole=True)
    assert found.marks == {b"c": 7} and found.marks is marks, "others hold the same object"


def test_a_request_that_breaks_the_contract_is_answered_and_has_no_effect() -> None:
    """Else a key of another user, or a clock that is ahead, would erase more than was asked."""
    answers = Answers()
    found = forgetting(FakeEraser(), answers)
    wrong = asked("a", key="b") | asked("c", NOW_MS + 86_400_000)
    assert found.take(wrong) == [] and found.marks == {}
    assert [(id, stage) for id, stage, _ in answers.given] == [("r-a", "failed"), ("r-c", "failed")]


def test_receipts_come_after_the_erasure_once_the_state_is_there(monkeypatch: Any) -> None:
    """A user without data has a receipt too; an old request is answered again only for a find."""

    async def longest(*_: Any) -> dict[str, int | None]:
        return {}

    monkeypatch.setattr("streams.forgetting.requests.longest_of", longest)
    monkeypatch.setattr("streams.forgetting.requests.POLL_S", 0.0)

    async def run() -> None:
        answers, eraser = Answers(), FakeEraser(b"a", b"old")
        eraser.ready_after = 3
        found = forgetting(eraser, answers)
        home = {user: found.take(asked(user))[0].partition for user in ("a", "b")}
        requests = found.take(asked("a") | asked("b"))
        await found.forget(set(home.values()), requests)
        assert {(id, detail.split(";")[0]) for id, _, detail in answers.given} == {
            ("r-a", "a window"),
            ("r-b", "nothing left to erase"),
        }
        answers.given.clear()
        old = found.take(asked("old", NOW_MS - 2 * YOUNG_MS) | asked("older", NOW_MS - 2 * YOUNG_MS))
        await found.forget(range(64), old, is_again=True)
        assert [id for id, _, _ in answers.given] == ["r-old"]
        await found.forget([], requests)
        assert len(answers.given) == 1, "other workers' users"

    asyncio.run(run())


def test_a_batch_waits_for_the_marks_and_is_let_go_with_its_assignment() -> None:
    """A batch that was judged without the marks could give a forgotten user a window."""

    async def run() -> None:
        found = forgetting(FakeEraser(), Answers())
        waiting = asyncio.ensure_future(found.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        found.let_go()
        assert await waiting is False

    asyncio.run(run())


def test_a_mark_lapses_when_no_topic_can_bring_its_events_back() -> None:
    """Without a bound, or where the broker does not tell, it never does."""
    marks = {b"old": NOW_MS - 11, b"new": NOW_MS - 9}
    assert lapsed_marks(marks, [5, 10], NOW_MS) == [b"old"]
    assert lapsed_marks(marks, [5, None], NOW_MS) == [] == lapsed_marks(marks, [], NOW_MS)
    told = describe_remains({"events": 0, "sequences": None}, 1_764_547_200_000)
    assert "events until 2025-12-01 00:00 UTC" in told and "sequences for as long" in told
