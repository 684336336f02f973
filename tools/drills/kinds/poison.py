"""``headrace drill poison``: damaged records, and acts of foreign clients and operators.

There are malformed events of every kind, batches of every codec, an aborted transaction, a record
that is huge when unpacked, damaged state topics, a poisoned catalogue, a damaged artifact, a model
that gives NaN, and events that are deleted unread. After the verdict come more partitions.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from models.artifact.artifact import TENSORS
from streams.contract.records import MAX_RECORD_BYTES, VERSION
from streams.kafka.publisher import Publisher
from tools.drills.acts.foreign_clients import (
    abort_a_transaction,
    damage_state_topics,
    publish_a_huge_record,
    publish_in_each_codec,
)
from tools.drills.acts.operator_acts import add_partitions, delete_unread
from tools.drills.faulty_model import Fault, write_fault
from tools.drills.kind import Kind
from tools.drills.malformed import MALFORMED
from tools.drills.plan import Needs
from tools.drills.session import Drill

#: Malformed events of each kind.
N_EACH: Final = 3
#: A recommender that cannot use its artifact ends within this many seconds; it loads PyTorch first.
REFUSED_WITHIN_S: Final = 60.0
#: Recommenders read changes of the catalogue within this many seconds.
READ_WITHIN_S: Final = 3.0
#: The model gives NaN for at least this many seconds, and until a degraded list comes, but not
#: longer than the limit.
NAN_S: Final = 5.0
DEGRADED_WITHIN_S: Final = 60.0
POLL_S: Final = 0.2
#: Acts of foreign clients, by the name of the fault.
FOREIGN: Final = {
    "every codec": publish_in_each_codec,
    "aborted transaction": abort_a_transaction,
    "huge record": publish_a_huge_record,
    "damaged state topics": damage_state_topics,
}


async def script(drill: Drill) -> None:
    """Cause one fault after the other while the load goes on."""
    async with drill.fault("malformed events"):
        await drill.load.publish([make(i) for make in MALFORMED.values() for i in range(N_EACH)])
    for name, harm in FOREIGN.items():
        async with drill.fault(name):
            await harm(drill)
    async with drill.fault("poisoned catalogue"):
        await _poison_catalogue(drill)
        await asyncio.sleep(READ_WITHIN_S)
    async with drill.fault("damaged artifact"):
        await _start_with_damaged_artifact(drill)
    async with drill.fault("model gives NaN"):
        await _give_nan(drill)
    async with drill.fault("records deleted"):
        await delete_unread(drill)


async def epilogue(drill: Drill) -> None:
    """Add partitions to ``events``, last, because a deployment must then move to other topics."""
    await add_partitions(drill)


def poisoned_items(known_id: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield records for ``items`` that must change nothing; some have the id of a good item."""
    good = {"v": VERSION, "item_id": known_id, "title": "poison"}
    bad: list[dict[str, Any]] = [
        {"v": VERSION, "item_id": known_id},
        {**good, "v": 9},
        {**good, "title": 7},
        {**good, "price": float("nan")},
        {**good, "price": -1},
        {**good, "features": {"weight": [1]}},
        {**good, "vectors": {"image": "none"}},
        {**good, "item_id": ""},
        {**good, "text": "x" * (MAX_RECORD_BYTES + 1)},
    ]
    key = known_id.encode()
    for fields in bad:
        yield key, msgspec.msgpack.encode(fields)
    yield key, b"\xc1 neither msgpack nor JSON"
    yield key, msgspec.msgpack.encode(good)[:-3]
    yield key, b""
    yield b"no-such-item", None
    yield b"\xff\xfe", None


async def _give_nan(drill: Drill) -> None:
    """Make the model fail on windows with one item; their users must get fallback lists."""
    before = drill.observer.ledger.n_degraded
    item_id = drill.items[0].item_id
    write_fault(drill.fault_file, Fault("nan", item_id=item_id))
    deadline = time.monotonic() + DEGRADED_WITHIN_S
    await asyncio.sleep(NAN_S)
    while drill.observer.ledger.n_degraded == before and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
    write_fault(drill.fault_file, Fault())
    drill.extra["nan_degraded_lists"] = drill.observer.ledger.n_degraded - before
    if not drill.extra["nan_degraded_lists"]:
        drill.found.append(f"model gives NaN for windows with {item_id}: no list is marked degraded")
    await drill.come_near_the_end()
    now_ms = int(time.time() * 1000)
    await drill.load.publish([drill.load.source.of_user(u, now_ms) for u in drill.observer.ledger.degraded_users()])


async def _poison_catalogue(drill: Drill) -> None:
    kafka = drill.settings.kafka
    async with Publisher(kafka) as publisher:
        for key, value in poisoned_items(drill.items[0].item_id):
            await publisher.publish(kafka.topic("items"), key, value)


async def _start_with_damaged_artifact(drill: Drill) -> None:
    """Start one more recommender, on an artifact with a damaged byte: it must end."""
    folder = damaged_copy(Path(drill.settings.recommender.artifact), drill.folder / "damaged")
    worker = drill.cluster.make_worker("recommender", env={"HEADRACE_ARTIFACT": str(folder)})
    worker.start()
    deadline = time.monotonic() + REFUSED_WITHIN_S
    try:
        while worker.is_running and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
        drill.extra["damaged_artifact_exit"] = worker.returncode
        if worker.returncode != 1 or "checksum" not in worker.log_tail():
            drill.found.append(f"damaged artifact: exit code {worker.returncode}, must be 1; {worker.log_tail()}")
    finally:
        worker.kill()


def damaged_copy(artifact: Path, to: Path) -> Path:
    """Copy an artifact and invert its last byte."""
    shutil.copytree(artifact, to)
    tensors = bytearray((to / TENSORS).read_bytes())
    tensors[-1] ^= 0xFF
    (to / TENSORS).write_bytes(tensors)
    return to


KIND: Final = Kind(script, Needs(model_faults=True), epilogue)
