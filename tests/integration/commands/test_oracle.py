"""``headrace oracle`` on a real broker.

A log and the topic that it was replayed to give one answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tools.broker.local_broker import BrokerInfo
from tools.main import main

pytestmark = pytest.mark.kafka


def lines(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> list[dict[str, Any]]:
    """Run the oracle with ``--json``, which must end with this code, and return its lines."""
    capsys.readouterr()
    assert main(["oracle", *argv, "--artifact", str(tiny.artifact()), "--json"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_topic_and_log_give_one_answer(
    broker: BrokerInfo, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows, offsets, lists and counts are the same from the topic and from the log."""
    tiny.artifact()
    for name, value in {"BROKER": broker.bootstrap, "TOPIC_PREFIX": prefix, "PARTITIONS": "2", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"HEADRACE_{name}", value)
    monkeypatch.setenv("HEADRACE_ENCODER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    log = tiny.write_log(tmp_path / "log.csv", n_users=12, n_each=5)
    log.write_text(log.read_text() + "u0,,1600000000000\n" + f"{'x' * 200},i1,1600000000000\n")
    items = tiny.write_items(tmp_path / "items.csv")
    assert main(["items", "put", str(items)]) == 0
    assert main(["replay", str(log)]) == 1, "two rows are refused"

    from_topic = lines(capsys)
    *from_log, of_log = lines(capsys, str(log), "--items", str(items), code=1)
    assert (of_log["refused"], len(of_log["groups"])) == (2, 2), "the log alone has the refused rows"
    assert [*from_log, of_log | {"refused": 0, "groups": []}] == from_topic
    *users, summary = from_topic
    assert [line["user_id"] for line in users] == sorted(f"u{i}" for i in range(12))
    assert {(line["window"]["revision"], len(line["list"]["items"])) for line in users} == {(5, 10)}
    assert (summary["users"], summary["lists"], summary["read"], summary["accepted"]) == (12, 12, 60, 60)
    assert sum(counts["read"] for counts in summary["partitions"].values()) == 60
    offsets = {line["window"]["trigger"][2] for line in users}
    assert max(offsets) == max(counts["read"] for counts in summary["partitions"].values()) - 1
