"""The commands themselves agree on a log, whatever its format, and a pipe is live."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import Event, RecordDecoder
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tests.property.test_one_outcome import FORMATS, TABLE
from tests.support.programs import HEADRACE
from tools.main import main

pytestmark = pytest.mark.kafka


def events_of(kafka: KafkaSettings) -> list[Event]:
    """Return all events on the topic."""

    async def read() -> list[Event]:
        decoder = RecordDecoder(Event)
        return [decoder.decode(record.value) async for record in read_records(kafka, kafka.topic("events"))]

    return asyncio.run(read())


def fields(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return what the log says of each event, in one order."""
    return sorted((e.user_id, e.item_id, e.type, e.ts, e.session_id or "", e.value or 0.0) for e in events)


def test_replay_and_produce_publish_the_same_events(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A table as CSV, JSON lines and Parquet: each time 21 events and the same 19 refusals."""
    found: list[tuple[int, int, list[tuple[str, str, int]]]] = []
    for name, command in (("a.csv", "replay"), ("a.jsonl", "produce"), ("a.parquet", "produce")):
        path = tmp_path / name
        path.write_bytes(FORMATS[name][0](TABLE))
        before = len(events_of(kafka)) if found else 0
        capsys.readouterr()
        assert main([command, str(path), "--json"]) == 1
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        groups = sorted((group["field"], group["reason"], group["n"]) for group in result["groups"])
        found.append((result["sent"], result["refused"], groups))
        assert len(events_of(kafka)) == before + 21
    assert found == [found[0]] * 3 and found[0][:2] == (21, 19)
    events = events_of(kafka)
    replayed = [event for event in events if event.run is not None]
    produced = [event for event in events if event.run is None]
    assert fields(produced) == sorted(fields(replayed) * 2)


def test_a_pipe_is_published_line_by_line(kafka: KafkaSettings, tmp_path: Path) -> None:
    """An event is on the topic while its producer still holds the pipe open."""
    argv = [*HEADRACE, "produce", "-", "--json"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert main(["topics", "create"]) == 0
        for n in range(2):
            line = {"user_id": f"u{n}", "item_id": "i", "type": "view", "ts": 1_600_000_000_000}
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while len(events_of(kafka)) <= n:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(out.splitlines()[-1])["sent"] == 2
