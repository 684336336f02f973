"""``headrace status --acknowledge``: an operator knows which events the broker deleted unread.

The acknowledgement is committed under a consumer group that nobody joins, because only its members
may change the metadata of the sequencer's own offsets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streams.contract.committed_note import (
    ACKNOWLEDGED,
    Acknowledged,
    Gap,
    Judged,
    decode_acknowledged,
    decode_judged,
    encode,
    unseen,
)
from streams.contract.roles import acls
from streams.kafka.group_watch import GroupWatch
from streams.kafka.permissions import check_rights
from streams.kafka.readers import open_reader
from streams.settings.load import KafkaSettings

#: A partition, and events of it that were deleted unread.
Loss = tuple[int, Gap]
SHOWN: Final = 5


async def unacknowledged(
    watch: GroupWatch, kafka: KafkaSettings, judged: Mapping[int, Judged], now_ms: int
) -> tuple[Loss, ...]:
    """Return the losses of the last day that nobody has acknowledged.

    Parameters
    ----------
    watch : a watch of any group
    judged : what the sequencer has committed beside its offset, by partition of ``events``
    """
    if not any(unseen(found.gaps, Acknowledged(), now_ms) for found in judged.values()):
        return ()
    notes = await watch.notes(kafka.topic("events"), kafka.group(ACKNOWLEDGED))
    return tuple(
        (number, gap)
        for number, found in sorted(judged.items())
        for gap in unseen(found.gaps, decode_acknowledged(notes.get(number, "")), now_ms)
    )


async def acknowledge(kafka: KafkaSettings) -> tuple[Loss, ...]:
    """Acknowledge all losses of the last day, and return them.

    Raises
    ------
    BrokerError
        When the broker does not answer, or denies the right to commit an acknowledgement.
    """
    topic, watch = kafka.topic("events"), GroupWatch(kafka, kafka.group("sequencer"))
    try:
        await watch.offsets(topic, ())  # waits for the coordinator of a new cluster
        judged = {number: decode_judged(note) for number, note in (await watch.notes(topic)).items()}
        losses = await unacknowledged(watch, kafka, judged, int(time.time() * 1000))
    finally:
        await watch.stop()
    if losses:
        await _commit(kafka, topic, losses)
    return losses


async def _commit(kafka: KafkaSettings, topic: str, losses: tuple[Loss, ...]) -> None:
    needed = [
        acl
        for acl in acls("operator", kafka)
        if acl.name in (topic, kafka.group(ACKNOWLEDGED)) and "Read" in acl.operations
    ]
    await check_rights(kafka, needed, "; an operator needs what headrace acls operator lists")
    last: dict[TopicPartition, Acknowledged] = {}
    for number, gap in losses:
        place = TopicPartition(topic, number)
        so_far = last.get(place, Acknowledged())
        last[place] = Acknowledged(max(so_far.begin, gap.begin), max(so_far.seen_ms, gap.seen_ms))
    async with open_reader(kafka, kafka.group(ACKNOWLEDGED)) as reader:
        reader.assign(list(last))
        await reader.commit({place: OffsetAndMetadata(at.begin, encode(at)) for place, at in last.items()})


def as_lines(topic: str, losses: tuple[Loss, ...]) -> list[str]:
    """Return what was acknowledged, for people."""
    lines = [f"acknowledged: {gap.describe(topic, number)}" for number, gap in losses]
    nothing = f"nothing to acknowledge: all events of {topic} lost in the last 24 hours, if any, are acknowledged"
    return lines or [nothing]


def as_loss(topic: str, partition: int, gap: Gap) -> dict[str, Any]:
    """Return a loss for ``--json``; ``events`` is an upper bound of the lost events."""
    return {"topic": topic, "partition": partition, "first": gap.first, "last": gap.begin - 1, "events": gap.n_lost}


def as_text(topic: str, losses: tuple[Loss, ...]) -> str:
    """Return the offsets of the newest losses, and how many older ones there are."""
    shown = [f"{topic}-{number} offsets {gap.first} to {gap.begin - 1}" for number, gap in losses[-SHOWN:]]
    return ", ".join(shown) + (f" and {len(losses) - SHOWN} more gaps" if len(losses) > SHOWN else "")
