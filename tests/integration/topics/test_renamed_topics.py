"""Topics with other names, made by others: ``shop-events`` of 12 partitions, ``source.shop.items``.

No setting holds the partition count: workers and commands read it from the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.admin import NewTopic

from streams.contract.windows import decode_window
from streams.kafka.topics import open_admin
from streams.settings.load import Settings
from tests.integration.commands.rebuild_runs import WAIT_S, Live, held, last_json, left, records
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.main import main

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers"), pytest.mark.timeout(300), pytest.mark.long]
N_PARTITIONS, N_USERS = 12, 30
DAY_MS = 86_400_000


@pytest.fixture
def live(settings: Settings, tmp_path: Path) -> Iterator[Live]:
    """Give a deployment whose events and items exist already, under other names."""
    prefix = settings.kafka.topic_prefix
    kafka = replace(settings.kafka, topic_events=f"{prefix}shop-events", topic_items=f"source.{prefix}shop.items")
    found = Live(replace(settings, kafka=kafka), tmp_path)
    asyncio.run(make_topics(found.settings))
    yield found
    found.stop()
    found.kill_commands()


async def make_topics(settings: Settings) -> None:
    """Make the topics as their owners do: more partitions, and events kept for longer."""
    admin = await open_admin(settings.kafka)
    kept = {"retention.ms": str(30 * DAY_MS)}
    compacted = {"cleanup.policy": "compact"}
    try:
        await admin.create_topics(
            [
                NewTopic(settings.kafka.topic("events"), N_PARTITIONS, 1, topic_configs=kept),
                NewTopic(settings.kafka.topic("items"), 3, 1, topic_configs=compacted),
            ]
        )
    finally:
        await admin.close()


def run_command(live: Live, *argv: str) -> int:
    """Run a command with the deployment's variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in live.env.items():
            patch.setenv(name, value)
        return main([*argv, "--json"])


def publish(live: Live, n_before: int, path: Path) -> None:
    """Publish one more event of each user with ``headrace produce``."""
    events = [
        make_event(f"e{n_before}-{i}", T0 + n_before, user_id=f"u{i}", item_id=f"i{(i + n_before) % tiny.N_ITEMS}")
        for i in range(N_USERS)
    ]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, events)))
    assert run_command(live, "produce", str(path)) == 0


def assert_all_served(live: Live, n_each: int) -> None:
    """Check that each user has one window of all events, and its list."""
    wait_until(lambda: not any(left(counted(live))), WAIT_S, lambda: str(left(counted(live))))
    found = held(live.settings)
    assert {key: decode_window(value).revision for key, value in found.windows.items()} == {
        f"u{i}".encode(): n_each for i in range(N_USERS)
    }
    assert {made.user_id: made.revision for made in found.lists.values()} == {f"u{i}": n_each for i in range(N_USERS)}


def counted(live: Live) -> Settings:
    """Return the settings with the partition count that headrace must find."""
    return replace(live.settings, kafka=replace(live.settings.kafka, partitions=N_PARTITIONS))


def test_events_of_others_topics_become_lists_also_after_a_restart(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(live, "items", "put", str(tiny.write_items(tmp_path / "items.csv"))) == 0
    assert {record.partition for record in records(live.settings, "items")} == {0, 1, 2}
    publish(live, 0, tmp_path / "first.jsonl")
    # A broker answers before all of its threads know a topic: those that a catalogue does not need
    # come in time.
    wait_until(lambda: run_command(live, "topics", "check") == 0, WAIT_S, lambda: capsys.readouterr().out)
    told: dict[str, Any] = {topic["name"]: topic["partitions"] for topic in last_json(capsys)["topics"]}
    prefix = live.settings.kafka.topic_prefix
    assert told[f"{prefix}shop-events"] == told[f"{prefix}sequences"] == told[f"{prefix}recommendations"] == 12
    assert told[f"source.{prefix}shop.items"] == 3

    live.start()
    assert_all_served(live, 1)
    live.stop()
    publish(live, 1, tmp_path / "second.jsonl")
    live.start()
    assert_all_served(live, 2)
    assert len({record.partition for record in records(live.settings, "sequences")}) > 4, "more than the default has"
    assert live.workers[0].counts()["total"]["rejected"] == 0
    assert run_command(live, "status", "--seconds", "0") == 0
    capsys.readouterr()
    assert run_command(live, "oracle") == 0
    assert last_json(capsys)["accepted"] == 2 * N_USERS
    assert run_command(live, "doctor") == 0
    live.stop()
    check_rebuild(live, capsys)
    check_set_count(live, capsys)


def check_rebuild(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """A run reads the named topics and writes to its own.

    It equals the live state, is promoted, and may have another partition count.
    """
    n_before = {name: len(records(live.settings, name)) for name in ("events", "items", "sequences")}
    capsys.readouterr()
    assert live.replay("--into", "again", "--from-topic") == 0
    result = last_json(capsys)
    assert (result["events"], result["partitions"], result["items"]) == (2 * N_USERS, N_PARTITIONS, tiny.N_ITEMS)
    assert live.replay("--compare", "again") == 0
    assert last_json(capsys)["equal"] is True
    assert {name: len(records(live.settings, name)) for name in n_before} == n_before, "the live topics are only read"

    live.window_max_events = 1
    assert live.replay("--into", "shorter", "--from-topic") == 0
    assert live.replay("--promote", "shorter", "--yes") == 0
    assert last_json(capsys)["windows"] == N_USERS
    live.start()
    wait_until(lambda: not any(left(counted(live))), WAIT_S, lambda: str(left(counted(live))))
    live.stop()
    assert all(len(decode_window(value).items) == 1 for value in held(live.settings).windows.values())

    assert live.replay("--into", "p5", "--from-topic", "--partitions", "5") == 0
    assert live.replay("--promote", "p5") == 0
    prefix = f"{live.settings.kafka.topic_prefix}p5."
    assert last_json(capsys)["switch"] == {
        "HEADRACE_TOPIC_PREFIX": prefix, "HEADRACE_PARTITIONS": "5", "HEADRACE_TOPIC_EVENTS": "", "HEADRACE_TOPIC_ITEMS": "",
    }  # fmt: skip


def check_set_count(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """A partition count that the operator sets must match the topic.

    One line names a difference.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_PARTITIONS", "4")
        assert run_command(live, "topics", "create") == 1
    assert "partitions is 12, must be 4" in capsys.readouterr().err
