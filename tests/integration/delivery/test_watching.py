"""What workers tell an operator: one trace from event to answer, and logs that a program reads."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import encode
from streams.kafka.publisher import Publisher
from streams.server.lists.answers import Question
from streams.server.open import open_server
from streams.settings.load import Settings, WatchingSettings
from tests.integration.delivery.otlp_sink import otlp_sink
from tests.integration.delivery.test_sequencer import WAIT_S, sequencer
from tests.integration.lists.recommender_runs import recommender
from tests.integration.reading import read_all
from tests.support.builders import make_event
from tests.support.waiting import wait_until
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.model]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
N_BAD = 30


def publish(settings: Settings) -> None:
    """Publish bad records, and one event with its producer's trace in the header."""

    async def run() -> None:
        topic = settings.kafka.topic("events")
        async with Publisher(settings.kafka) as publisher:
            for _ in range(N_BAD):
                await publisher.publish(topic, b"u1", b"x")
            event = make_event("e1", int(time.time() * 1000), item_id="i3")
            await publisher.publish(topic, b"u1", encode(event), [("traceparent", f"00-{TRACE}-{SPAN}-01".encode())])

    asyncio.run(run())


def lines(worker: Worker) -> list[dict[str, Any]]:
    """Return the log after Faust's banner; every line is an object."""
    text = worker.log_path.read_text("utf-8").splitlines()
    begin = next(i for i, line in enumerate(text) if line.startswith("{"))
    return [json.loads(line) for line in text[begin:]]


async def ask(settings: Settings, folder: Path, endpoint: str) -> None:
    """Ask a server for the user's list; its end sends its spans."""
    server = replace(settings.server, serve_dir=str(folder / "server"))
    traced = replace(settings, server=server, watching=WatchingSettings(traces_endpoint=endpoint))
    async with open_server(traced) as opened:
        while opened.server.ready.waiting():
            await asyncio.sleep(0.05)
        assert (await opened.server.lists.answer(Question("u1"))).items


@pytest.mark.usefixtures("catalogue")
def test_a_trace_spans_event_window_list_and_answer_and_logs_are_json(settings: Settings, tmp_path: Path) -> None:
    """The list carries the trace on, for whoever serves it; the server does."""
    with otlp_sink() as sink:
        variables = {"HEADRACE_TRACES_ENDPOINT": sink.endpoint, "HEADRACE_LOG_FORMAT": "json"}
        with (
            sequencer(settings, tmp_path, **variables) as first,
            recommender(settings, tmp_path, **variables) as second,
        ):
            publish(settings)
            wait_until(lambda: bool(read_all(settings, "recommendations")), WAIT_S, second.log_tail)
            asyncio.run(ask(settings, tmp_path, sink.endpoint))
        # the end of a worker sends what has ended
        wait_until(lambda: len(sink.trace(TRACE)) == 5, WAIT_S, lambda: str(sink.trace(TRACE)))
        found = sink.trace(TRACE)
    service, sequence_id, parent = found["sequence"]
    assert (service, parent) == ("headrace-sequencer", SPAN)
    assert found["recommend"][0] == "headrace-recommender" and found["recommend"][2] == sequence_id
    assert found["rank"][2] == found["publish"][2] == found["recommend"][1]
    assert found["GET list"][0] == "headrace-server" and found["GET list"][2] == found["recommend"][1]
    (made,) = [record for record in read_all(settings, "recommendations") if record.headers]
    assert dict(made.headers)["traceparent"].decode() == f"00-{TRACE}-{found['recommend'][1]}-01"
    (alarm,) = [line for line in lines(first) if line["level"] == "ERROR"]
    place = (alarm["topic"], alarm["offset"] < N_BAD, "were rejected" in alarm["message"])
    assert place == (settings.kafka.topic("events"), True, True)
    assert {line["level"] for line in lines(second)} <= {"INFO", "WARNING"}
