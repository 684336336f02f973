"""``headrace init`` measures how often users return, and proposes a policy of repeats from it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.interactions import Interactions
from models.training.log_findings import share_of_repeats
from tools.bench.made.clicks import ClickLog
from tools.main import main

Row = tuple[str, str, str, int]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def proposed(rows: Sequence[Row], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the proposal for a log of these rows."""
    with Path("clicks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "type", "ts"])
        writer.writerows(rows)
    assert main(["init", "clicks.csv", "--dry-run", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines_of_repeats(found: dict[str, Any]) -> list[str]:
    """Return what the proposal says of repeats in words."""
    return [line for line in found["checks"] if line.startswith("repeats: ")]


@pytest.mark.parametrize("shape", ["loop", "revisit", "explore"])
def test_the_share_is_that_which_training_measures(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ClickLog(shape, users=30, items=200, events=30, seed=2).rows()
    found = proposed(rows, capsys)
    share = share_of_repeats(Interactions.from_rows(rows))
    assert found["log"]["repeats"]["share"] == pytest.approx(share)
    assert found["log"]["repeats"]["proposed"] == ("always" if share >= 0.2 else "never")
    assert bool(lines_of_repeats(found)) == (share >= 0.2)


def test_users_who_return_are_said_with_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Three users with eleven events each, all but the first four of an item that they had."""
    rows = [(f"u{u}", f"i{n % 4}", "view", 1_700_000_000_000 + 60_000 * n) for u in range(3) for n in range(11)]
    (line,) = lines_of_repeats(proposed(rows, capsys))
    assert line.startswith("repeats: 70% of the 30 events after a user's first one are of an item that the user had")
    assert "train with --repeats always" in line
    assert main(["init", "clicks.csv"]) == 0
    assert "  headrace train --repeats always --out .headrace/artifact" in capsys.readouterr().out


def test_users_who_never_return_get_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"u{u}", f"i{n}", "view", 1_700_000_000_000 + 60_000 * n) for u in range(3) for n in range(11)]
    found = proposed(rows, capsys)
    assert found["log"]["repeats"] == {"share": 0.0, "events": 30, "is_whole": True, "proposed": "never"}
    assert not lines_of_repeats(found)
    assert main(["init", "clicks.csv"]) == 0
    assert "--repeats" not in capsys.readouterr().out


def test_what_was_shown_or_disliked_is_no_return(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Row] = []
    for user in range(3):
        for n in range(11):
            ts_ms = 1_700_000_000_000 + 60_000 * n
            rows.append((f"u{user}", f"i{n}", "view", ts_ms))
            rows += [(f"u{user}", f"i{n}", kind, ts_ms + 1_000) for kind in ("impression", "dislike")]
    assert proposed(rows, capsys)["log"]["repeats"]["share"] == 0.0


def test_few_events_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("u1", f"i{n % 2}", "view", 1_700_000_000_000 + 60_000 * n) for n in range(12)]
    found = proposed(rows, capsys)
    assert found["log"]["repeats"]["share"] > 0.2 and found["log"]["repeats"]["proposed"] == "never"


def test_a_log_without_times_has_no_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    """Its rows may be sums of many events."""
    lines = [f"u{i % 7},g{i % 5}" for i in range(200)]
    Path("plain.csv").write_text("\n".join(["user,item", *lines, ""]))
    assert main(["init", "plain.csv", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["log"]["repeats"] == {"share": 0.0, "events": 0, "is_whole": True, "proposed": "never"}
