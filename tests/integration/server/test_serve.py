"""``headrace serve`` on a broker: lists, withdrawals, rules, and a store that was deleted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.announcements.sending.answers import wait_for_receipts
from streams.announcements.sending.rules import put_rules
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Event, Item, encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.kafka.topic_reader import newest_values
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.delivery.otlp_sink import otlp_sink
from tests.integration.lists.recommender_runs import publish
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.waiting import wait_until
from tests.unit.streams.server.served import a_list
from tools.announcing.forgetting.ask import Outcome, ask, wait
from tools.announcing.forgetting.people import Person
from tools.main import main

pytestmark = [pytest.mark.kafka]
START_S = 90.0
PROGRAM = ("-m", "tools.main")


class Running:
    """A server in a process of its own.

    Parameters
    ----------
    program : what Python runs
    more : environment variables
    """

    def __init__(self, settings: Settings, folder: Path, program: Sequence[str] = PROGRAM, **more: str) -> None:
        command = [sys.executable, *program, "serve", "--port", "0", "--json"]
        variables = {
            "HEADRACE_BROKER": settings.kafka.broker,
            "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
            "HEADRACE_SERVE_DIR": str(folder / "store"),
        } | more
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=_environment(variables), stderr=log, stdout=subprocess.PIPE)
        self.wait(lambda: self._url() is not None)
        self.url = self._url()

    def _url(self) -> str | None:
        assert self.process.poll() is None, self.log.read_text()
        said = self.log.read_text().rpartition("listening on ")[2]
        return said.partition(";")[0] if ";" in said else None

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return status and body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as exc:
            return exc.code, json.load(exc)

    def items(self, user_id: str) -> list[str] | None:
        """Return the items of a user's list; None without one."""
        status, found = self.ask(f"/v1/users/{user_id}/recommendations")
        assert status in (200, 404), found
        return [one["item_id"] for one in found["items"]] if status == 200 else None

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; a failure shows the log."""
        wait_until(condition, START_S, self.log.read_text)

    def wait_ready(self) -> None:
        """Wait until the server is ready."""
        self.wait(lambda: self.ask("/readyz")[0] == 200)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(how)
        return self.process.wait(30)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")} | variables


@contextlib.contextmanager
def serving(settings: Settings, folder: Path, **variables: str) -> Iterator[Running]:
    """Give a server; it is killed at the end if it still runs."""
    server = Running(settings, folder, **variables)
    try:
        server.wait_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)
        assert server.process.stdout is not None
        server.process.stdout.close()


def push(settings: Settings, user_id: str, revision: int, items: str) -> None:
    found = a_list(user_id, revision, list(items), produced_ts=int(1000 * time.time()))
    publish(settings, "recommendations", [OutRecord(user_id.encode(), encode(found))])


def put_item(settings: Settings, item_id: str, **more: Any) -> None:
    publish(settings, "items", [OutRecord(item_id.encode(), encode(Item(1, item_id, f"title {item_id}", **more)))])


def test_a_server_follows_the_topics_and_comes_back_with_or_without_its_store(
    settings: Settings, tmp_path: Path
) -> None:
    """Lists, removals, withdrawals and rules hold at once, after a kill, and without the store."""
    asyncio.run(create_topics(settings.kafka))
    for item_id in "abc":
        put_item(settings, item_id)
    push(settings, "u", 1, "abc")
    push(settings, "v", 1, "cab")
    with serving(settings, tmp_path) as server:
        assert (server.items("u"), server.items("v"), server.items("w")) == (list("abc"), list("cab"), None)
        push(settings, "u", 2, "bca")
        push(settings, "u", 1, "abc")  # a repeat of before
        push(settings, "w", 1, "a")
        server.wait(lambda: server.items("w") == ["a"] and server.items("u") == list("bca"))
        publish(settings, "recommendations", [OutRecord(b"v", None)])
        put_item(settings, "b", available=False)
        server.wait(lambda: server.items("v") is None and server.items("u") == list("ca"))
        asyncio.run(put_rules(settings.kafka, "default", 'deny = ["c"]'))
        server.wait(lambda: server.items("u") == ["a"])
        server.stop(signal.SIGKILL)
    push(settings, "u", 3, "cab")
    publish(settings, "recommendations", [OutRecord(b"w", None)])
    for is_deleted in (False, True):
        if is_deleted:
            shutil.rmtree(tmp_path / "store")
        with serving(settings, tmp_path) as server:
            assert (server.items("u"), server.items("v"), server.items("w")) == (["a"], None, None)
            assert server.stop() == 0
            assert server.process.stdout is not None
            assert json.loads(server.process.stdout.read())["stopped"] is True


def test_a_key_is_needed_where_there_are_keys(settings: Settings, tmp_path: Path) -> None:
    """The command makes it; the server takes it, and refuses others."""
    asyncio.run(create_topics(settings.kafka))
    push(settings, "u", 1, "ab")
    file = str(tmp_path / "keys.json")
    made = subprocess.run(
        [sys.executable, "-m", "tools.main", "serve", "keys", "add", "shop", "--file", file, "--json"],
        env=_environment({}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = json.loads(made.stdout)["key"]
    with serving(settings, tmp_path, HEADRACE_SERVE_KEYS_FILE=file) as server:
        path = "/v1/users/u/recommendations"
        assert [server.ask(path)[0], server.ask(path, **{"X-API-Key": "hr_no"})[0]] == [401, 401]
        status, found = server.ask(path, **{"X-API-Key": key})
        assert status == 200 and [one["item_id"] for one in found["items"]] == ["a", "b"]


def test_what_is_written_over_http_is_on_the_topics(settings: Settings, tmp_path: Path) -> None:
    """Events, items, users and the request to forget; an answer has the change at once.

    The record of an event carries on the trace of the caller.
    """
    asyncio.run(create_topics(settings.kafka))
    push(settings, "u", 1, "ab")
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with otlp_sink() as sink, serving(settings, tmp_path, HEADRACE_TRACES_ENDPOINT=sink.endpoint) as server:
        for item_id in "ab":
            assert server.ask(f"/v1/items/{item_id}", "PUT", {"title": item_id})[0] == 204
        assert server.items("u") == ["a", "b"]
        assert server.ask("/v1/items/a", "DELETE")[0] == 204 and server.items("u") == ["b"]
        event = {"user_id": "u", "item_id": "b", "type": "view"}
        sent = [event, event | {"type": "stare"}]
        status, told = server.ask("/v1/events", "POST", sent, traceparent=f"00-{trace}-{caller}-01")
        assert (status, told["accepted"], told["rejected"][0]["index"]) == (207, 1, 1)
        assert server.ask("/v1/users/u", "PUT", {"features": {"age": 3}})[0] == 204
        assert server.ask("/v1/users/u")[1]["features"] == {"age": 3}
        status, forgotten = server.ask("/v1/users/u", "DELETE")
        assert status == 202 and server.ask("/v1/users/u")[0] == 404
        assert server.stop() == 0  # and sends its spans
        wait_until(lambda: len(sink.trace(trace)) == 2, START_S, lambda: str(sink.trace(trace)))
        _, span_id, parent = sink.trace(trace)["POST /v1/events"]
    (record,) = read_all(settings, "events")
    assert (parent, dict(record.headers)) == (caller, {"traceparent": f"00-{trace}-{span_id}-01".encode()})

    def values(topic: str) -> dict[bytes, bytes]:
        return asyncio.run(newest_values(settings.kafka, topic))

    (value,) = values("events").values()
    assert msgspec.msgpack.decode(value, type=Event).event_id == told["events"][0]["event_id"]
    assert values("items").keys() == {b"b"} and values("users") == {}
    assert msgspec.msgpack.decode(values("privacy")[b"u"])["request_id"] == forgotten["request_id"]


@pytest.mark.usefixtures("several_workers")
def test_a_server_answers_for_rules_and_for_forgotten_users_and_a_dead_one_is_not_waited_for(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy is gone with the receipt, also that of a request which came while it was down.

    A proof finds the copy until then.
    """
    kafka = settings.kafka
    asyncio.run(create_topics(kafka))
    for user_id in "uvw":
        push(settings, user_id, 1, "ab")

    def forget(user_id: str, timeout_s: float) -> Outcome:
        outcome = asyncio.run(ask(kafka, [Person(user_id, user_id)]))
        asyncio.run(wait(kafka, outcome, timeout_s))
        return outcome

    def servers(outcome: Outcome) -> list[str]:
        return [one.stage for found in outcome.receipts.values() for one in found if one.app == "server"]

    def proven(user_id: str) -> list[tuple[str, str]]:
        """Return what a proof finds in the server's store."""
        monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", kafka.topic_prefix)
        monkeypatch.setenv("HEADRACE_SERVE_DIR", str(tmp_path / "store"))
        main(["forget", "--prove", user_id, "--broker", kafka.broker, "--state-dir", str(tmp_path / "none"), "--json"])
        found = json.loads(capsys.readouterr().out.splitlines()[-1])["users"][user_id]
        return [(one["kind"], one["what"]) for one in found if str(tmp_path) in one["place"] and one["kind"] != "stays"]

    with serving(settings, tmp_path) as server:
        announcement = asyncio.run(put_rules(kafka, "default", 'deny = ["c"]'))
        answers = asyncio.run(wait_for_receipts(kafka, "rules", announcement, apps=["server"], timeout_s=30))
        assert [one.stage for one in answers.given] == ["done"] and answers.n_live == 1
        outcome = forget("u", 8)
        assert servers(outcome) == ["done"] and server.items("u") is None and server.items("v") is not None
        assert all("server" not in text for text in outcome.missing) and len(outcome.missing) == 2
        server.stop(signal.SIGKILL)
    asyncio.run(ask(kafka, [Person("v", "v")]))
    assert ("left", "the user's list, in the server's store") in proven("v")
    with serving(settings, tmp_path) as server:
        assert server.items("v") is None and server.items("u") is None and server.items("w") is not None
        push(settings, "v", int(1000 * time.time()) + 60_000, "ab")  # the user came back
        server.wait(lambda: server.items("v") == ["a", "b"])
        assert server.stop() == 0
    assert {kind for kind, _ in proven("v")} == {"new life"} and proven("u") == []
    with serving(settings, tmp_path) as server:
        assert server.items("v") == ["a", "b"], "a start reads the request again"
        assert server.stop() == 0
    outcome = forget("w", 15)
    assert servers(outcome) == [] and all("server" not in text for text in outcome.missing)


@pytest.mark.model
@pytest.mark.usefixtures("catalogue")
def test_a_server_with_a_model_ranks_on_demand_and_a_stream_tells_a_new_list(
    settings: Settings, tmp_path: Path
) -> None:
    """With the artifact of the settings, over the catalogue on the topic."""
    push(settings, "u", 1, "ab")
    now_ms = int(1000 * time.time())
    variables = {"HEADRACE_SERVE_RANKING": "on", "HEADRACE_ARTIFACT": str(tiny.artifact())}
    variables["HEADRACE_ENCODER_CACHE_DIR"] = str(tmp_path / "texts")
    with serving(settings, tmp_path, **variables) as server:
        json_body = {"Content-Type": "application/json"}
        popular = [one["item_id"] for one in server.ask("/v1/popular?n=5")[1]["items"]]
        assert len(popular) == 5
        window = WindowState(1, 4, now_ms, [WindowItem(now_ms, "e", popular[0], "view")], Trigger("e", now_ms, 0))
        publish(settings, "sequences", [OutRecord(b"w", encode(window))])
        wait_until(lambda: server.ask("/v1/users/w/recommendations")[0] == 200, 30, lambda: "no list of w")
        events = [{"item_id": popular[0]}]
        status, found = server.ask("/v1/sessions/recommendations", "POST", {"events": events, "n": 4}, **json_body)
        assert (
            status == 200 and len(found["items"]) == 4 and popular[0] not in [one["item_id"] for one in found["items"]]
        )
        assert server.ask(f"/v1/items/{popular[1]}", "DELETE")[0] == 204
        status, made = server.ask("/v1/users/w/recommendations?n=15&exclude=" + popular[2])
        listed = [one["item_id"] for one in made["items"]]
        assert status == 200 and (made["on_demand"], made["revision"], len(listed)) == (True, 4, 15)
        assert not {*popular[:3]} & set(listed) and "on_demand" not in server.ask("/v1/users/u/recommendations?n=2")[1]
        status, why = server.ask(f"/v1/users/w/why/{listed[0]}?for=engineer")
        assert status == 200 and (why["listed"], why["list"]["artifact"]) == (True, made["artifact"])
        assert server.ask(f"/v1/users/w/why/{popular[0]}")[1]["step"] == "had"
        recent = server.ask("/v1/popular?since=1h")[1]["items"]
        assert {one["item_id"] for one in recent} == {popular[0]}
        for path in ("/v1/popular?n=600", f"/v1/items/{popular[0]}/similar?n=600"):
            assert popular[1] not in [one["item_id"] for one in server.ask(path)[1]["items"]]
        status, ranked = server.ask("/v1/rank", "POST", {"candidates": popular, "events": events}, **json_body)
        assert status == 200 and set(ranked["left_out"]) == set(popular[:2])
        with urllib.request.urlopen(f"{server.url}/v1/users/u/recommendations/stream", timeout=30) as stream:
            told = [stream.readline() for _ in range(2)]
            assert told[0].strip() == b"event: list"
            push(settings, "u", 2, "zz")
            while b'"revision":2' not in told[-1]:
                told.append(stream.readline())
        assert server.stop() == 0
