"""One trace spans an event, its window and its list; without a collector nothing is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from faust.types import EventT
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.contract.kafka_records import OutRecord
from streams.contract.records import EventDecoder
from streams.contract.windows import ListWindow, Trigger
from streams.errors import SettingsError
from streams.recommender.waiting.pending import PendingBatch, PendingWindow
from streams.recommender.waiting.traced_lists import MAX_WAITING, TracedLists
from streams.runtime.tracing import HEADER, Tracing, open_tracing
from streams.sequencer.traced_batch import trace_batch, user_key
from streams.settings.load import load_settings
from streams.settings.watching import WatchingSettings
from tests.support.builders import T0, FakeRecord, make_event, make_record
from tests.support.without_extras import hide

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{SPAN}-{flag}".encode() for flag in ("01", "00"))


class Traced:
    """Tracing whose ended spans can be looked at."""

    def __init__(self, share: float = 0.0) -> None:
        self.ended = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.ended))
        self.tracing = Tracing(provider, share)

    def spans(self) -> Sequence[ReadableSpan]:
        """Return the ended spans, in the order of their ends."""
        return self.ended.get_finished_spans()


def event_record(n: int, header: bytes | None, user: str = "u1") -> FakeRecord:
    """Return an event's record, with a header ``traceparent`` or without one."""
    headers = [] if header is None else [(HEADER, header)]
    return make_record(make_event(f"e{n}", user_id=user), n)._replace(headers=headers)


def sequenced(traced: Traced, records: list[FakeRecord], windows: set[bytes]) -> list[OutRecord]:
    """Return the records for ``sequences`` of a traced batch, whose spans have ended."""
    batch = trace_batch(traced.tracing, records, windows, T0 / 1000 + 1, user_key(EventDecoder(0)))
    out = [OutRecord(key, b"window") for key in sorted(windows)]
    if batch is None:
        return out
    found = list(batch.out_records([*out, OutRecord(b"u1", None)]))
    batch.end()
    return found


def pending(key: bytes, written_ms: int, **more: Any) -> PendingWindow[EventT]:
    """Return a window whose list is made."""
    state = ListWindow(v=1, revision=3, newest_ts=T0, items=[], trigger=Trigger("e1", T0, 1))
    return PendingWindow(0, key, state, written_ms, PendingBatch(cast(EventT, None)), **more)


def context_of(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of a span's trace and of the span itself."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def test_one_trace_spans_event_window_and_list() -> None:
    """The producer's trace goes on: its span is the parent of the first one here."""
    traced = Traced()
    window, tombstone = sequenced(traced, [event_record(7, SAMPLED)], {b"u1"})
    assert tombstone.headers == ()
    lists = TracedLists(traced.tracing, "sequences")
    lists.read(0, [FakeRecord(b"u1", b"window", 40, timestamp=T0 + 5, headers=window.headers)])
    ready = pending(b"u1", T0 + 5)
    ((name, header),) = lists.headers(ready)
    lists.delivered([ready])
    by_name = {span.name: span for span in traced.spans()}
    assert by_name.keys() == {"sequence", "recommend", "rank", "publish"}
    assert {context_of(span)[0] for span in by_name.values()} == {int(TRACE, 16)}
    parents = {name: span.parent.span_id for name, span in by_name.items() if span.parent}
    ids = {name: context_of(span)[1] for name, span in by_name.items()}
    assert parents == {
        "sequence": int(SPAN, 16),
        "recommend": ids["sequence"],
        "rank": ids["recommend"],
        "publish": ids["recommend"],
    }
    assert (name, header.decode()) == (HEADER, f"00-{TRACE}-{ids['recommend']:016x}-01")
    told = by_name["sequence"].attributes or {}
    assert (told["messaging.kafka.offset"], told["headrace.waited_ms"]) == (7, 1_000)
    assert not any("u1" in str(value) for span in by_name.values() for value in (span.attributes or {}).values())


def test_the_header_decides_and_a_share_of_the_others_begins_a_trace() -> None:
    """A producer that samples is believed; a broken header is no trace."""
    for header in (UNSAMPLED, b"garbage", b"\xff", None):
        traced = Traced()
        (window,) = sequenced(traced, [event_record(1, header)], {b"u1"})
        assert (window.headers, traced.spans()) == ((), ())
    always = Traced(share=1.0)
    window, _ = sequenced(always, [event_record(1, None)], {b"u1"})
    assert window.headers and always.spans()[0].parent is None
    assert trace_batch(always.tracing, [event_record(1, UNSAMPLED)], set(), 0.0, user_key(EventDecoder(0))) is None


def test_a_window_of_several_events_goes_on_with_the_last_one() -> None:
    """Each event has its span; a user whose window did not change gets no header."""
    traced = Traced(share=1.0)
    records = [event_record(1, SAMPLED), event_record(2, None), event_record(3, None, user="u2")]
    window = sequenced(traced, records, {b"u1"})[0]
    first, second, third = traced.spans()
    assert f"{context_of(second)[1]:016x}" in dict(window.headers)[HEADER].decode()
    assert len({context_of(span)[0] for span in (first, second, third)}) == 3


def test_a_list_continues_the_trace_of_its_own_window_alone() -> None:
    """A newer window, a list made again and a partition that was taken away carry no old trace."""
    lists = TracedLists(Traced().tracing, "sequences")
    given = FakeRecord(b"u1", b"window", 40, timestamp=T0 + 5, headers=[(HEADER, SAMPLED)])
    lists.read(0, [given, FakeRecord(b"u2", b"window", 41)])
    assert lists.headers(pending(b"u2", T0)) == () == lists.headers(pending(b"u1", T0 + 6))
    assert lists.headers(pending(b"u1", T0 + 5, is_again=True)) == ()
    lists.forget([0])
    assert lists.headers(pending(b"u1", T0 + 5)) == ()
    lists.read(0, [given._replace(key=f"u{i}".encode()) for i in range(MAX_WAITING + 1)])
    assert lists.headers(pending(b"u0", T0 + 5)) == () != lists.headers(pending(b"u1", T0 + 5))


def test_without_a_collector_nothing_is_opened_and_no_package_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "opentelemetry", "opentelemetry.sdk.trace")
    assert open_tracing(WatchingSettings(), "headrace-sequencer", "") is None


def test_a_collector_without_the_packages_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "opentelemetry.exporter.otlp.proto.http.trace_exporter")
    settings = WatchingSettings(traces_endpoint="http://127.0.0.1:4318/v1/traces")
    with pytest.raises(SettingsError, match=r"install headrace\[traces\], or leave HEADRACE_TRACES_ENDPOINT empty"):
        open_tracing(settings, "headrace-sequencer", "")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("traces_endpoint", "127.0.0.1:4318", "http://host:port"),
        ("traces_share", "1.5", "a number from 0 to 1"),
        ("log_format", "xml", "one of text, json"),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}=.*{words}.*HEADRACE_{name.upper()}"):
        load_settings({f"HEADRACE_{name.upper()}": value})
