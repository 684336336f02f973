"""An answer with a traced list is a span of the list's trace; its age is measured in any case."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.contract.log_coordinates import ATTRIBUTE
from streams.contract.records import encode
from streams.runtime.tracing import HEADER, Tracing
from streams.server.lists.answers import ListAnswers, Question
from streams.server.lists.follower import ListFollower
from streams.server.lists.list_traces import MAX_LISTS, ListTraces
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.shown_items import ShownItems
from streams.settings.load import KafkaSettings
from tests.support.builders import FakeRecord
from tests.unit.streams.server.served import NOW_MS, a_list, begun

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = [(HEADER, f"00-{TRACE}-{SPAN}-01".encode())]


def traced() -> tuple[ListTraces, InMemorySpanExporter]:
    """Return traces whose ended spans can be looked at."""
    ended = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    return ListTraces(Tracing(provider, 0.0)), ended


def test_an_answer_goes_on_with_the_trace_of_its_list(tmp_path: Path) -> None:
    """A newer list of the user without a trace has no span, although the user's earlier one had."""

    async def scenario() -> list[float]:
        traces, ended = traced()
        store = await begun(RocksDbStore(tmp_path / "store"))
        ages: list[float] = []
        shown = ShownItems(lambda: NOW_MS / 1000)
        answers = ListAnswers(store, shown, None, lambda: NOW_MS / 1000 + 60, ages.append, traces)
        follower = ListFollower(KafkaSettings(), store, traces=traces)
        await follower.take(0, [FakeRecord(b"u", encode(a_list("u", 1)), 0, headers=SAMPLED)])
        await answers.answer(Question("u"))
        (span,) = ended.get_finished_spans()
        assert span.name == "GET list" and span.parent is not None
        assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
        await follower.take(0, [FakeRecord(b"u", encode(a_list("u", 2)), 1)])
        await answers.answer(Question("u"))
        assert len(ended.get_finished_spans()) == 1
        await store.close()
        return ages

    assert asyncio.run(scenario()) == [60.0, 60.0]


def test_only_the_newest_traced_lists_are_remembered() -> None:
    """A server runs for months: what it remembers is bounded."""
    traces, ended = traced()
    for n in range(MAX_LISTS + 1):
        traces.read(f"l{n}", SAMPLED)
    traces.read("other", [("a", b"b")])
    for list_id in ("l0", "other", "l1"):
        traces.answered(list_id, 1)
    (span,) = ended.get_finished_spans()
    assert (span.attributes or {})["headrace.list_id"] == "l1"


def test_a_record_that_is_left_out_is_named_by_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log line has the coordinates as fields, for ``log_format=json``."""

    async def take() -> None:
        store = await begun(RocksDbStore(tmp_path / "store"), 3)
        await ListFollower(KafkaSettings(), store).take(2, [FakeRecord(b"u", b"no list", 7, 2, "shop.recommendations")])
        await store.close()

    asyncio.run(take())
    (line,) = caplog.records
    assert getattr(line, ATTRIBUTE) == {"topic": "shop.recommendations", "partition": 2, "offset": 7}
