"""``headrace status``: lag, group members and counts, and whether the workers are healthy.

:mod:`tools.workers.flow` says what healthy means.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.errors import InputError
from streams.printable import counted
from streams.settings.load import KafkaSettings, load_settings
from tools.broker.choice import names_broker
from tools.broker.local_broker import broker_status
from tools.cli import emit
from tools.workers import acknowledge
from tools.workers.acknowledge import as_loss
from tools.workers.apps import ENDINGS
from tools.workers.flow import Flow, look, open_transactions, page, problems_of
from tools.workers.known_items import as_share, share_text

MAX_SECONDS: Final = 600
COUNTS: Final = ("read", *ENDINGS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="N", help="watch for up to N seconds (default: %(default)s)"
    )
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="only record that you know which events the broker deleted unread; status stops reporting them",
    )
    parser.add_argument("--workers", nargs="+", default=[], metavar="URL", help="workers' pages, http://HOST:PORT each")


def run(args: argparse.Namespace) -> int:
    """Run the command; return 0 when healthy, 1 when not."""
    if not 0 <= args.seconds <= MAX_SECONDS:
        raise InputError(f"--seconds {args.seconds:g}: must be 0 to {MAX_SECONDS}")
    settings = load_settings(broker=args.broker)
    local = None if names_broker(args.broker) else broker_status()
    if local is not None:
        settings = load_settings(broker=local.bootstrap)
    if args.acknowledge:
        return _acknowledge(args, settings.kafka)
    flows = asyncio.run(look(settings, args.seconds))
    pages = [page(url) for url in args.workers]
    problems = [problem for flow in flows for problem in problems_of(flow)] + [p["why"] for p in pages if p["why"]]
    result = {"healthy": not problems, "why": problems, "flows": [as_dict(flow) for flow in flows], "workers": pages}
    emit(args, result, as_lines(flows, pages, problems))
    return 1 if problems else 0


def _acknowledge(args: argparse.Namespace, kafka: KafkaSettings) -> int:
    topic, losses = kafka.topic("events"), asyncio.run(acknowledge.acknowledge(kafka))
    emit(args, {"acknowledged": [as_loss(topic, *loss) for loss in losses]}, acknowledge.as_lines(topic, losses))
    return 0


def as_dict(flow: Flow) -> dict[str, Any]:
    """Return a flow for ``--json``."""
    members = () if flow.group is None else flow.group.members
    owner = {place: member.client_id for member in members for place in member.partitions}
    return {
        "app": flow.app,
        "topic": flow.topic,
        "state": None if flow.group is None else flow.group.state,
        "members": [{"id": m.member_id, "host": m.host, "partitions": len(m.partitions)} for m in members],
        "serving": {member: vars(one) for member, one in flow.serving.items()},
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
            f"{flow.app}: group {found['state'] or 'unknown'}, {counted(len(found['members']), 'member')}, "
            f"lag {found['lag']} on {flow.topic}"
        )
        lines += [] if flow.share is None else [f"  {share_text(flow.share)}"]
        lines += [f"  {member} serves {one}" for member, one in flow.serving.items()]
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
