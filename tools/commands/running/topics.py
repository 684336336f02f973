"""``headrace topics create|check`` creates the contract's topics, or compares topics with it."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from streams.errors import TopicError
from streams.kafka.deployment import load_deployment
from streams.kafka.topic_specs import TOPICS, TopicDifference
from streams.kafka.topics import compare, compare_all, create_topics
from streams.settings.load import KafkaSettings
from tools.cli import emit, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "action", choices=("create", "check"), help="create: make missing topics; check: compare all with the contract"
    )
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="partitions of the topics keyed by user (or HEADRACE_PARTITIONS)"
    )
    parser.add_argument(
        "--replication", type=int, metavar="N", help="replicas of every topic (or HEADRACE_REPLICATION)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 when the topics differ from the contract."""
    settings = load_deployment(broker=args.broker, partitions=args.partitions, replication=args.replication).kafka
    created: list[str] = []
    found = asyncio.run(compare_all(settings))
    if args.action == "create":
        refuse_other_partitions(found)
        created = asyncio.run(_create(settings))
        found = asyncio.run(compare_all(settings))
    differences = [difference for difference in found if not difference.is_safe]
    for difference in found:
        style = "dim" if difference.is_safe else "yellow"
        say(str(difference), style=style)
    result = as_result(settings, created, found)
    lines = [
        f"{t['name']}: {t['partitions']} partitions, {t['cleanup']}{'' if t['ok'] else ' - differs'}"
        for t in result["topics"]
    ]
    emit(args, result, lines)
    return 1 if differences else 0


async def _create(settings: KafkaSettings) -> list[str]:
    """Create the missing topics; the caller reports how existing topics differ."""
    try:
        return await create_topics(settings)
    except TopicError:
        if any(difference.setting == "exists" for difference in await compare(settings)):
            raise  # a topic could not be created
        return []


def refuse_other_partitions(differences: list[TopicDifference]) -> None:
    """Raise one :class:`TopicError` when partition counts differ, before any topic is created."""
    unlike = [difference for difference in differences if difference.setting == "partitions"]
    if unlike:
        others = f" (and {len(unlike) - 1} more topics)" if len(unlike) > 1 else ""
        raise TopicError(f"{unlike[0]}{others}")


def as_result(settings: KafkaSettings, created: list[str], differences: list[TopicDifference]) -> dict[str, Any]:
    """Return the command's result: each topic, and its differences; harmless ones are notes."""
    topics, notes = [], [str(difference) for difference in differences if difference.is_safe]
    for spec in TOPICS:
        name = settings.topic(spec.name)
        found = {d.setting: d.found for d in differences if d.topic == name}
        own = [d for d in differences if d.topic == name and not d.is_safe]
        topics.append(
            {
                "name": name,
                "partitions": 0 if "exists" in found else int(found.get("partitions", spec.n_partitions(settings))),
                "cleanup": found.get("cleanup.policy", spec.cleanup),
                "ok": not own,
                "differences": [str(difference) for difference in own],
            }
        )
    ok = all(topic["ok"] for topic in topics)
    return {"ok": ok, "created": created, "topics": topics, "notes": notes}
