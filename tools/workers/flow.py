"""What the broker knows of each app's flow, and what is wrong with the flow.

A flow is healthy when workers process the records that wait: where a partition has lag, its
committed offset moves between two looks. A process that answers proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from streams.contract.committed_note import REJECTS_UNHEALTHY_S, UNHEALTHY_MS, CatalogueShare, Gap, decode_judged
from streams.errors import InputError
from streams.health.unknown_items import REMEDY, is_too_much, shown
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.group_watch import Group, GroupWatch, PartitionOffsets, Place
from streams.settings.load import Settings
from tools.workers.acknowledge import as_text, unacknowledged
from tools.workers.apps import APPS, App, AppName
from tools.workers.known_items import live_share
from tools.workers.process import opener
from tools.workers.serving import Serving, serving

POLL_S: Final = 0.5
PAGE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class Flow:
    """One app as the broker sees it, at a first and at a last look.

    Parameters
    ----------
    topic : the app's input, as the broker knows it
    group : None where the broker cannot tell
    before, after : the offsets at the first and at the last look
    empty : partitions whose committed offset stands still because no record is left to read
    rejecting : partitions for which the sequencer has raised an alarm, because it rejects much
    watermarks : high watermarks, read before the first look
    expired : events that were deleted unread in the last day and that nobody has acknowledged, each
        with its partition
    serving : what each member serves, by member id; empty for the sequencer
    share : how many of the last events are of items outside the catalogue; None for the sequencer
    """

    app: AppName
    topic: str
    group: Group | None
    before: Mapping[Place, PartitionOffsets]
    after: Mapping[Place, PartitionOffsets]
    empty: frozenset[Place] = frozenset()
    rejecting: tuple[int, ...] = ()
    watermarks: Mapping[Place, int] = field(default_factory=dict)
    expired: tuple[tuple[int, Gap], ...] = ()
    share: CatalogueShare | None = None
    serving: Mapping[str, Serving] = field(default_factory=dict)


async def look(settings: Settings, seconds: float) -> list[Flow]:
    """Look at both flows until every partition with lag has moved, or ``seconds`` are over."""
    settings = await with_existing_partitions(settings)
    return list(await asyncio.gather(*(_look(settings, app, seconds) for app in APPS)))


async def _look(settings: Settings, app: App, seconds: float) -> Flow:
    kafka = settings.kafka
    topic, partitions = kafka.topic(app.input), range(kafka.partitions)
    watch = GroupWatch(kafka, kafka.group(app.name))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        # first: the ends of plain records are not lower
        watermarks = await watch.high_watermarks(topic, partitions)
        before = after = await watch.offsets(topic, partitions)
        while (still(before, after) or open_transactions(before, after, watermarks)) and loop.time() < deadline:
            await asyncio.sleep(POLL_S)
            after = await watch.offsets(topic, partitions)
        empty = [place for place in still(before, after) if not await watch.has_records(place, after[place].committed)]
        now_ms = int(time.time() * 1000)
        looked = Flow(app.name, topic, await watch.describe(), before, after, frozenset(empty), watermarks=watermarks)
        notes = await watch.notes(topic)
        if app.name == "recommender":
            share = live_share(notes.values(), looked.group, now_ms)
            return replace(looked, share=share, serving=await serving(kafka, looked.group))
        judged = {number: decode_judged(note) for number, note in sorted(notes.items())}
        rejecting = tuple(number for number, found in judged.items() if found.alarms_at(now_ms))
        expired = await unacknowledged(watch, kafka, judged, now_ms)
        return replace(looked, rejecting=rejecting, expired=expired)
    finally:
        await watch.stop()


def still(before: Mapping[Place, PartitionOffsets], after: Mapping[Place, PartitionOffsets]) -> list[Place]:
    """Return the partitions with lag whose committed offset has not moved between two looks."""
    return [place for place, at in after.items() if at.lag and at.committed <= before[place].committed]


def open_transactions(
    before: Mapping[Place, PartitionOffsets], after: Mapping[Place, PartitionOffsets], watermarks: Mapping[Place, int]
) -> list[Place]:
    """Return the partitions whose last stable offset stands still below older records."""
    return [place for place, at in sorted(after.items()) if before[place].end == at.end < watermarks.get(place, at.end)]


def _describe_open(flow: Flow, place: Place) -> str:
    (topic, partition), stable = place, flow.after[place].end
    return (
        f"{flow.app}: a transaction stays open on {topic}-{partition}: nobody reads beyond offset {stable}, the last stable one, though "
        f"records reach {flow.watermarks[place]}, the high watermark; its producer must commit or abort it; if that is gone: "
        f"kafka-transactions.sh find-hanging --topic {topic}, then kafka-transactions.sh abort --topic {topic} --partition {partition} "
        f"--start-offset {stable}"
    )


def problems_of(flow: Flow) -> list[str]:
    """Return what is wrong with an app, one line each; empty when it is healthy."""
    problems = _problems_of_group(flow)
    stands = [number for topic, number in still(flow.before, flow.after) if (topic, number) not in flow.empty]
    if stands:
        problems.append(
            f"{flow.app}: partitions {_numbers(sorted(stands))} of {flow.topic} do not move while records wait; "
            "see the worker's log"
        )
    problems += [_describe_open(flow, place) for place in open_transactions(flow.before, flow.after, flow.watermarks)]
    if flow.rejecting:
        problems.append(
            f"{flow.app}: much of partitions {_numbers(flow.rejecting)} of {flow.topic} was rejected in the last "
            f"{REJECTS_UNHEALTHY_S / 60:g} minutes; headrace rejected list says why"
        )
    if flow.expired:
        problems.append(
            f"{flow.app}: in the last {UNHEALTHY_MS // 3_600_000} hours events were deleted before they were read, "
            f"at most {sum(gap.n_lost for _, gap in flow.expired)}: {as_text(flow.topic, flow.expired)}; publish "
            "them again where they are kept; headrace status --acknowledge ends this line"
        )
    if flow.share is not None and is_too_much(flow.share.n_events, flow.share.n_unknown):
        problems.append(
            f"{flow.app}: {flow.share.n_unknown} of the last {flow.share.n_events} events are of items that the "
            f"catalogue does not have, for example {shown(flow.share.example)}; its log names the most frequent; {REMEDY}"
        )
    return problems


def _problems_of_group(flow: Flow) -> list[str]:
    if flow.group is None:
        return []
    if not flow.group.members:
        return [f"{flow.app}: no worker is in the group; start one"]
    if flow.group.state != "Stable":
        return [f"{flow.app}: the group is {flow.group.state}, not Stable; look again in a few seconds"]
    owned = {place for member in flow.group.members for place in member.partitions}
    free = sorted(number for topic, number in flow.after if (topic, number) not in owned)
    return [f"{flow.app}: partitions {_numbers(free)} of {flow.topic} have no worker"] if free else []


def page(url: str) -> dict[str, Any]:
    """Return a worker's counts, and ``why`` it is not well; empty where it is."""
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(f"--workers {url}: must begin with http://")
    try:
        with opener.open(f"{base}/counts", timeout=PAGE_TIMEOUT_S) as response:
            found = json.load(response)
            counts, artifact = found["total"], found.get("artifact", "")
        with opener.open(f"{base}/health", timeout=PAGE_TIMEOUT_S) as response:
            alarms = json.load(response).get("alarms", [])
    except (OSError, ValueError, KeyError) as exc:
        return {"url": base, "counts": None, "artifact": "", "why": f"worker {base}: not ready or not there: {exc}"}
    why = "; ".join(f"worker {base}: {alarm}" for alarm in alarms)
    return {"url": base, "counts": counts, "artifact": artifact, "why": why}


def _numbers(partitions: Sequence[int]) -> str:
    return ", ".join(map(str, partitions))
