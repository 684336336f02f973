"""What ``headrace status`` calls healthy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

import tools.commands.running.status
from streams.errors import InputError
from streams.health.unknown_items import UnknownItems
from streams.kafka.group_watch import Group, Member, PartitionOffsets, Place
from tests.support.builders import idle_health
from tools.commands.running.status import as_dict, as_lines
from tools.main import main
from tools.workers.flow import Flow, page, problems_of
from tools.workers.serving import Serving

A: Place = ("events", 0)
B: Place = ("events", 1)


def flow(
    before: int,
    after: int,
    *,
    end: int = 100,
    state: str = "Stable",
    owned: tuple[Place, ...] = (A, B),
    empty: tuple[Place, ...] = (),
) -> Flow:
    """Return a flow: partition A goes from ``before`` to ``after``, B is read to its end."""
    members = (Member("m-1", "faust", "/127.0.0.1", frozenset(owned)),) if owned else ()
    done = PartitionOffsets(100, 100)
    return Flow(
        "sequencer",
        "events",
        Group(state, members),
        {A: PartitionOffsets(before, end), B: done},
        {A: PartitionOffsets(after, end), B: done},
        frozenset(empty),
    )


@pytest.mark.parametrize(
    ("looked", "problem"),
    [
        (flow(100, 100), ""),
        (flow(10, 11), ""),
        (flow(99, 99, empty=(A,)), ""),
        (flow(10, 10), "partitions 0 of events do not move"),
        (flow(100, 100, owned=(B,)), "partitions 0 of events have no worker"),
        (flow(100, 100, owned=()), "no worker is in the group"),
        (flow(100, 100, state="PreparingRebalance"), "PreparingRebalance"),
    ],
)
def test_healthy_means_that_waiting_records_are_worked_on(looked: Flow, problem: str) -> None:
    problems = problems_of(looked)
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


def test_a_broker_that_cannot_tell_members_leaves_the_offsets_to_judge() -> None:
    looked = flow(10, 10)
    assert len(problems_of(Flow("sequencer", "events", None, looked.before, looked.after))) == 1


@pytest.mark.parametrize(
    ("end_before", "end", "watermark", "is_open"),
    [(40, 40, 52, True), (40, 41, 52, False), (40, 40, 40, False), (40, 52, 52, False), (40, 60, 52, False)],
)
def test_a_transaction_that_stays_open_is_named_as_what_it_is(
    end_before: int, end: int, watermark: int, is_open: bool
) -> None:
    """There is no lag, because readers of committed records stop before the open transaction."""
    looked = replace(
        flow(100, 100),
        before={A: PartitionOffsets(40, end_before), B: PartitionOffsets(100, 100)},
        after={A: PartitionOffsets(end, end), B: PartitionOffsets(100, 100)},
        watermarks={A: watermark, B: 100},
    )
    assert len(problems_of(looked)) == is_open
    found = [{"partition": 0, "last_stable": 40, "high_watermark": 52}] if is_open else []
    assert as_dict(looked)["open_transactions"] == found
    for word in ("on events-0", "beyond offset 40", "reach 52", "find-hanging --topic events", "--start-offset 40"):
        assert (word in "".join(problems_of(looked))) == is_open


def test_json_and_text_say_the_same() -> None:
    looked = flow(10, 30, owned=(A,))
    found = as_dict(looked)
    assert found["lag"] == 70
    assert found["partitions"][0] == {
        "partition": 0, "committed": 30, "end": 100, "lag": 70, "moved": 20, "has_worker": True,
    }  # fmt: skip
    text = "\n".join(as_lines([looked], [], ["sequencer: x"]))
    assert (
        "partition 0: committed 30, end 100, lag 70" in text
        and "partition 1: committed 100, end 100, lag 0, no worker" in text
    )
    assert text.endswith("NOT healthy: sequencer: x")


def test_each_worker_is_shown_with_what_it_serves() -> None:
    served = {"m-1": Serving("3f2a", "equal", "rules 9c1d"), "m-2": Serving("3f2a", "none"), "m-3": Serving("77")}
    looked = replace(flow(100, 100), serving=served)
    assert as_dict(looked)["serving"]["m-1"] == {"artifact": "3f2a", "golden": "equal", "rules": "rules 9c1d"}
    text = "\n".join(as_lines([looked], [], []))
    assert "m-1 serves artifact 3f2a, golden lists equal, rules 9c1d" in text
    assert "m-2 serves artifact 3f2a, no golden windows, no rules" in text
    assert "m-3 serves artifact 77, golden lists unknown, no rules" in text


@pytest.fixture
def pages() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a worker's pages, and what ``/health`` answers."""
    answer: dict[str, Any] = {"status": 200, "health": {"ready": True}}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            is_health = self.path == "/health"
            self.send_response(answer["status"] if is_health else 200)
            self.end_headers()
            counts = {"read": 3, "accepted": 2, "duplicate": 1, "late": 0, "rejected": 0, "forgotten": 0}
            self.wfile.write(json.dumps(answer["health"] if is_health else {"total": counts}).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_workers_page_tells_its_counts_and_its_readiness(pages: tuple[str, dict[str, Any]]) -> None:
    url, answer = pages
    assert page(f"{url}/") == {
        "url": url,
        "counts": {"read": 3, "accepted": 2, "duplicate": 1, "late": 0, "rejected": 0, "forgotten": 0},
        "artifact": "",
        "why": "",
    }
    answer["status"] = 503
    assert "503" in page(url)["why"]


def test_an_alarm_on_a_workers_page_becomes_the_operators_line(
    pages: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alarm on the worker's page gives exit code 1 and one line that names the worker."""
    url, answer = pages
    health = idle_health()
    health.unknown = UnknownItems()
    health.unknown.count(["100"] * 20, {"100.0"})
    answer["health"] = {"ready": True, "healthy": False, "alarms": health.alarms()}

    async def nothing(*_: object) -> list[Flow]:
        return []

    monkeypatch.setattr(tools.commands.running.status, "look", nothing)
    assert main(["status", "--broker", "b:1", "--workers", url]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "NOT healthy" in line]
    said = "20 of the last 20 events are of items that the catalogue does not have, most often '100' (20)"
    assert line.startswith(f"NOT healthy: worker {url}: {said}")


def test_an_unreachable_page_is_a_problem_and_no_url_is_bad_usage() -> None:
    assert "not ready or not there" in page("http://127.0.0.1:1")["why"]
    with pytest.raises(InputError, match="must begin with http"):
        page("file:///etc/passwd")
