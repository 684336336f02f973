"""Hostile ids and titles through every command and both workers on a real broker.

Everything that a screen gets is printable.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from streams.contract.announcements import ModelAnnouncement
from streams.contract.records import Item, encode
from streams.kafka.group_watch import group_lag
from streams.kafka.publisher import Publisher
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, variables_of
from tests.support import tiny
from tests.support.builders import make_event
from tests.support.hostile_text import FORMULA, HOSTILE, READABLE, forged, unfit
from tests.support.waiting import wait_until
from tools.main import COMMANDS, main
from tools.workers.apps import APP_NAMES
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.long]
N_BAD = 60
Screen = pytest.CaptureFixture[str]


async def publish(settings: Settings) -> None:
    """Write what a hostile producer may: good records with hostile texts, and bad ones."""
    await create_topics(settings.kafka)
    key = HOSTILE.encode()
    async with Publisher(settings.kafka) as publisher:
        items, events = settings.kafka.topic("items"), settings.kafka.topic("events")
        await publisher.publish(
            items, key, encode(Item(1, HOSTILE, HOSTILE, text=HOSTILE, category=HOSTILE, tags=[HOSTILE]))
        )
        await publisher.publish(items, b"formula", encode(Item(1, "formula", FORMULA)))
        await publisher.publish(items, key, encode(Item(1, "another", HOSTILE)))
        await publisher.publish(items, key + b"\xff", None)
        model = ModelAnnouncement(1, HOSTILE[:100], HOSTILE, "0" * 64, 1, {HOSTILE: 1.0})
        await publisher.publish(settings.kafka.topic("models"), b"live", encode(model))
        await publisher.publish(settings.kafka.topic("models"), key + b"\xff", HOSTILE.encode())
        for i in range(10):
            event = make_event(f"{HOSTILE}{i}", user_id=HOSTILE, item_id=HOSTILE if i % 2 else f"i{i}")
            await publisher.publish(events, key, encode(event))
        for i in range(N_BAD):
            value = json.dumps({"v": 1, HOSTILE: i, "type": HOSTILE}, ensure_ascii=False).encode()
            await publisher.publish(events, b"u%d" % i, value, [("client_id", HOSTILE.encode()), (HOSTILE, b"\x1b")])


@pytest.fixture(scope="module")
def hostile_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tiny log as JSON lines, with a hostile user and item, and rows without sense."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [line.split(",") for line in tiny.write_log(folder / "log.csv", 20, 10).read_text().splitlines()[1:]]
    names = {"u0": HOSTILE, "i0": HOSTILE}
    lines = [
        json.dumps(
            {"user_id": names.get(user, user), "item_id": names.get(item, item), "ts": int(ts)}, ensure_ascii=False
        )
        for user, item, ts in rows
    ]
    bad = [
        json.dumps({"user_id": "u", "item_id": "i", "ts": HOSTILE}, ensure_ascii=False),
        "{" + HOSTILE.split("\n")[0],
    ]
    path = folder / f"log{HOSTILE[1:5]}.jsonl"
    path.write_text("\n".join([*bad, *lines, ""]), "utf-8")
    items = [{"item_id": HOSTILE, "title": HOSTILE}, *({"item_id": f"i{i}", "title": FORMULA} for i in range(1, 40))]
    (folder / "items.jsonl").write_text("\n".join(json.dumps(item, ensure_ascii=False) for item in items), "utf-8")
    return path


def check(text: str, what: str) -> None:
    """Fail where a screen would get what it must not."""
    assert unfit(text.replace("\t", "")) == set(), what
    assert forged(text) == [], what


def run(screen: Screen, *argv: str, codes: tuple[int, ...] = (0,)) -> list[str]:
    """Run a command for people and with ``--json``; return the lines of standard output of both."""
    found: list[str] = []
    for more in ((), ("--json",)):
        screen.readouterr()
        code = main([*argv, *more])
        captured = screen.readouterr()
        check(captured.out + captured.err, " ".join(argv[:2]))
        assert code in codes, (argv[:2], code, captured)
        found += captured.out.splitlines()
    json.loads(found[-1])
    return found


def _has_read(settings: Settings) -> bool:
    return asyncio.run(group_lag(settings.kafka, settings.kafka.group("sequencer"), "events")) == 0


def logs_of_workers(settings: Settings, folder: Path) -> Iterator[str]:
    """Yield what each worker logs while it works on the hostile records."""
    for name in APP_NAMES:
        with Worker(name, variables_of(settings, folder), free_port(), folder / f"{name}.log") as worker:
            worker.wait_ready(WAIT_S)
            if name == "sequencer":
                wait_until(partial(_has_read, settings), WAIT_S, worker.log_tail)
            else:
                wait_until(lambda: lag(settings) == 0, WAIT_S, worker.log_tail)
        yield worker.log_path.read_text("utf-8")


def test_hostile_texts_through_every_command_and_log(
    settings: Settings, hostile_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Screen
) -> None:
    asyncio.run(publish(settings))
    for log in logs_of_workers(settings, tmp_path):
        check(log, "log")
        strange = [line for line in log.split("\n") if line[:1] not in ("[", " ", "")]
        assert [line for line in strange if not line.startswith(("┌", "│", "├", "└", "+", "|", "ƒ"))] == []
    monkeypatch.setenv("HEADRACE_BROKER", settings.kafka.broker)
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_ARTIFACT", str(tiny.artifact()))
    monkeypatch.chdir(tmp_path)
    log, items, model = (
        str(hostile_log),
        str(hostile_log.with_name("items.jsonl")),
        str(tmp_path / f"model{HOSTILE[1:5]}"),
    )
    (tmp_path / "lines.jsonl").write_text(
        f"{HOSTILE}\n" + json.dumps({"user_id": HOSTILE, "item_id": "i", "type": HOSTILE}, ensure_ascii=False)
    )
    user = {"user_id": HOSTILE, "features": {HOSTILE: HOSTILE}, "follows": [FORMULA]}
    (tmp_path / "users").write_text(json.dumps(user, ensure_ascii=False))
    (tmp_path / "rules.toml").write_text(f"deny = [{json.dumps(FORMULA)}]")
    ran = {
        "init": run(capsys, "init", log, items, "--yes"),
        "topics": run(capsys, "topics", "check"),
        "acls": run(capsys, "acls", "producer", "--principal", HOSTILE),
        "produce": run(capsys, "produce", str(tmp_path / "lines.jsonl"), codes=(1,)),
        "subscribe": run(capsys, "subscribe") + run(capsys, "subscribe", "--user", HOSTILE, "--format", "json"),
        "items": run(capsys, "items", "list")
        + run(capsys, "items", "list", "--format", "json")
        + run(capsys, "items", "put", items)
        + run(capsys, "items", "delete", HOSTILE, "--yes"),
        "users": run(capsys, "users", "put", str(tmp_path / "users"))
        + run(capsys, "users", "list")
        + run(capsys, "users", "list", "--format", "json")
        + run(capsys, "users", "delete", HOSTILE, "--yes"),
        "models": run(capsys, "models", "list"),
        "rejected": run(capsys, "rejected", "list")
        + run(capsys, "rejected", "show")
        + run(capsys, "rejected", "redrive", codes=(1,)),
        "oracle": run(capsys, "oracle"),
        "why": run(capsys, "why", HOSTILE, FORMULA) + run(capsys, "why", HOSTILE, HOSTILE, "--for", "user"),
        "rules": run(capsys, "rules", "check", str(tmp_path / "rules.toml")) + run(capsys, "rules", "list"),
        "forget": run(capsys, "forget", HOSTILE, "--prove", codes=(0, 1)),
        "train": run(
            capsys, "train", log, "--items", items, "--out", model, "--encoder", "fake", "--device", "cpu", codes=(1,)
        ),
        "evaluate": run(capsys, "evaluate", model, log, "--report", str(tmp_path / "report"), codes=(1,)),
        "replay": run(capsys, "replay", log, "--state-dir", str(tmp_path / "state"), "--force", codes=(1,)),
        "status": run(capsys, "status", "--seconds", "1", codes=(0, 1)),
        "doctor": run(capsys, "doctor", "--artifact", model, codes=(0, 1)),
    }
    assert sum(READABLE[1] in line for line in ran["subscribe"]) >= 4, "the hostile user has a list, shown four times"
    assert sum(READABLE[1] in line for line in ran["rejected"]) >= 3, "values and headers are shown"
    check((tmp_path / "report" / "report.json").read_text("utf-8"), "report.json")
    # These say nothing of a topic's or a file's content; tests/unit/test_screens.py gives them
    # hostile arguments.
    assert set(COMMANDS) - set(ran) == {"broker", "up", "drill", "bench", "demo", "completion", "serve"}
