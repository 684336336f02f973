"""A checkpoint is whole, and taken only for the run and the partitioner that it was made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import InputError
from streams.settings.load import load_settings
from tests.unit.tools.replay.test_publish_log import replaying, row
from tools.replay.checkpoint import Checkpoint, load_checkpoint


def test_missing_file_is_no_checkpoint(tmp_path: Path) -> None:
    """``--resume`` of a run that never began begins it."""
    assert load_checkpoint(tmp_path / "none.json", "r", "murmur2") is None


def test_another_log_or_mapping_is_refused(tmp_path: Path) -> None:
    """Its positions mean other rows."""
    path = tmp_path / "c.json"
    Checkpoint("r@11111111", 5, 6).save(path)
    with pytest.raises(InputError, match="belongs to r@11111111") as caught:
        load_checkpoint(path, "r@22222222", "murmur2")
    assert "\n" not in str(caught.value)


def test_another_partitioner_is_refused(tmp_path: Path) -> None:
    """The rest of a user's events would go to another partition.

    A file without a partitioner is from an earlier version, which had only the default one.
    """
    path = tmp_path / "c.json"
    replaying([row(1)], path, settings=load_settings({"HEADRACE_PARTITIONER": "crc32"}))
    done = load_checkpoint(path, "r@00000000", "crc32")
    assert done == Checkpoint("r@00000000", 0, 1, "crc32")
    with pytest.raises(InputError, match="sent with partitioner=crc32, HEADRACE_PARTITIONER is murmur2") as caught:
        load_checkpoint(path, "r@00000000", "murmur2")
    assert "\n" not in str(caught.value)
    path.write_text('{"run": "r", "seq": 5, "sent": 6}')
    assert load_checkpoint(path, "r", "murmur2") == Checkpoint("r", 5, 6)
    with pytest.raises(InputError, match="partitioner=murmur2"):
        load_checkpoint(path, "r", "crc32")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": "r"}', '{"run": "r", "seq": "5", "sent": 1}'])
def test_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    """A disk that was full once must not need a person to guess."""
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match="start over without --resume"):
        load_checkpoint(path, "r", "murmur2")


def test_save_replaces_in_one_step(tmp_path: Path) -> None:
    """Half a checkpoint must never be seen, and nothing is left beside it."""
    path = tmp_path / "deep" / "c.json"
    Checkpoint("r", 1, 1).save(path)
    Checkpoint("r", 2, 2).save(path)
    assert load_checkpoint(path, "r", "murmur2") == Checkpoint("r", 2, 2)
    assert [file.name for file in path.parent.iterdir()] == ["c.json"]
