"""The log and catalogue commands on a real broker, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import Event, Recommendation, RecommendedItem, RecordDecoder, SourceRank, encode
from streams.kafka.publisher import Publisher
from streams.kafka.topic_reader import read_records
from streams.kafka.topics import create_topics
from streams.sequencer.window import absorb
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import WindowBounds
from tests.support.builders import make_event
from tests.support.programs import HEADRACE
from tools.main import main
from tools.replay.identity import default_run
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a log of 3,000 events of 50 users, not in time order."""
    path = tmp_path / "log.csv"
    lines = [f"u{i % 50},i{i % 17},{1_600_000_000_000 + (i * 7_919 % 3_000) * 1_000}" for i in range(3_000)]
    path.write_text("user_id,item_id,ts\n" + "\n".join(lines) + "\n")
    return path


def command(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    """Run one command with ``--json`` and return its exit code and result."""
    capsys.readouterr()
    code = main([*argv, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def events_of(kafka: KafkaSettings) -> list[Event]:
    """Return all events on the topic."""

    async def read() -> list[Event]:
        decoder = RecordDecoder(Event)
        return [decoder.decode(record.value) async for record in read_records(kafka, kafka.topic("events"))]

    return asyncio.run(read())


def test_replay_publishes_every_row_in_time_order_per_user(
    kafka: KafkaSettings, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log on the topic is the log in the file."""
    code, result = command(capsys, "replay", str(log))
    assert code == 0 and result["run"] == default_run([log])
    assert (result["read"], result["sent"], result["skipped"], result["bad"]) == (3_000, 3_000, 0, 0)
    events = events_of(kafka)
    assert len({event.event_id for event in events}) == 3_000
    for user in range(50):
        times = [event.ts for event in events if event.user_id == f"u{user}"]
        assert len(times) == 60 and times == sorted(times)


def test_replay_twice_is_all_duplicates_for_the_sequencer(
    kafka: KafkaSettings, log: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The second pass changes no window, under the same run name and under another."""
    env = {"HEADRACE_BROKER": kafka.broker, "HEADRACE_TOPIC_PREFIX": kafka.topic_prefix, "HEADRACE_DATA_DIR": "seq"}
    asyncio.run(create_topics(kafka))
    with Worker("sequencer", env, free_port(), tmp_path / "sequencer.log") as worker:
        worker.wait_ready(60)
        expected = {"accepted": 0, "duplicate": 0, "late": 0, "rejected": 0, "forgotten": 0}
        for run, outcome in (("a", "accepted"), ("a", "duplicate"), ("b", "duplicate")):
            other = ["--force"] if run == "b" else []  # another run finds these users live
            assert command(capsys, "replay", str(log), "--run", run, *other)[0] == 0
            expected[outcome] += 3_000
            deadline = time.monotonic() + 30
            while worker.counts()["total"]["read"] < sum(expected.values()) and time.monotonic() < deadline:
                time.sleep(0.05)
            total = worker.counts()["total"]
            assert {name: total[name] for name in expected} == expected


def test_replay_over_live_users_is_refused_unless_forced(
    kafka: KafkaSettings, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """History behind a live event would be late, all of it.

    The command says so before it publishes anything, with the number of events and the remedy.
    """

    async def go_live(users: list[str], **more: Any) -> None:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            for user in users:
                event = make_event("e", int(time.time() * 1000), user_id=user, **more)
                state = absorb(None, [(event, 0)], WindowBounds()).state
                assert state is not None
                await publisher.publish(kafka.topic("sequences"), user.encode(), encode(state))
            await publisher.publish(kafka.topic("sequences"), b"u3", None)

    asyncio.run(go_live(["u1", "u2", "u3", "stranger"]))
    assert main(["replay", str(log)]) == 2
    err = capsys.readouterr().err
    assert "2 users of the log are live already" in err and "--into" in err and "--promote" in err
    assert events_of(kafka) == []
    assert command(capsys, "replay", str(log), "--force")[1]["sent"] == 3_000
    (wire,) = {event.run for event in events_of(kafka)}
    asyncio.run(go_live(["u1", "u2"], run=wire, seq=7))
    assert command(capsys, "replay", str(log))[0] == 0, "a repeat of this run is no harm to its own users"


def test_interrupted_replay_resumes_without_gap_or_repeat(
    kafka: KafkaSettings, log: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ctrl-C, then ``--resume``: every event exactly once on the topic."""
    # 3,000 s of events in 6 s
    argv = ["replay", str(log), "--run", "r", "--speed", "500", "--json"]
    asyncio.run(create_topics(kafka))
    pipe = subprocess.PIPE
    program = [*HEADRACE, *argv]
    with subprocess.Popen(program, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        deadline = time.monotonic() + 60
        while not events_of(kafka):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    first = json.loads(out.splitlines()[-1])
    assert process.returncode == 130 and "--resume" in err
    assert 0 < first["sent"] < 3_000
    code, second = command(capsys, "replay", str(log), "--run", "r", "--resume")
    assert code == 0 and second["skipped"] == first["sent"]
    seqs = [event.seq for event in events_of(kafka)]
    assert sorted(seq for seq in seqs if seq is not None) == list(range(3_000))
    code = main(["replay", str(log), "--run", "r", "--resume", "--to", "2020-09-13T13:00"])
    assert code == 2, "a checkpoint of another sequence is refused"


def test_produce_publishes_good_lines_and_refuses_bad_ones(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A bad line is refused; the lines around it are published."""
    file = tmp_path / "events.jsonl"
    good = [
        json.dumps({"user_id": f"u{i}", "item_id": "i", "type": "click", "ts": 1_600_000_000_000 + i})
        for i in range(100)
    ]
    file.write_text("\n".join([*good[:50], "{broken", *good[50:]]))
    code, result = command(capsys, "produce", str(file))
    assert (code, result["sent"], result["refused"]) == (1, 100, 1)
    assert [(group["field"], group["reason"], group["n"]) for group in result["groups"]] == [("", "malformed", 1)]
    assert {event.ts for event in events_of(kafka)} == {1_600_000_000_000 + i for i in range(100)}
    assert main(["produce", str(tmp_path / "none")]) == 2


def test_items_are_put_listed_and_deleted(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The catalogue is what was put, less what was deleted; deleting needs a word of consent."""
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id": "i1", "title": "Kettle"}\n{"item_id": "i2", "title": "茶杯"}\n')
    assert command(capsys, "items", "put", str(file)) == (0, {"sent": 2, "refused": 0})
    assert main(["items", "delete", "i1"]) == 2
    assert command(capsys, "items", "list")[1]["items"] == 2
    assert command(capsys, "items", "delete", "i1", "--yes") == (0, {"sent": 1})
    capsys.readouterr()
    assert main(["items", "list"]) == 0
    assert capsys.readouterr().out == "i2\t茶杯\n"


def test_a_catalogue_is_replaced_and_users_are_put(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``items put`` removes items that the file lacks, with the user's consent.

    A list of whole records puts the same catalogue again.
    """
    old, new, users = tmp_path / "old.csv", tmp_path / "new.csv", tmp_path / "users.csv"
    old.write_text("item_id,title,price\na,Pot,€ 4\nb,Pan,\nc,Lid,\n")
    new.write_text("item_id,title,price\na,Pot,€ 5\nd,Jar,\n")
    assert command(capsys, "items", "put", str(old)) == (0, {"sent": 3, "refused": 0})
    assert main(["items", "put", str(new), "--replace"]) == 2
    assert command(capsys, "items", "list")[1]["items"] == 3
    assert command(capsys, "items", "put", str(new), "--replace", "--yes") == (
        0,
        {"sent": 2, "refused": 0, "removed": 2},
    )
    capsys.readouterr()
    assert main(["items", "list", "--format", "json", "a"]) == 0
    assert json.loads(capsys.readouterr().out) == {"v": 1, "item_id": "a", "title": "Pot", "price": 5.0}
    users.write_text("user_id,age,follows\nu1,24,u2|u3\nu2,,\n")
    assert command(capsys, "users", "put", str(users), "--columns", "features.age=age") == (
        0,
        {"sent": 2, "refused": 0},
    )
    assert command(capsys, "users", "delete", "u2", "--yes") == (0, {"sent": 1})
    capsys.readouterr()
    assert main(["users", "list"]) == 0
    assert capsys.readouterr().out == "u1\tage=24\t2 follows\n"


def make_list(user: str, revision: int) -> Recommendation:
    """Return a list of one item."""
    item = RecommendedItem("i1", 0.5, {"mf": SourceRank(1, 2.0)}, "i2")
    return Recommendation(1, f"{user}-{revision}", user, revision, "e", 0, 1, 2, "a", 1, "none", [item])


def test_subscribe_prints_lists_with_titles(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Msgpack or JSON on the topic, titles from the catalogue, one user or all, and an end."""

    async def publish() -> None:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            for i in range(6):
                user, topic = f"u{i % 2}", kafka.topic("recommendations")
                await publisher.publish(topic, user.encode(), encode(make_list(user, i), as_json=i > 3))
            await publisher.publish(kafka.topic("recommendations"), b"u0", b"\xc1 no list")

    async def publish_one() -> None:
        async with Publisher(kafka) as publisher:
            await publisher.publish(kafka.topic("recommendations"), b"new", encode(make_list("new", 9)))

    asyncio.run(publish())
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id": "i1", "title": "Kettle"}\n{"item_id": "i2", "title": "Tea\\u001b[31m"}\n')
    assert main(["items", "put", str(file)]) == 0
    assert command(capsys, "subscribe") == (0, {"lists": 6, "users": 2, "malformed": 1})
    capsys.readouterr()
    assert main(["subscribe", "--user", "u1", "--count", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("user u1  revision") == 2 and "u0" not in out
    assert "Kettle" in out and "because of Tea" in out and "\x1b" not in out
    assert main(["subscribe", "--count", "7", "--follow", "--from-beginning", "--timeout", "2"]) == 1, (
        "fewer than asked"
    )
    assert capsys.readouterr().out.count("revision") == 6
    assert command(capsys, "subscribe", "--follow", "--timeout", "1")[1]["lists"] == 0, "a follower begins at the end"
    follower = threading.Thread(target=main, args=(["subscribe", "--follow", "--count", "1", "--timeout", "30"],))
    follower.start()
    while follower.is_alive():  # it reads nothing that was there when it began
        asyncio.run(publish_one())
        follower.join(0.5)
    assert re.findall(r"user (\w+)  revision (\d+)", capsys.readouterr().out) == [("new", "9")]
    assert main(["subscribe", "--user", "u0", "--format", "json", "--count", "1"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["revision"] == 0


def test_topics_create_and_check(kafka: KafkaSettings, capsys: pytest.CaptureFixture[str]) -> None:
    """Check fails before, succeeds after, and another partition count is one line."""
    code, result = command(capsys, "topics", "check")
    assert code == 1 and {topic["partitions"] for topic in result["topics"]} == {0}
    code, result = command(capsys, "topics", "create")
    assert code == 0 and result["ok"] and len(result["created"]) == len(result["topics"])
    assert command(capsys, "topics", "check")[0] == 0
    assert main(["topics", "create", "--partitions", "8"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert command(capsys, "topics", "check", "--partitions", "8")[0] == 1


@pytest.mark.parametrize(
    "argv",
    [["subscribe"], ["rejected", "list"], ["items", "list"], ["topics", "check"], ["produce", "/dev/null"]],
    ids=lambda argv: " ".join(argv),
)
def test_no_broker_is_exit_code_1_and_names_the_remedy(
    argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command says that it reached no broker, without a traceback."""
    monkeypatch.chdir(tmp_path)
    assert main([*argv, "--broker", "127.0.0.1:1"]) == 1
    err = capsys.readouterr().err
    assert "headrace broker start" in err and "Traceback" not in err


def test_rejected_events_are_listed_shown_and_redriven_once(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The sequencer rejects events; a person counts, reads, corrects and redrives them.

    Then the sequencer accepts them.
    """
    good = {"v": 1, "event_id": "e", "user_id": "u1", "item_id": "i", "type": "view", "ts": 1_600_000_000_000}
    in_seconds = [json.dumps(good | {"event_id": f"s{i}", "ts": 1_600_000_000 + i}).encode() for i in range(5)]
    env = {"HEADRACE_BROKER": kafka.broker, "HEADRACE_TOPIC_PREFIX": kafka.topic_prefix, "HEADRACE_DATA_DIR": "seq"}

    async def publish() -> None:
        await create_topics(kafka)
        async with Publisher(kafka) as publisher:
            for value in in_seconds:
                await publisher.publish(kafka.topic("events"), b"u1", value, [("trace", b"7")])
            await publisher.publish(kafka.topic("events"), b"other", json.dumps(good).encode())
            await publisher.publish(kafka.topic("events"), b"u1", b"\x1bhopeless")

    def read_until(worker: Worker, read: int) -> Any:
        deadline = time.monotonic() + 30
        while worker.counts()["total"]["read"] < read and time.monotonic() < deadline:
            time.sleep(0.05)
        return worker.counts()["total"]

    asyncio.run(publish())
    with Worker("sequencer", env, free_port(), tmp_path / "sequencer.log") as worker:
        worker.wait_ready(60)
        assert read_until(worker, 7)["rejected"] == 7
        code, listed = command(capsys, "rejected", "list")
        by = {(row["reason"], row["field"]): row["rejects"] for row in listed["by"]}
        assert code == 0 and by == {("range", "ts"): 5, ("key", "key"): 1, ("malformed", ""): 1}
        assert main(["rejected", "show", "--reason", "malformed"]) == 0
        assert "\\x1bhopeless" in capsys.readouterr().out
        (shown,) = command(capsys, "rejected", "show", "--field", "ts", "--count", "1")[1]["records"]
        assert shown["headers"] == [["trace", "Nw=="]] and "seconds? publish milliseconds" in shown["detail"]

        assert command(capsys, "rejected", "redrive", "--reason", "key")[1]["sent"] == 0
        assert command(capsys, "rejected", "redrive", "--reason", "key", "--yes")[1]["sent"] == 1
        script = tmp_path / "edit.py"
        script.write_text("import json, sys\ne = json.load(sys.stdin)\ne['ts'] *= 1000\njson.dump(e, sys.stdout)\n")
        edit = ["--edit", f"{sys.executable} {script}", "--yes"]
        code, redriven = command(capsys, "rejected", "redrive", *edit)
        assert (code, redriven["sent"], redriven["left"], redriven["redriven_before"]) == (1, 5, 1, 1)
        assert command(capsys, "rejected", "redrive", *edit)[1]["sent"] == 0
        total = read_until(worker, 7 + 6)
        assert (total["accepted"], total["rejected"]) == (6, 7)
        assert command(capsys, "rejected", "list")[1]["redriven"] == 6
