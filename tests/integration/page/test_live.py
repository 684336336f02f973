"""The page in Chromium beside real workers: an event published in it changes the list it shows."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from models.rules.document import version_of
from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.contract.rejects import Reject
from streams.contract.windows import WindowState
from streams.errors import InputError, RecordError
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics
from streams.server.page.topics import windows
from streams.server.page.topics.announcer import TopicAnnouncer
from streams.server.page.topics.deployment import TopicDeployment
from streams.server.page.topics.rejects import TopicRejects
from streams.server.page.topics.tails import BrokerFlow
from streams.server.page.topics.windows import Found, WindowReader
from streams.settings.load import RecommenderSettings, Settings
from tests.integration.lists.recommender_runs import WAIT_S, publish, recommender, variables_of, windows_of
from tests.integration.page.browser import Browser
from tests.integration.reading import read_all
from tests.integration.server.test_serve import serving
from tests.support import tiny
from tests.support.builders import FakeRecord, make_event
from tests.unit.streams.server.served import a_list
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka


@pytest.mark.long
@pytest.mark.usefixtures("catalogue")
def test_an_event_published_in_the_page_changes_the_shown_list(
    settings: Settings, tmp_path: Path, browser: Browser
) -> None:
    """The whole way: form, server, events, sequencer, recommender, server, page."""
    sequencer = Worker("sequencer", variables_of(settings, tmp_path), free_port(), tmp_path / "sequencer.log")
    model = {"HEADRACE_SERVE_RANKING": "on", "HEADRACE_ARTIFACT": str(tiny.artifact())}
    model["HEADRACE_ENCODER_CACHE_DIR"] = str(tmp_path / "page-texts")
    with recommender(settings, tmp_path), sequencer, serving(settings, tmp_path, **model) as server:
        sequencer.wait_ready(WAIT_S)
        tab = browser.tab()
        tab.open(f"{server.url}/page/user?id=visitor&language=en")
        assert "This user has no list yet" in tab.text()
        tab.wait("document.body.innerText.includes('sequences has no window of this user')")
        took_ms = []
        for n, item_id in enumerate(("i3", "i5", "i8", "i13"), start=1):
            tab.ask(f"document.getElementById('item').value = '{item_id}'")
            tab.ask("window.clicked = performance.now(); document.querySelector('form button').click()")
            tab.wait(f"document.getElementById('live').dataset.says.includes('revision {n}, ')")
            took_ms.append(tab.ask("performance.now() - window.clicked"))
            tab.wait(f"document.body.innerText.includes('Revision {n}, {n} behaviours')")
            assert item_id not in tab.ask("[...document.querySelectorAll('.list > li')].map(li => li.dataset.item)")
            assert f"Published: click of {item_id}" in tab.text()
        assert "Item number 13" in tab.text() and tab.ask("document.querySelectorAll('.chips li').length") > 0
        tab.wait("document.querySelector('.moved:not(:empty)') !== null")  # the page says what moved
        tab.ask("document.getElementById('item').value = 'i21'; document.getElementById('pretend').click()")
        tab.wait("document.querySelectorAll('#what-if .list > li').length > 0")
        assert "If a click of Item number 21 came now" in tab.text() and "Revision 4, 4 behaviours" in tab.text()
        tab.open(f"{server.url}/page/item?id=i21&language=en")
        assert tab.ask("document.querySelectorAll('.list a').length") > 5
        tab.open(f"{server.url}/?language=en")
        tab.wait("document.querySelector('.flow')?.innerText.includes('recommendations')")
        tab.open(f"{server.url}/page/users")
        tab.wait("document.querySelector('.users a')?.textContent === 'visitor'")
        assert tab.problems == []
        assert [url for url in tab.requests if not url.startswith(f"{server.url}/")] == []
    out = os.environ.get("PAGE_TIMES")  # figures for the documentation; no bound here: the cores are shared
    if out:
        Path(out).write_text("\n".join(f"{ms:.0f}" for ms in took_ms))


def test_a_window_is_found_in_the_tail_and_before_it_and_changes_live(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whose last event was long ago is found by a search; an unknown one is said to be."""
    monkeypatch.setattr(windows, "TAIL", 3)
    states: dict[str, object] = {}
    records = list(windows_of(40, 2, states))  # type: ignore[arg-type]  # filled with states
    publish(settings, "sequences", records)

    async def settled(reader: WindowReader, key: bytes) -> Found:
        deadline = time.monotonic() + WAIT_S
        while (found := reader.ask(key)).state == "searching":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return found

    async def run() -> None:
        reader = WindowReader(settings.kafka)
        for user in ("u0", "u39"):
            found = await settled(reader, user.encode())
            assert found == Found("found", states[user])  # type: ignore[arg-type]
        assert len(reader.recent(100)) < 40
        assert await settled(reader, b"nobody") == Found("none")
        await asyncio.to_thread(publish, settings, "sequences", [OutRecord(b"nobody", records[-1].value)])
        deadline = time.monotonic() + WAIT_S
        while reader.ask(b"nobody").state != "found":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert reader.recent(1) == [b"nobody"]
        await asyncio.to_thread(publish, settings, "sequences", [OutRecord(b"nobody", None)])
        while b"nobody" in reader.recent(100):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    asyncio.run(create_topics(settings.kafka))
    asyncio.run(run())


def test_the_flow_is_measured_on_the_topics(settings: Settings) -> None:
    """Ends, commits and lag of both hops, and the delay from a window to its list."""
    states: dict[str, WindowState | None] = {}
    asyncio.run(create_topics(settings.kafka))
    records = list(windows_of(6, 2, states))
    publish(settings, "sequences", records)
    for user, state in states.items():
        assert state is not None
        made = a_list(user, state.revision, offset=state.trigger.offset)
        publish(settings, "recommendations", [OutRecord(user.encode(), encode(made))])

    async def run() -> None:
        source = await BrokerFlow.open(settings.kafka)
        try:
            offsets, delays = await source.offsets(), await source.delays()
        finally:
            await source.close()
        assert offsets.ends == {"events": 0, "sequences": 12, "recommendations": 6}
        assert offsets.lag == {"events": 0, "sequences": 12}
        assert delays.keys() == {"window_list"} and delays["window_list"].n == 6

    asyncio.run(run())


def test_a_model_and_rules_are_announced_and_looked_at(settings: Settings, tmp_path: Path) -> None:
    """As the commands do it: within the roots, and only after what the visitor saw."""
    roots = RecommenderSettings(artifact=str(tiny.artifact()))
    settings = replace(settings, recommender=roots)
    asyncio.run(create_topics(settings.kafka))
    place = str(tiny.artifact())

    async def run() -> None:
        announcer, deployment = TopicAnnouncer(settings), TopicDeployment(settings.kafka)
        assert place in await announcer.proposed()
        look = await deployment.look()
        assert (look.models, look.rules, look.live) == ({}, {}, [])
        checked = await announcer.check(place)
        assert checked.golden in ("equal", "none") and not checked.told
        with pytest.raises(InputError, match="outside"):
            await announcer.check(str(tmp_path))
        with pytest.raises(InputError, match="when it was checked"):
            await announcer.publish(place, "", "0" * 64, None)
        with pytest.raises(InputError, match="look again"):
            await announcer.publish(place, "live@0.9", checked.sha256, None)
        announcement = await announcer.publish(place, "", checked.sha256, 1.0)
        with pytest.raises(InputError, match="look again"):
            await announcer.publish(place, "", checked.sha256, None)
        first = await announcer.put_rules("list_size = 5", "")
        with pytest.raises(InputError, match="look again"):
            await announcer.put_rules("list_size = 6", "")
        deadline = time.monotonic() + WAIT_S
        while len((look := await deployment.look()).rules) < 2 or not look.models:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        held = look.models["live"]
        assert held.record is not None and (held.id, held.record.artifact) == (announcement, checked.artifact)
        assert (held.record.uri, held.record.previous, held.record.refresh_days) == (place, None, 1.0)
        assert look.rules["default"].id == first
        with pytest.raises(InputError, match="look again"):
            await announcer.rollback("", None)
        taken_back = await announcer.rollback(announcement, None)
        await announcer.rollback_rules(version_of("list_size = 5"))
        while (look := await deployment.look()).models["live"].id != taken_back or look.rules["default"].record:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert look.models["live"].record is None

    asyncio.run(run())


def test_rejects_are_counted_shown_and_sent_again_once(settings: Settings) -> None:
    """What would be rejected again stays; what was sent is marked, and is on ``events``."""

    def reject(offset: int, value: bytes, reason: str, field: str) -> OutRecord:
        record = FakeRecord(b"u1", value, offset)
        return Reject(record, RecordError(reason, field, "detail")).as_record()

    asyncio.run(create_topics(settings.kafka))
    good = encode(make_event("e1", user_id="u1"))
    records = [
        reject(1, good, "partition", "key"),
        reject(2, b"\xc1", "malformed", ""),
        reject(1, good, "partition", "key"),
    ]

    async def run() -> None:
        async with Publisher(settings.kafka) as publisher:
            for record in records:
                await publisher.publish(
                    settings.kafka.topic("events.rejected"), record.key or b"", record.value, record.headers
                )
        rejects = TopicRejects(settings)
        look = await rejects.look(None)
        assert look.is_whole and sorted(look.rows) == [("malformed", "", 1, 0), ("partition", "key", 1, 0)]
        assert [one.value for one in (await rejects.look("malformed")).newest] == [b"\xc1"]
        checked = await rejects.redrive(None, is_sent=False)
        assert (checked.sent, checked.left, checked.redriven_before) == (1, 1, 0)
        sent = await rejects.redrive("partition", is_sent=True)
        assert (sent.sent, sent.left) == (1, 0)
        assert sorted((await rejects.look(None)).rows) == [("malformed", "", 1, 0), ("partition", "key", 1, 1)]
        assert (await rejects.redrive(None, is_sent=False)).redriven_before == 1

    asyncio.run(run())
    assert [record.value for record in read_all(settings, "events")] == [good]
