"""A recommender for tests: its worker, its records in and out, and its committed offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, RecordDecoder, encode
from streams.contract.windows import WindowState, decode_window
from streams.kafka.group_watch import group_lag
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics, open_admin
from streams.sequencer.window import absorb
from streams.settings.load import Settings
from streams.settings.record_limits import WindowBounds
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0, make_event
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

WAIT_S = 60.0


def variables_of(settings: Settings, folder: Path) -> dict[str, str]:
    """Return a worker's environment."""
    return {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_ARTIFACT": str(tiny.artifact()),
        "HEADRACE_DATA_DIR": str(folder / "data"),
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "texts"),
    }


@contextmanager
def recommender(settings: Settings, folder: Path, **variables: str) -> Iterator[Worker]:
    """Run a recommender that is ready."""
    env = variables_of(settings, folder) | variables
    with Worker("recommender", env, free_port(), folder / "recommender.log") as worker:
        worker.wait_ready(WAIT_S)
        yield worker


def publish(settings: Settings, topic: str, records: Iterable[OutRecord]) -> None:
    """Create the topics and publish records."""

    async def run() -> None:
        await create_topics(settings.kafka)
        async with Publisher(settings.kafka) as publisher:
            for record in records:
                await publisher.publish(settings.kafka.topic(topic), record.key or b"", record.value)

    asyncio.run(run())


def read_lists(settings: Settings) -> list[tuple[int, Recommendation]]:
    """Return all lists as the contract decodes them, each with its partition."""
    decoder = RecordDecoder(Recommendation)
    return [
        (record.partition, decoder.decode(record.value))
        for record in read_all(settings, "recommendations")
        if record.value
    ]


def newest_revisions(settings: Settings) -> dict[str, int]:
    """Return the revision of each user's newest list."""
    found: dict[str, int] = {}
    for _, published in read_lists(settings):
        found[published.user_id] = max(published.revision, found.get(published.user_id, 0))
    return found


def lag(settings: Settings) -> int:
    """Return how many windows the recommender has not committed."""
    group = settings.kafka.group("recommender")
    return asyncio.run(group_lag(settings.kafka, group, "sequences"))


def put_items(settings: Settings, path: Path) -> None:
    """Publish a catalogue, as a person does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        assert main(["items", "put", str(path), "--broker", settings.kafka.broker]) == 0


def windows_of(n_users: int, n_each: int, states: dict[str, WindowState | None]) -> Iterator[OutRecord]:
    """Yield ``n_each`` more windows of each user in turn, as the sequencer would write them.

    ``states`` is kept current.
    """
    for step in range(n_each):
        for user in (f"u{i}" for i in range(n_users)):
            state = states.get(user)
            n = state.revision if state else 0
            event = make_event(f"{user}-{n:04d}", T0 + 1_000 * n, user_id=user, item_id=f"i{(n + step) % tiny.N_ITEMS}")
            states[user] = absorb(state, [(event, n)], WindowBounds()).state
            yield OutRecord(user.encode(), encode(states[user]))  # type: ignore[arg-type]  # a new event always changes it


def uncovered(settings: Settings, committed: dict[int, int]) -> list[tuple[str, int]]:
    """Return windows before the committed offsets that no list of their user covers."""
    newest = newest_revisions(settings)
    windows = [r for r in read_all(settings, "sequences") if r.offset < committed.get(r.partition, 0)]
    pairs = [((r.key or b"").decode(), decode_window(r.value or b"").revision) for r in windows]
    return [(user, revision) for user, revision in pairs if newest.get(user, 0) < revision]


def committed_offsets(settings: Settings) -> dict[int, int]:
    """Return what the recommender's group has committed on ``sequences``, by partition."""

    async def run() -> dict[int, int]:
        admin: Any = await open_admin(settings.kafka)
        try:
            group = settings.kafka.group("recommender")
            found = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        topic = settings.kafka.topic("sequences")
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == topic and meta.offset >= 0}

    return asyncio.run(run())
