"""Opens the parts of a server, and keeps them going: stores, followers, keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.contract.pseudonyms import open_pseudonyms
from streams.kafka.permissions import prepare
from streams.runtime.tracing import open_tracing
from streams.server.gate.key_file import Keys
from streams.server.gate.measures import Measures
from streams.server.lists.answers import ListAnswers
from streams.server.lists.follower import ListFollower
from streams.server.lists.list_traces import ListTraces
from streams.server.lists.records import KeptRecords, Kind
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.takers import ItemTaker, RulesFollower, UserTaker
from streams.server.lists.topic_follower import TopicFollower
from streams.server.parts.readiness import Readiness
from streams.server.parts.server import Server
from streams.server.writing.writer import Writer
from streams.server.writing.writes import Writes
from streams.settings.load import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Opened:
    """A server whose followers run.

    Parameters
    ----------
    failed : ends with the error of the first follower that failed
    """

    server: Server
    keys: Keys | None
    failed: asyncio.Future[None]


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[Opened]:
    """Give the parts of a server until the context ends; its followers have begun.

    Raises
    ------
    HeadraceError
        When the broker does not answer, a right or a topic is missing, or the store or the keys
        cannot be used.
    """
    async with AsyncExitStack() as opened:
        keys_file = settings.server.serve_keys_file
        keys = Keys(Path(keys_file)) if keys_file else None
        pseudonyms = open_pseudonyms(settings.kafka)
        await prepare(settings.kafka, "server")
        folder = Path(settings.server.serve_dir)
        store = RocksDbStore(folder / "lists")
        opened.push_async_callback(store.close)
        records = KeptRecords(folder / "records")
        opened.callback(records.close)
        writer = Writer(settings.kafka)
        opened.push_async_callback(writer.close)
        measures, shown = Measures(), ShownItems()
        tracing = open_tracing(settings.watching, "headrace-server", settings.kafka.client_id)
        if tracing is not None:
            opened.push_async_callback(asyncio.to_thread, tracing.close)
        traces = None if tracing is None else ListTraces(tracing)
        lists = ListFollower(settings.kafka, store, count=measures.add, traces=traces)
        takers = ItemTaker(settings, shown, records, measures.add), UserTaker(records, measures.add)
        followers: dict[Kind, TopicFollower] = {
            "items": TopicFollower(settings.kafka, "items", takers[0].take),
            "users": TopicFollower(settings.kafka, "users", takers[1].take),
        }
        rules = RulesFollower(settings, shown)
        needed: dict[str, asyncio.Event] = {name: follower.caught_up for name, follower in followers.items()}
        ready = Readiness({"recommendations": lists.progress.caught_up, **needed, "rules": rules.caught_up})
        measures.ask("lists_lag", lambda: lists.progress.lag)
        measures.ask("items", lambda: len(shown))
        measures.ask("ready", lambda: not ready.waiting())
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running = [lists.run(), rules.run(), *(follower.run() for follower in followers.values())]
        jobs = [asyncio.ensure_future(_watched(job, failed)) for job in running]
        opened.push_async_callback(_ended, jobs)
        writes = Writes(settings, writer, records, followers, pseudonyms)
        answers = ListAnswers(store, shown, pseudonyms, note_age=measures.note_list_age, traces=traces)
        server = Server(settings, store, shown, answers, writes, ready, measures)
        yield Opened(server, keys, failed)


async def _watched(job: Awaitable[None], failed: asyncio.Future[None]) -> None:
    """Run a follower; its failure ends the server."""
    try:
        await job
    except Exception as exc:  # the worker loop: a server that no longer follows answers wrongly
        if not failed.done():
            failed.set_exception(exc)


async def _ended(jobs: Sequence[asyncio.Future[None]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
