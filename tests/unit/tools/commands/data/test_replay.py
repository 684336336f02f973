"""``headrace replay``: what is refused before a broker is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import InputError
from tests.support.programs import arguments
from tools.commands.data import replay as replay_command
from tools.commands.data.replay import parse_speed
from tools.replay.checkpoint import Checkpoint


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", ""])
def test_bad_speed_is_refused(text: str) -> None:
    """A speed of zero would never end."""
    with pytest.raises(InputError, match="--speed"):
        parse_speed(text)


def test_the_highest_speed_is_no_factor() -> None:
    """``max`` waits for nothing."""
    assert parse_speed("max") is None


def test_missing_log_is_bad_input(tmp_path: Path) -> None:
    """Before any broker is asked."""
    with pytest.raises(InputError, match="no such file"):
        replay_command.run(arguments(replay_command, str(tmp_path / "none.csv"), "--broker", "127.0.0.1:1"))


def test_foreign_checkpoint_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """The refusal costs nothing."""
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,ts\nu,i,1\n")
    Checkpoint("mine@00000000", 5, 6).save(tmp_path / "mine.json")
    with pytest.raises(InputError, match="--resume"):
        replay_command.run(
            arguments(
                replay_command, str(log), "--run", "mine", "--resume", "--state-dir", str(tmp_path), "--broker", "a:1"
            )
        )
