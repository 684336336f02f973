"""``headrace status``: lag per partition, group members, the four counts, and whether the workers are healthy.

Healthy means that records which wait are being worked on: where a partition has lag, its committed offset must move while the command
looks on. An answering process alone is no proof.
"""

from __future__ import annotations

import argparse
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
from streams.settings.load import Settings, load_settings
from tools.broker.choice import names_broker
from tools.broker.local_broker import broker_status
from tools.cli import emit
from tools.training.catalogue_share import as_share, live_share, share_text
from tools.workers import acknowledge
from tools.workers.acknowledge import as_loss, as_text, unacknowledged
from tools.workers.apps import APPS
from tools.workers.process import opener

SUMMARY = "lag, members and health of the workers"
POLL_S: Final = 0.5
PAGE_TIMEOUT_S: Final = 5.0
COUNTS: Final = ("read", "accepted", "duplicate", "late", "rejected")


@dataclass(frozen=True)
class Flow:
    """One app as the broker sees it, before and after looking on; ``group`` is None where the broker cannot tell."""

    app: str
    topic: str
    group: Group | None
    before: Mapping[Place, PartitionOffsets]
    after: Mapping[Place, PartitionOffsets]
    empty: frozenset[Place] = frozenset()
    rejecting: tuple[
        int, ...
    ] = ()  # partitions of which so much was rejected lately that the sequencer has raised an alarm
    watermarks: Mapping[Place, int] = field(default_factory=dict)  # high watermarks, from before the first look
    expired: tuple[tuple[int, Gap], ...] = ()  # partition, and events deleted unread: in the last day, not acknowledged
    share: CatalogueShare | None = (
        None  # the recommender's: how many of the last events are of items outside the catalogue
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="look on for at most this long (default: %(default)s)"
    )
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="look at nothing else: say that you have seen which events the broker deleted unread, so that they end to be a problem",
    )
    parser.add_argument("--workers", nargs="+", default=[], metavar="URL", help="workers' pages, http://HOST:PORT each")


def run(args: argparse.Namespace) -> int:
    """Run the command; return 0 when healthy, 1 when not."""
    if not 0 <= args.seconds <= 600:
        raise InputError(f"--seconds {args.seconds:g}: must be 0 to 600")
    settings = load_settings(broker=args.broker)
    local = None if names_broker(args.broker) else broker_status()
    if local is not None:
        settings = load_settings(broker=local.bootstrap)
    if args.acknowledge:
        acknowledge.show(args, settings.kafka.topic("events"), asyncio.run(acknowledge.acknowledge(settings.kafka)))
        return 0
    flows = asyncio.run(look(settings, args.seconds))
    pages = [page(url) for url in args.workers]
    problems = [problem for flow in flows for problem in problems_of(flow)] + [p["why"] for p in pages if p["why"]]
    result = {"healthy": not problems, "why": problems, "flows": [as_dict(flow) for flow in flows], "workers": pages}
    emit(args, result, as_lines(flows, pages, problems))
    return 1 if problems else 0


async def look(settings: Settings, seconds: float) -> list[Flow]:
    """Return both flows, looked at until all that lags has moved, or ``seconds`` are over."""
    settings = await with_existing_partitions(settings)
    return list(await asyncio.gather(*(_look(settings, app.name, app.input, seconds) for app in APPS)))


async def _look(settings: Settings, app: str, name: str, seconds: float) -> Flow:
    kafka = settings.kafka
    topic, partitions = kafka.topic(name), range(kafka.partitions)
    watch = GroupWatch(kafka, kafka.group(app))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        watermarks = await watch.high_watermarks(topic, partitions)  # first: plain records make ends that are no lower
        before = after = await watch.offsets(topic, partitions)
        while (still(before, after) or open_transactions(before, after, watermarks)) and loop.time() < deadline:
            await asyncio.sleep(POLL_S)
            after = await watch.offsets(topic, partitions)
        empty = [place for place in still(before, after) if not await watch.has_records(place, after[place].committed)]
        now_ms = int(time.time() * 1000)
        looked = Flow(app, topic, await watch.describe(), before, after, frozenset(empty), watermarks=watermarks)
        notes = await watch.notes(topic)
        if app == "recommender":
            return replace(looked, share=live_share(notes.values(), looked.group, now_ms))
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
    """Return the partitions whose end, for readers of committed records, stands still below records that were there before."""
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
    problems = []
    stands = [place for place in still(flow.before, flow.after) if place not in flow.empty]
    if flow.group is not None:
        owned = {place for member in flow.group.members for place in member.partitions}
        free = sorted(number for topic, number in flow.after if (topic, number) not in owned)
        if not flow.group.members:
            problems.append(f"{flow.app}: no worker is in the group; start one")
        elif flow.group.state != "Stable":
            problems.append(f"{flow.app}: the group is {flow.group.state}, not Stable; look again in a few seconds")
        elif free:
            problems.append(f"{flow.app}: partitions {_numbers(free)} of {flow.topic} have no worker")
    if stands:
        problems.append(
            f"{flow.app}: partitions {_numbers(sorted(number for _, number in stands))} of {flow.topic} do not move while "
            "records wait; see the worker's log"
        )
    problems += [_describe_open(flow, place) for place in open_transactions(flow.before, flow.after, flow.watermarks)]
    if flow.rejecting:
        problems.append(
            f"{flow.app}: much of partitions {_numbers(flow.rejecting)} of {flow.topic} was rejected in the last "
            f"{REJECTS_UNHEALTHY_S / 60:g} minutes; headrace rejected list says why"
        )
    if flow.expired:
        problems.append(
            f"{flow.app}: in the last {UNHEALTHY_MS // 3_600_000} hours events were deleted before they were read, at most "
            f"{sum(gap.n_lost for _, gap in flow.expired)}: {as_text(flow.topic, flow.expired)}; publish "
            "them again where they are kept; headrace status --acknowledge ends this line"
        )
    if flow.share is not None and is_too_much(flow.share.n_events, flow.share.n_unknown):
        problems.append(
            f"{flow.app}: {flow.share.n_unknown} of the last {flow.share.n_events} events are of items that the catalogue does not have, "
            f"for example {shown(flow.share.example)}; its log names the most frequent; {REMEDY}"
        )
    return problems


def page(url: str) -> dict[str, Any]:
    """Return a worker's readiness and counts, and ``why`` it is not well."""
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(f"--workers {url}: must begin with http://")
    try:
        with opener.open(f"{base}/counts", timeout=PAGE_TIMEOUT_S) as response:
            counts = json.load(response)["total"]
        with opener.open(f"{base}/health", timeout=PAGE_TIMEOUT_S) as response:
            alarms = json.load(response).get("alarms", [])
    except (OSError, ValueError, KeyError) as exc:
        return {"url": base, "counts": None, "why": f"worker {base}: not ready or not there: {exc}"}
    return {"url": base, "counts": counts, "why": "; ".join(f"worker {base}: {alarm}" for alarm in alarms)}


def as_dict(flow: Flow) -> dict[str, Any]:
    """Return a flow for ``--json``."""
    members = () if flow.group is None else flow.group.members
    owner = {place: member.client_id for member in members for place in member.partitions}
    return {
        "app": flow.app,
        "topic": flow.topic,
        "state": None if flow.group is None else flow.group.state,
        "members": [{"id": m.member_id, "host": m.host, "partitions": len(m.partitions)} for m in members],
        "rejecting": list(flow.rejecting),
        "open_transactions": [
            {"partition": place[1], "last_stable": flow.after[place].end, "high_watermark": flow.watermarks[place]}
            for place in open_transactions(flow.before, flow.after, flow.watermarks)
        ],
        "expired": [as_loss(flow.topic, *lost) for lost in flow.expired],
        "known_items": None if flow.share is None else as_share(flow.share),
        "lag": sum(at.lag for at in flow.after.values()),
        "partitions": [
            {
                "partition": place[1],
                "committed": at.committed,
                "end": at.end,
                "lag": at.lag,
                "moved": at.committed - flow.before[place].committed,
                "has_worker": place in owner,
            }
            for place, at in sorted(flow.after.items())
        ],
    }


def as_lines(flows: Sequence[Flow], pages: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> list[str]:
    """Return the result for people."""
    lines = []
    for flow in flows:
        found = as_dict(flow)
        lines.append(
            f"{flow.app}: group {found['state'] or 'unknown'}, {len(found['members'])} members, lag {found['lag']} on {flow.topic}"
        )
        lines += [] if flow.share is None else [f"  {share_text(flow.share)}"]
        lines += [
            f"  partition {p['partition']}: committed {p['committed']}, end {p['end']}, lag {p['lag']}"
            + ("" if p["has_worker"] or flow.group is None else ", no worker")
            for p in found["partitions"]
        ]
    for found_page in pages:
        if found_page["counts"] is not None:
            counts = ", ".join(f"{name} {found_page['counts'][name]}" for name in COUNTS)
            lines.append(f"worker {found_page['url']}: {counts}")
    return [*lines, *(["healthy"] if not problems else [f"NOT healthy: {problem}" for problem in problems])]


def _numbers(partitions: Sequence[int]) -> str:
    return ", ".join(map(str, partitions))
