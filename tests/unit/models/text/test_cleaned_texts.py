"""Cleaned texts on disk: versions apart, damage, processes that share a file."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from models.text import cleaned_texts
from models.text.cleaned_texts import CleanedTexts

TEXTS = {"The Big Zebra": "big zebra", "红色 连衣裙": "红色 连衣裙", "...": ""}


def test_texts_are_there_for_the_next_process(tmp_path: Path) -> None:
    """What was put comes back, the empty text too; others do not, and only the owner may read."""
    CleanedTexts(tmp_path, "v1").put_many(TEXTS)
    texts = CleanedTexts(tmp_path, "v1")
    assert texts.get_many([*TEXTS, "unknown", "\ud800"]) == TEXTS
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert CleanedTexts(tmp_path, "v2").get_many(TEXTS) == {}


def test_more_texts_than_one_statement_takes(tmp_path: Path) -> None:
    """Thousands at once, each with its own."""
    texts = CleanedTexts(tmp_path, "v1")
    many = {f"Raw {i}": f"raw {i}" for i in range(2_500)}
    texts.put_many(many)
    assert texts.get_many(many) == many


def test_a_text_that_cannot_be_stored_costs_no_other_batch(tmp_path: Path) -> None:
    """Half a surrogate pair has no form in the file."""
    texts = CleanedTexts(tmp_path, "v1")
    texts.put_many({"raw": "\ud800"})
    assert texts.get_many(["raw"]) == {}


def test_a_damaged_text_counts_as_missing(tmp_path: Path) -> None:
    """A changed byte gives no text; the others are there."""
    texts = CleanedTexts(tmp_path, "v1")
    texts.put_many(TEXTS)
    texts.close()
    data = texts.path.read_bytes()
    assert data.count(b"big zebra") == 1
    texts.path.write_bytes(data.replace(b"big zebra", b"bad zebra"))
    assert CleanedTexts(tmp_path, "v1").get_many(TEXTS) == {k: v for k, v in TEXTS.items() if k != "The Big Zebra"}


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5_000])
def test_a_file_that_is_no_database_is_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A warning says so, and texts can be kept."""
    path = CleanedTexts(tmp_path, "v1").path
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        texts = CleanedTexts(tmp_path, "v1")
    texts.put_many(TEXTS)
    assert texts.get_many(TEXTS) == TEXTS
    assert str(path) in caplog.text


def test_a_file_that_another_process_keeps_locked_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not damaged: its texts are there again later."""
    monkeypatch.setattr(cleaned_texts, "BUSY_S", 0.05)
    texts = CleanedTexts(tmp_path, "v1")
    texts.put_many(TEXTS)
    with sqlite3.connect(texts.path) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert CleanedTexts(tmp_path, "v1").get_many(TEXTS) == {}
        other.rollback()
    assert "cannot be kept" in caplog.text
    assert CleanedTexts(tmp_path, "v1").get_many(TEXTS) == TEXTS


def test_without_a_usable_folder_texts_are_only_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised: a cache is there to save time."""
    (tmp_path / "file").touch()
    texts = CleanedTexts(tmp_path / "file", "v1")
    texts.put_many(TEXTS)
    assert texts.get_many(TEXTS) == {}
    assert caplog.text.count("cannot be kept") == 1


def test_a_table_that_another_process_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What SQLite refuses is told once."""
    texts = CleanedTexts(tmp_path, "v1")
    with sqlite3.connect(texts.path) as other:
        other.execute("DROP TABLE texts")
    texts.put_many(TEXTS)
    assert texts.get_many(TEXTS) == {} == texts.get_many(TEXTS)
    assert caplog.text.count("cannot be kept") == 1


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Every text of both is there afterwards."""
    code = (
        "import sys; from pathlib import Path; from models.text.cleaned_texts import CleanedTexts\n"
        "texts = CleanedTexts(Path(sys.argv[1]), 'v1')\n"
        "for i in range(100): texts.put_many({f'{sys.argv[2]}{i}': str(i)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], env=os.environ) for name in "xy"]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    expected = {f"{name}{i}": str(i) for name in "xy" for i in range(100)}
    assert CleanedTexts(tmp_path, "v1").get_many(expected) == expected
