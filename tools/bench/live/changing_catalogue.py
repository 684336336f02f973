"""``headrace bench catalogue --through-broker``: the same question, asked from outside.

A broker, both apps and a load run on this machine. Events come at a steady rate, and changes of the
catalogue at each rate in turn. Of the items that lists show most, a few at a time are hidden: the
age of such a change is the time from its record's acknowledgement until the last list with the item
arrived, which was begun before the change was in force. An item that no list shows again has age 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import torch
from aiokafka import TopicPartition

from models.artifact.artifact import make_artifact, save_artifact
from models.index.index import EXACT_UP_TO
from models.text.clean import text_version
from models.text.encoder import FAKE_ENCODER, FakeEncoder
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Item, encode
from streams.errors import RunError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import partition_count
from streams.settings.load import KafkaSettings, Settings
from tools.bench.live.changing_shop import Shop, item_name
from tools.bench.live.deployment import catch_up, deployment, prefill
from tools.bench.live.load import Outcome, Quantiles, Task
from tools.bench.live.worker_metrics import memory_mb
from tools.bench.made.shop import made_shop
from tools.cli import say
from tools.workers.process import Worker
from tools.workers.supervisor import running

WARM_UP_S: Final = 3.0
WINDOW: Final = 20
TICK_S: Final = 0.02
POLL_MS: Final = 50
#: Items hidden at once, and for how long: longer than a change may take to be in force.
N_PROBES: Final = 5
HOLD_S: Final = 3.0
#: Seconds within which a large catalogue has its index, and after it until the old rows are gone.
INDEXED_S: Final = 600.0
SETTLE_S: Final = 2.0
Preset = Literal["demo", "best"]


@dataclass(frozen=True)
class LiveOptions:
    """What is measured through a broker; the fields are those of the benchmark's options.

    Parameters
    ----------
    workers : recommenders on this machine
    """

    broker: str | None
    preset: Preset
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    seconds: float
    events: float
    users: int
    seed: int
    workers: int = 1


class Listed(msgspec.Struct):
    """An item of a list."""

    item_id: str


class SeenList(msgspec.Struct):
    """The fields of a list that a probe reads."""

    items: list[Listed]


@dataclass
class Probes:
    """Items that are hidden, and when a list with them last arrived.

    Attributes
    ----------
    ages_ms : of each probe that has ended
    """

    ages_ms: list[float] = field(default_factory=list)
    recent: Counter[str] = field(default_factory=Counter)  # lists with each item since the last probes
    _hidden: dict[str, tuple[float, float]] = field(default_factory=dict)  # since when, and last seen

    def arrived(self, item_ids: list[str], now_s: float) -> None:
        """Note a list."""
        self.recent.update(item_ids)
        for item_id in self._hidden.keys() & set(item_ids):
            self._hidden[item_id] = self._hidden[item_id][0], now_s

    def next(self) -> list[str]:
        """Return the items that were in the most lists."""
        return [item_id for item_id, _ in self.recent.most_common(N_PROBES)]

    def hide(self, item_ids: list[str], now_s: float) -> None:
        """Note that these are hidden from now on."""
        self._hidden = dict.fromkeys(item_ids, (now_s, now_s))

    def end(self) -> list[str]:
        """Note the ages; return the items, which are to be shown again."""
        self.ages_ms += [1000 * (last_s - since_s) for since_s, last_s in self._hidden.values()]
        shown, self._hidden = list(self._hidden), {}
        self.recent.clear()
        return shown


class Changes:
    """Publishes changes of ``items``, and probes. For one event loop."""

    def __init__(self, kafka: KafkaSettings, shop: Shop, rate: float) -> None:
        self._kafka, self._shop, self._rate = kafka, shop, rate
        self._homes = KeyHomes(1, kafka.partitioner)
        self.probes = Probes()
        self.n_changes = 0

    async def run(self) -> None:
        """Publish until cancelled."""
        n_partitions = await partition_count(self._kafka, self._kafka.topic("items"))
        self._homes = KeyHomes(n_partitions, self._kafka.partitioner)
        writer = BatchWriter(self._kafka)
        await writer.start()
        reading = asyncio.ensure_future(self._read())
        probing = asyncio.ensure_future(self._probe(writer))
        began_s = time.monotonic()
        try:
            while True:
                due = int(self._rate * (time.monotonic() - began_s)) - self.n_changes
                changes = [self._shop.change() for _ in range(due)]
                self.n_changes += due
                await self._put(writer, [OutRecord(change.key, change.value) for change in changes])
                await asyncio.sleep(TICK_S)
                for task in (reading, probing):
                    if task.done():
                        task.result()
        finally:
            for task in (reading, probing):
                task.cancel()
            await asyncio.gather(reading, probing, return_exceptions=True)
            await writer.stop()

    async def _put(self, writer: BatchWriter, records: list[OutRecord]) -> None:
        by_partition: dict[int, list[OutRecord]] = {}
        for record in records:
            by_partition.setdefault(self._homes[record.key or b""], []).append(record)
        for partition, part in by_partition.items():
            await delivered(await writer.send(self._kafka.topic("items"), partition, part))

    async def _probe(self, writer: BatchWriter) -> None:
        await asyncio.sleep(WARM_UP_S)
        while True:
            item_ids = self.probes.next()
            await self._put(writer, [_record(item_id, is_shown=False) for item_id in item_ids])
            self.probes.hide(item_ids, time.monotonic())
            await asyncio.sleep(HOLD_S)
            await self._put(writer, [_record(item_id, is_shown=True) for item_id in self.probes.end()])
            await asyncio.sleep(HOLD_S / 2)

    async def _read(self) -> None:
        decoder = msgspec.msgpack.Decoder(SeenList)
        async with open_reader(self._kafka, auto_offset_reset="latest") as reader:
            topic = self._kafka.topic("recommendations")
            lanes = [TopicPartition(topic, partition) for partition in range(self._kafka.partitions)]
            reader.assign(lanes)
            await reader.seek_to_end(*lanes)
            while True:
                fetched = await reader.getmany(timeout_ms=POLL_MS)
                now_s = time.monotonic()
                for record in (record for records in fetched.values() for record in records):
                    if record.value is not None:
                        self.probes.arrived([one.item_id for one in decoder.decode(record.value).items], now_s)


def _record(item_id: str, *, is_shown: bool) -> OutRecord:
    return OutRecord(item_id.encode(), encode(Item(VERSION, item_id, f"Item {item_id}", available=is_shown)))


def made_artifact(folder: Path, preset: Preset, n_items: int, seed: int) -> Path:
    """Write the artifact of a made shop whose texts the fake encoder embeds; return its folder."""
    artifact, encoder = made_shop(preset, n_items, seed).artifact, FakeEncoder()
    text_dim = artifact.sequence.config.text_dim
    matrix = np.random.default_rng(seed).standard_normal((encoder.dim, text_dim)).astype(np.float32)
    tensors = artifact.tensors | {
        "whitening.mean": torch.zeros(encoder.dim),
        "whitening.matrix": torch.from_numpy(matrix / np.float32(text_dim**0.5)),
    }
    info = msgspec.structs.asdict(artifact.manifest) | {
        "encoder_name": FAKE_ENCODER,
        "encoder_version": encoder.version,
        "text_version": text_version(),
    }
    for name in ("format", "sha256", "sequence", "tensors"):
        del info[name]
    save_artifact(make_artifact(tensors, artifact.sequence.config, info), folder / "artifact")
    return folder / "artifact"


def run(options: LiveOptions) -> Iterator[dict[str, Any]]:
    """Measure each size on a broker and workers of its own."""
    for n_items in options.sizes:
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            artifact = made_artifact(Path(name), options.preset, n_items, options.seed)
            yield _size(replace(options, sizes=(n_items,)), artifact, Path(name))


def _size(options: LiveOptions, artifact: Path, folder: Path) -> dict[str, Any]:
    (n_items,) = options.sizes
    item_ids, shop = [item_name(row) for row in range(n_items)], Shop(n_items, options.seed)
    with deployment(options.broker, artifact, folder, n_recommenders=options.workers) as (settings, _, workers):
        began_s = time.monotonic()
        with running(workers):
            start_s = time.monotonic() - began_s
            if n_items > EXACT_UP_TO:
                _wait_for_index([worker for worker in workers if worker.name == "recommender"])
            memory = {
                worker.log_path.stem: {kind: round(mb) for kind, mb in memory_mb(worker.pid).items()}
                for worker in workers
                if worker.pid is not None
            }
            asyncio.run(prefill(settings, item_ids, options.users, WINDOW))
            asyncio.run(catch_up(settings))
            rows = []
            for seed, rate in enumerate(options.rates, 1):
                task = Task(item_ids, options.users, options.events, WARM_UP_S, options.seconds, seed)
                rows.append(asyncio.run(_phase(settings, task, shop, rate)))
                asyncio.run(catch_up(settings))
                say(line_of(rows[-1]))
    without = rows[0]["lists_per_s"]
    return {
        "items": n_items,
        "start_s": round(start_s, 1),
        "memory_mb": memory,
        "events_per_s": options.events,
        "rates": [row | {"ratio": round(row["lists_per_s"] / without, 3) if without else None} for row in rows],
    }


def _wait_for_index(recommenders: list[Worker]) -> None:
    """Wait until the first rebuild of each is in force: its rows are those that workers share.

    Raises
    ------
    RunError
        When that takes longer than :data:`INDEXED_S`.
    """
    deadline_s = time.monotonic() + INDEXED_S
    for worker in recommenders:
        while not worker.counts()["values"].get("index_rebuilds"):
            if time.monotonic() > deadline_s:
                raise RunError(f"{worker.name}: no index within {INDEXED_S:g} s; name fewer --items")
            time.sleep(1.0)
    time.sleep(SETTLE_S)


async def _phase(settings: Settings, task: Task, shop: Shop, rate: float) -> dict[str, Any]:
    """Return what one rate of changes led to."""
    changes = Changes(settings.kafka, shop, rate)
    changing = asyncio.ensure_future(changes.run())
    try:
        outcome = await _run_load(settings.kafka, task)
    finally:
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing
    return {
        "rate": rate,
        "changes": changes.n_changes,
        "lists_per_s": outcome.lists_per_s,
        "age_ms": msgspec.to_builtins(Quantiles.of(changes.probes.ages_ms)),
        "age_max_ms": round(max(changes.probes.ages_ms, default=0.0), 1),
        "events": msgspec.to_builtins(outcome.events),
        "unanswered": outcome.unanswered,
    }


async def _run_load(kafka: KafkaSettings, task: Task) -> Outcome:
    environment = os.environ | {"HEADRACE_BROKER": kafka.broker, "HEADRACE_TOPIC_PREFIX": kafka.topic_prefix}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.bench.live.load", stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        limit_s = task.warm_up_s + task.seconds + 60.0
        out, err = await asyncio.wait_for(process.communicate(msgspec.json.encode(task)), limit_s)
    except TimeoutError:
        process.kill()
        raise RunError(f"the load did not end within {limit_s:g} s; name a smaller --events") from None
    if process.returncode:
        raise RunError(f"the load ended with code {process.returncode}: {err.decode(errors='replace')[-500:]}")
    return msgspec.json.decode(out.splitlines()[-1], type=Outcome)


def line_of(row: dict[str, Any]) -> str:
    """Return one rate for people."""
    events, age = row["events"], row["age_ms"]
    return (
        f"  {row['rate']:>7g} changes/s: {row['lists_per_s']:g} lists/s, events to lists p50 {events['p50']}, "
        f"p99 {events['p99']} ms; hidden after {age['p50']} ms (p50), {row['age_max_ms']} ms at most, {age['n']} probes"
    )


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people."""
    lines = []
    for size in result["sizes"]:
        memory = ", ".join(
            f"{name} {mb['resident']} MB ({mb['private']} private, {mb['proportional']} proportional)"
            for name, mb in size["memory_mb"].items()
        )
        lines.append(
            f"{size['items']:,} items: ready in {size['start_s']} s; {memory}; {size['events_per_s']:g} events/s"
        )
        lines += [line_of(row) for row in size["rates"]]
    return lines
