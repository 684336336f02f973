"""The flow: rates, lag and delays from offsets and records, watched only while somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import pytest

from streams.errors import BrokerError
from streams.server.page.frame.shell import duration, rate
from streams.server.page.topics import flow
from streams.server.page.topics.flow import Delay, FlowWatch, Offsets, Source, delay_of, look_between
from streams.server.page.topics.tails import Tails, delays_of, tails_of


class Record(NamedTuple):
    """What the join reads of a record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None


def test_quantiles_are_those_of_the_samples() -> None:
    """Nearest rank; a delay below 0 is of two clocks."""
    assert delay_of([]) is None
    assert delay_of([7]) == Delay(7, 7, 1)
    assert delay_of([-5, 3]) == Delay(0, 3, 2)
    assert delay_of(range(1, 101)) == Delay(50, 100, 100)
    assert delay_of(range(1, 201)) == Delay(100, 199, 200)


def test_rates_are_growth_over_time_and_never_below_zero() -> None:
    """A topic that was made anew begins at 0; one that is new has no rate yet."""
    before = Offsets(10.0, {"events": 100, "sequences": 50}, {"events": 90}, {"events": 10})
    after = Offsets(12.0, {"events": 140, "sequences": 0, "recommendations": 9}, {"events": 130}, {"events": 7})
    look = look_between(before, after, {}, 5)
    assert look.written == {"events": 20.0, "sequences": 0.0, "recommendations": 0.0}
    assert (look.read, look.lag, look.at_ms) == ({"events": 20.0}, {"events": 7}, 5)


def window(partition: int, key: bytes, revision: int, offset: int, ts: int) -> Record:
    """Return a window that the event at an offset made."""
    value = {"v": 1, "revision": revision, "newest_ts": 1, "items": [], "trigger": ["e", 1, offset]}
    return Record(partition, 0, ts, key, msgspec.msgpack.encode(value))


def a_list(partition: int, key: bytes, revision: int, offset: int, ts: int, **more: object) -> Record:
    """Return a list that the event at an offset made."""
    value = {"revision": revision, "offset": offset, "user_id": "u", "items": []} | more
    return Record(partition, 0, ts, key, msgspec.msgpack.encode(value))


def test_the_newest_records_are_joined_by_what_they_name() -> None:
    """A window names its event, a list its window and event; a revision's first list counts."""
    records = {
        "events": [Record(0, 7, 1_000), Record(1, 7, 5_000)],
        "sequences": [window(0, b"u", 3, 7, 1_040), window(0, b"old", 1, 2, 1_900), Record(0, 0, 9, b"u", b"\xc1")],
        "recommendations": [
            a_list(0, b"u", 3, 7, 1_100, provisional=True),
            a_list(0, b"u", 3, 7, 1_900),
            a_list(0, b"v", 1, 99, 2_000),
            Record(0, 0, 9, b"u", None),
        ],
    }
    assert delays_of(tails_of(records)) == {
        "event_window": Delay(40, 40, 1),
        "window_list": Delay(60, 60, 1),
        "event_list": Delay(100, 100, 1),
    }
    assert delays_of(Tails({}, {}, {})) == {}


@pytest.mark.parametrize(("per_s", "text"), [(0, "0/s"), (0.25, "0.2/s"), (12.4, "12/s"), (12_345.6, "12,346/s")])
def test_a_rate_is_readable(per_s: float, text: str) -> None:
    """Small ones with a decimal, large ones with a mark at thousands."""
    assert rate(per_s) == text


def test_a_duration_is_readable() -> None:
    """Milliseconds, and seconds from ten on."""
    assert (duration(0.4), duration(9_999), duration(61_000)) == ("0 ms", "9999 ms", "61 s")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_watch_looks_while_somebody_asks_and_comes_back_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks: the source is closed. A broker that fails is told, and asked again."""
    opened: list[str] = []

    async def offsets() -> Offsets:
        if len(opened) == 1:
            raise BrokerError("the broker does not answer")
        return Offsets(float(len(opened)), {"events": 1}, {}, {})

    async def delays() -> dict[str, Delay]:
        return {}

    async def close() -> None:
        opened.append("closed")

    async def open_source() -> Source:
        opened.append("opened")
        return Source(offsets, delays, close)

    async def run(make: Callable[[], Awaitable[Source]]) -> None:
        watch = FlowWatch(make, tick_s=0.002)
        assert watch.looks() == []
        await until(lambda: watch.problem == "the broker does not answer")
        await until(lambda: len(watch.looks()) > 3)
        assert watch.problem == ""
        monkeypatch.setattr(flow, "IDLE_S", 0.0)
        await until(lambda: opened == ["opened", "closed", "opened", "closed"])
        assert watch.looks() == []

    asyncio.run(run(open_source))
