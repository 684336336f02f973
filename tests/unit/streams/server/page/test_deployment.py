"""Who is live and serves what, and which artifacts the page proposes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from streams.contract.announcements import Receipt
from streams.kafka.group_watch import Group, Member
from streams.server.page.topics.announcer import artifacts_in
from streams.server.page.topics.deployment import live


def receipt(worker: str, ts: int, kind: Any = "model", stage: Any = "done", artifact: str | None = None) -> Receipt:
    """Return an answer of a recommender."""
    return Receipt(1, kind, f"live@0.{ts}", "recommender", worker, stage, ts, None, "", artifact)


def test_a_live_workers_newest_answers_count() -> None:
    """What is in force says the answer before that of loading. The dead are left out."""
    group = Group(
        "Stable", (Member("r-2", "c", "/10.0.0.2", frozenset()), Member("r-1", "c", "/10.0.0.1", frozenset()))
    )
    given = [
        receipt("r-1", 3, stage="begun"),
        receipt("r-1", 1, artifact="old"),
        receipt("gone", 9, artifact="new"),
        receipt("r-1", 2, kind="rules"),
    ]
    found = live({"recommender": group, "server": None}, given)
    assert found is not None
    assert [(one.worker, one.host) for one in found] == [("r-1", "10.0.0.1"), ("r-2", "10.0.0.2")]
    assert found[0].in_force == given[1] and found[0].receipts == {"model": given[0], "rules": given[3]}
    assert found[1].in_force is None and found[1].receipts == {}
    assert live({"recommender": None, "server": None}, given) is None


def test_artifacts_of_the_roots_are_proposed_newest_first(tmp_path: Path) -> None:
    """Down to two floors below a root; hidden folders and what has no manifest are left out."""
    for n, name in enumerate(("one", "shelf/two", "shelf/deep/three", "shelf/deep/er/four", ".hidden/five", "plain")):
        (tmp_path / name).mkdir(parents=True)
        if name != "plain":
            (tmp_path / name / "manifest.json").write_text("{}")
            os.utime(tmp_path / name / "manifest.json", (n, n))
    found = artifacts_in([tmp_path, tmp_path / "none"])
    assert found == [str(tmp_path / "shelf/two"), str(tmp_path / "one")]
    assert artifacts_in([tmp_path / "one"]) == [str(tmp_path / "one")]
