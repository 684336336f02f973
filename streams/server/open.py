"""Opens the parts of a server, and keeps them going: stores, followers, keys, the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from streams.announcements.receipts import Receipts
from streams.contract.pseudonyms import open_pseudonyms
from streams.kafka.permissions import prepare
from streams.runtime.tracing import open_tracing
from streams.server.answering import Membership, WithoutModel
from streams.server.forgetting import Forgotten
from streams.server.gate.key_file import Keys
from streams.server.gate.measures import Measures
from streams.server.gate.request_traces import RequestTraces
from streams.server.lists.answers import ListAnswers
from streams.server.lists.follower import ListFollower
from streams.server.lists.list_traces import ListTraces, WindowTraces
from streams.server.lists.listeners import Listeners
from streams.server.lists.open_store import open_store
from streams.server.lists.patience import Patience
from streams.server.lists.records import KeptRecords, Kind, forget_user
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.store import Change
from streams.server.lists.takers import ItemTaker, RulesFollower, UserTaker
from streams.server.lists.topic_follower import TopicFollower
from streams.server.parts.ranking import NoRanker, Ranker
from streams.server.parts.readiness import Readiness
from streams.server.parts.server import Server
from streams.server.writing.writer import Writer
from streams.server.writing.writes import Writes
from streams.settings.load import Settings


@dataclass(frozen=True, eq=False)
class Opened:
    """A server whose followers run.

    Parameters
    ----------
    failed : ends with the error of the first follower that failed
    traces : traces the requests of traced callers; None where nothing is traced
    """

    server: Server
    keys: Keys | None
    failed: asyncio.Future[None]
    traces: RequestTraces | None = None


@dataclass(frozen=True, eq=False)
class _Reading:
    """All that is read of the topics."""

    lists: ListFollower
    rules: RulesFollower
    entries: dict[Kind, TopicFollower]

    @classmethod
    def of(
        cls,
        settings: Settings,
        lists: ListFollower,
        shown: ShownItems,
        records: KeptRecords,
        measures: Measures,
        receipts: Receipts,
    ) -> _Reading:
        kafka, count = settings.kafka, measures.add
        entries: dict[Kind, TopicFollower] = {
            "items": TopicFollower(kafka, "items", ItemTaker(settings, shown, records, count).take),
            "users": TopicFollower(kafka, "users", UserTaker(records, count).take),
        }
        return cls(lists, RulesFollower(settings, shown, receipts), entries)

    def needed(self) -> dict[str, asyncio.Event]:
        found: dict[str, asyncio.Event] = {name: follower.caught_up for name, follower in self.entries.items()}
        return {"recommendations": self.lists.progress.caught_up, "rules": self.rules.caught_up, **found}

    def jobs(self) -> list[Awaitable[None]]:
        return [self.lists.run(), *(follower.run() for follower in self.entries.values())]


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
        keys_file, folder = settings.server.serve_keys_file, Path(settings.server.serve_dir)
        keys = Keys(Path(keys_file)) if keys_file else None
        pseudonyms = open_pseudonyms(settings.kafka)
        await prepare(settings.kafka, "server")
        store = await open_store(settings, folder)
        opened.push_async_callback(store.close)
        records, writer = KeptRecords(folder / "records"), Writer(settings.kafka)
        opened.callback(records.close)
        opened.push_async_callback(writer.close)
        measures, shown, listeners = Measures(), ShownItems(), Listeners()
        # One each: only the follower knows whether a store that answers again is still the same.
        patience, erasing = Patience(measures.add), Patience(measures.add)
        tracing = open_tracing(settings.watching, "headrace-server", settings.kafka.client_id)
        if tracing is not None:
            opened.push_async_callback(asyncio.to_thread, tracing.close)
        traces, requests = (None, None) if tracing is None else (ListTraces(tracing), RequestTraces(tracing))
        erased: list[Callable[[bytes, int], None]] = [partial(forget_user, records)]

        async def erase(marks: Mapping[bytes, int]) -> None:
            for key, mark in marks.items():
                await erasing.until(partial(lists.remove, key, mark))
                for remove in erased:
                    remove(key, mark)
                listeners.tell([Change(0, key, b"", None)])
            await store.scrub(marks)
            await asyncio.to_thread(records.scrub, marks)

        membership = Membership(settings)
        receipts = Receipts(settings.kafka, "server", lambda: membership.member_id)
        forgotten = Forgotten(settings.kafka, receipts, erase, settings.sequencer.max_future_skew_ms)
        lists = ListFollower(
            settings.kafka, store, listeners.tell, measures.add, patience, traces, forgotten.is_former
        )  # fmt: skip
        reading = _Reading.of(settings, lists, shown, records, measures, receipts)
        windows = None if tracing is None else WindowTraces(tracing)
        known, ranker, model = _open_ranking(settings, shown, records, measures, forgotten, receipts, windows)
        if known is not None:
            erased.append(known.forget)
            reading.entries["windows"] = TopicFollower(settings.kafka, "sequences", known.take)
        ready = Readiness(
            reading.needed() | {"privacy": forgotten.caught_up, "the store of lists": patience.answers},
            {} if model is None else {"the model": model.ready},
        )
        _measure(measures, reading, shown, ready)
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        models = WithoutModel(settings, receipts) if model is None else model
        jobs = [*reading.jobs(), membership.run(), receipts.run()]
        jobs += [membership.before(job) for job in (forgotten.run, reading.rules.run, models.run)]
        if model is not None:
            opened.push_async_callback(model.stop)
        opened.push_async_callback(_ended, [asyncio.ensure_future(_watched(job, failed)) for job in jobs])
        writes = Writes(settings, writer, records, reading.entries, pseudonyms)
        answers = ListAnswers(
            store, shown, pseudonyms, note_age=measures.note_list_age, traces=traces,
            is_former=forgotten.is_former, make=None if model is None else ranker.user, list_size=settings.recommender.list_size,
        )  # fmt: skip
        server = Server(settings, store, shown, answers, listeners, ranker, writes, ready, measures)
        yield Opened(server, keys, failed, requests)


def _open_ranking(
    settings: Settings,
    shown: ShownItems,
    records: KeptRecords,
    measures: Measures,
    forgotten: Forgotten,
    receipts: Receipts,
    traces: WindowTraces | None,
) -> tuple[Any, Ranker, Any]:
    """Return what knows users, what ranks, and the model behind it; None where the server has none.

    A server that ranks also reads users' windows. The import takes seconds and hundreds of
    megabytes: a server of pushed lists does without.
    """
    if settings.server.serve_ranking == "off":
        return None, NoRanker(), None
    from streams.server.ranking.known_users import KnownUsers
    from streams.server.ranking.on_demand import OnDemand
    from streams.server.ranking.served_model import ServedModel

    recommender = settings.recommender
    is_on = recommender.live_popularity == "on"
    known = KnownUsers(records, measures.add, is_on=is_on, is_former=forgotten.is_former, traces=traces)
    model = ServedModel(settings, shown, known, receipts)
    return known, OnDemand(model, shown, settings.sequencer.types(), recommender.n_candidates, known), model


def _measure(measures: Measures, reading: _Reading, shown: ShownItems, ready: Readiness) -> None:
    measures.ask("lists_lag", lambda: reading.lists.progress.lag)
    measures.ask("items", lambda: len(shown))
    measures.ask("ready", lambda: not ready.waiting())


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
