"""Lists, stores and servers for the tests of ``streams/server``; nothing connects to a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.contract.kafka_records import Headers
from streams.contract.newest_lists import rank_of
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Recommendation, RecommendedItem, SourceRank, encode
from streams.runtime.tracing import Tracing
from streams.server.app import build_app
from streams.server.gate.key_file import Keys
from streams.server.gate.measures import Measures
from streams.server.gate.request_traces import RequestTraces
from streams.server.lists.answers import ListAnswers
from streams.server.lists.list_traces import ListTraces
from streams.server.lists.listeners import Listeners
from streams.server.lists.records import KeptRecords
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.store import Change, ListStore, Span, packed_rank
from streams.server.lists.takers import ItemTaker, UserTaker
from streams.server.parts.ranking import NoRanker
from streams.server.parts.readiness import Readiness
from streams.server.parts.server import Server
from streams.server.writing.writer import Place
from streams.server.writing.writes import Writes
from streams.settings.load import Settings
from tests.support.builders import FakeRecord

#: A time in 2026, in milliseconds.
NOW_MS = 1_790_000_000_000


def a_list(
    user_id: str = "u", revision: int = 1, items: Sequence[str] = ("a", "b", "c"), **more: Any
) -> Recommendation:
    """Return a list whose items have falling scores."""
    listed = [
        RecommendedItem(item_id, 0.5 / (1 + place), {"sequence": SourceRank(1 + place, 2.0)}, None)
        for place, item_id in enumerate(items)
    ]
    fields: dict[str, Any] = {
        "v": 1, "list_id": f"{user_id}-{revision}", "user_id": user_id, "revision": revision, "event_id": "e",
        "offset": 0, "event_ts": NOW_MS, "produced_ts": NOW_MS, "artifact": "art", "index_generation": 1,
        "degraded": "none", "items": listed,
    }  # fmt: skip
    return Recommendation(**fields | more)


def change(offset: int, found: Recommendation) -> Change:
    """Return the change that a list is."""
    return Change(offset, found.user_id.encode(), packed_rank(rank_of(found)), encode(found))


def removal(offset: int, user_id: str) -> Change:
    """Return the change that a record without value is."""
    return Change(offset, user_id.encode(), b"", None)


def memory_tracing() -> tuple[Tracing, InMemorySpanExporter]:
    """Return tracing whose ended spans can be looked at."""
    ended = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    return Tracing(provider, 0.0), ended


async def begun(store: ListStore, n_partitions: int = 1) -> ListStore:
    """Begin an empty life of a store, follow it, and return the store."""
    await store.begin((await store.state()).life, dict.fromkeys(range(n_partitions), 0))
    store.follow((await store.state()).life)
    return store


class FakeWriter:
    """A broker that has every record at once, and readers that follow at once."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes, bytes | None]] = []
        self.headers: list[Headers] = []
        self.takers: dict[str, Any] = {}
        self.failure: Exception | None = None

    async def write(
        self, topic: str, records: Sequence[tuple[bytes, bytes | None]], headers: Headers = ()
    ) -> list[Place]:
        if self.failure is not None:
            raise self.failure
        places = []
        for key, value in records:
            places.append(Place(0, len(self.written)))
            self.written.append((topic, key, value))
            self.headers.append(headers)
            if topic in self.takers:
                await self.takers[topic]([FakeRecord(key, value, places[-1].offset, 0, topic)])
        return places

    async def reach(self, partition: int, offset: int) -> None:
        assert offset < len(self.written)


class ServedApp:
    """An application over a store in a folder, without a broker, asked over ASGI."""

    def __init__(
        self,
        folder: Path,
        *,
        keys: Keys | None = None,
        routers: Sequence[Any] = (),
        pseudonyms: Pseudonyms | None = None,
        ranker: Any = None,
        shown: ShownItems | None = None,
        traces: ListTraces | None = None,
        request_traces: RequestTraces | None = None,
        store: ListStore | None = None,
        **settings: Any,
    ) -> None:
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self.store: ListStore = RocksDbStore(folder / "store") if store is None else store
        self.shown = ShownItems(lambda: NOW_MS / 1000) if shown is None else shown
        make = getattr(ranker, "user", None)  # fakes know no users
        clock = lambda: NOW_MS / 1000 + 60  # noqa: E731
        lists = ListAnswers(self.store, self.shown, pseudonyms, clock=clock, traces=traces, make=make)
        given = Settings(**settings)
        self.records = KeptRecords(folder / "records")
        self.writer = FakeWriter()
        measures = Measures()
        self.writer.takers = {
            "items": ItemTaker(given, self.shown, self.records, measures.add).take,
            "users": UserTaker(self.records, measures.add).take,
        }
        fake: Any = self.writer
        writes = Writes(given, fake, self.records, {"items": fake, "users": fake}, pseudonyms)
        self.listeners = Listeners()
        ready = Readiness({"recommendations": self.caught_up})
        self.server = Server(
            given,
            self.store,
            self.shown,
            lists,
            self.listeners,
            NoRanker() if ranker is None else ranker,
            writes,
            ready,
            measures,
        )
        self.app: Any = build_app(self.server, keys, routers, request_traces)

    async def put(self, *lists: Recommendation) -> None:
        """Put lists into the store."""
        if not (await self.store.state()).life:
            await begun(self.store)
        known = (await self.store.state()).offsets[0]
        changes = [change(known + n, found) for n, found in enumerate(lists)]
        await self.store.apply(Span(0, known, known + len(lists)), changes)
        self.listeners.tell(changes)

    async def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Return the answer to a request."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return await client.request(method, path, **options)
