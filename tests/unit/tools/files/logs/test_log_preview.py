"""``--dry-run`` shows how a log is understood, and needs no broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.files.logs.log_preview import shown_time
from tools.main import main

LOG = (
    "who,what,when,kind\n"
    + "".join(f" u{n % 3} ,{n}.0,2026-01-0{1 + n} 08:00,下单\n" for n in range(7))
    + ",1,2026-01-01,下单\n"
)
COLUMNS = [
    "--columns",
    "user_id=who,item_id=what,ts=when,type=kind",
    "--types",
    "下单=purchase",
    "--time-zone",
    "+08:00",
]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a log of seven good rows and a bad one, with words and columns of its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


COMMANDS = {
    "replay": ["replay"], "produce": ["produce"], "oracle": ["oracle"], "train": ["train"], "evaluate": ["evaluate", "model"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_understands_the_log_alike(command: str, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command gives the same counts, types, times, first rows and refusals.

    The exit code is 1, because of the refused row.
    """
    assert main([*COMMANDS[command], str(log), *COLUMNS, "--dry-run", "--json"]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["events"], found["users"], found["items"], found["refused"]) == (7, 3, 7, 1)
    assert (found["types"], found["times"]) == ({"purchase": 7}, "dates as text")
    assert (found["first_ts"], found["last_ts"]) == (1_767_225_600_000, 1_767_744_000_000)
    first = found["rows"][0]
    assert (first["user_id"], first["item_id"], first["type"], first["line"]) == ("u0", "0", "purchase", 2)
    assert len(found["rows"]) == 5
    assert [(group["field"], group["reason"]) for group in found["groups"]] == [("user_id", "missing")]
    assert not (log.parent / "model").exists()


def test_people_see_a_table(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be sent and where, and the refusals by group."""
    assert main(["replay", str(log), *COLUMNS, "--dry-run"]) == 1
    said = capsys.readouterr()
    assert "7 events of 3 users and 7 items would be sent to events" in said.out
    assert "2026-01-01T00:00:00Z to 2026-01-07T00:00:00Z" in said.out
    assert "user_id, missing: 1, first at line 9" in said.err


def test_times_bound_what_would_be_sent(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--from and --to hold for the preview as for the replay."""
    argv = ["replay", str(log), *COLUMNS, "--dry-run", "--json", "--from", "2026-01-03", "--to", "2026-01-05"]
    assert main(argv) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["events"], found["skipped"]) == (2, 5)


def test_a_preview_is_of_a_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live events cannot be previewed."""
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "--into", "r", "--from-topic", "--dry-run"]) == 2
    assert "name a log" in capsys.readouterr().err


def test_a_log_without_times_shows_none(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row of counts has no time."""
    assert main(["train", str(log), *COLUMNS[:2], "--types", "下单=purchase", "--no-times", "--dry-run"]) == 1
    assert "times: no times" in capsys.readouterr().out
    assert (shown_time(0), shown_time(1_767_225_600_123)) == ("-", "2026-01-01T00:00:00Z")
