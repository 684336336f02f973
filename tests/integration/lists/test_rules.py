"""Rules while the stream runs: put, refused, rolled back, obeyed by every list after a receipt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from models.rules.document import version_of
from streams.announcements.sending.announce import announce
from streams.announcements.sending.rules import record_of
from streams.contract.records import Recommendation
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import (
    newest_revisions,
    publish,
    put_items,
    read_lists,
    recommender,
    windows_of,
)
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.main import main

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]
N_USERS = 12
#: i1 is pinned although its users have had it; i2 is in no list.
FIRST = """
deny = ["i2"]
[[pins]]
item = "i1"
place = 2
"""
SECOND = "list_size = 3\ndeny = ['i4']\n"


def items(folder: Path) -> Path:
    """Write a catalogue in which every item has a category."""
    path = folder / "items.csv"
    lines = [f"i{i},Item number {i},{'even' if i % 2 == 0 else 'odd'}" for i in range(tiny.N_ITEMS)]
    path.write_text("\n".join(["item_id,title,category", *lines, ""]))
    return path


def test_rules_come_into_force_are_refused_and_go_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_BROKER", settings.kafka.broker)
    asyncio.run(create_topics(settings.kafka))
    put_items(settings, items(tmp_path))
    states: dict[str, Any] = {}

    def lists_of(n_each: int) -> list[Recommendation]:
        """Publish windows; return the newest list of each user once all are there."""
        publish(settings, "sequences", windows_of(N_USERS, n_each, states))
        wait_until(
            lambda: newest_revisions(settings) == {u: s.revision for u, s in states.items() if s},
            60,
            lambda: str(newest_revisions(settings)),
        )
        newest = {one.user_id: one for _, one in read_lists(settings)}
        return list(newest.values())

    def rules(*words: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["rules", *words, "--json"]) == code
        out = capsys.readouterr().out
        found: dict[str, Any] = json.loads(out.splitlines()[-1]) if out else {}
        return found

    (tmp_path / "first.toml").write_text(FIRST)
    (tmp_path / "second.toml").write_text(SECOND)
    (tmp_path / "wrong.toml").write_text("deny = ['i1']\nlist_size = 0\n")
    with recommender(settings, tmp_path):
        assert all(type(one.rules) is not str and one.rules is not None for one in lists_of(1))
        put = rules("put", str(tmp_path / "first.toml"))
        assert put["version"] == version_of(FIRST) and put["live_workers"] == 1
        assert [(each["stage"], each["detail"]) for each in put["receipts"]] == [("done", f"rules {put['version']}")]
        for one in lists_of(2):
            assert one.rules == put["version"]
            assert [item.item_id for item in one.items].index("i1") == 1
            assert "pin" in one.items[1].sources
            assert "i2" not in {item.item_id for item in one.items}

        rules("put", str(tmp_path / "wrong.toml"), code=2)
        assert rules("list")["scenarios"]["default"]["version"] == put["version"]
        broken = record_of("default", FIRST)
        broken.sha256 = "0" * 64
        asyncio.run(announce(settings.kafka, "rules", "default", broken))
        assert {one.rules for one in lists_of(1)} == {put["version"]}

        again = rules("put", str(tmp_path / "second.toml"))
        assert {one.rules for one in lists_of(1)} == {again["version"]}
        for one in lists_of(1):
            assert len(one.items) == 3 and "i4" not in {item.item_id for item in one.items}
        back = rules("rollback")
        assert back["version"] == put["version"] and rules("show")["rules"] == FIRST
        assert {one.rules for one in lists_of(1)} == {put["version"]}
    with recommender(settings, tmp_path):  # a worker that starts takes what stands
        assert {one.rules for one in lists_of(1)} == {put["version"]}


def test_nobody_answers_and_the_rules_stand(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_BROKER", settings.kafka.broker)
    asyncio.run(create_topics(settings.kafka))
    (tmp_path / "rules.toml").write_text(FIRST)
    assert main(["rules", "put", str(tmp_path / "rules.toml"), "--timeout", "5"]) == 0  # no recommender is live
    assert main(["rules", "rollback", "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["version"] == ""
    assert main(["rules", "show"]) == 2
    assert main(["rules", "rollback", "--no-wait"]) == 0
    capsys.readouterr()
    assert main(["rules", "show"]) == 0
    assert 'deny = ["i2"]' in capsys.readouterr().out
