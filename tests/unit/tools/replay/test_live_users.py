"""Who of a log is live already."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import encode
from streams.errors import InputError
from streams.sequencer.window import absorb
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, make_event, write_key
from tools.files.cells.times import TimeRange
from tools.files.logs.log_rows import LogRow
from tools.replay.live_users import count_live, knows, refuse_live


def rows(*users: str) -> list[LogRow]:
    """Return a row of each user, one millisecond apart."""
    return [LogRow(i, None, user, "i", "view", T0 + i, None, None) for i, user in enumerate(users)]


def window(**more: object) -> bytes:
    """Return the window of one event."""
    state = absorb(None, [(make_event("e", **more), 0)], WindowBounds()).state  # type: ignore[arg-type]
    assert state is not None
    return encode(state)


def test_a_window_knows_the_runs_it_has_events_of() -> None:
    """So a repeat of a run finds its own users not live."""
    assert knows(window(run="r@1", seq=3), "r@1")
    assert not knows(window(run="r@1", seq=3), "r@2")
    assert not knows(window(), "r@1")
    assert not any(knows(value, "r@1") for value in (b"", b"\xc1", b"\x80", b"\x81\xa4runs\xc0"))


def test_users_are_counted_once_and_only_those_to_be_published() -> None:
    """Of the range, of the log, of the live ones."""
    log = rows("u1", "u1", "u2", "u3")
    live = {b"u1", b"u2", b"stranger"}
    assert count_live(log, live, TimeRange(), None) == 2
    assert count_live(log, live, TimeRange(start=T0 + 2), None) == 1
    assert count_live(log, set(), TimeRange(), None) == 0


def test_users_are_compared_under_their_pseudonyms(tmp_path: Path) -> None:
    """The log has the raw ids, the topics have not."""
    write_key(tmp_path / "key")
    pseudonyms = open_pseudonyms(KafkaSettings(user_id_key_file=str(tmp_path / "key")))
    assert pseudonyms is not None
    assert count_live(rows("u1", "u2"), {pseudonyms.of("u1").encode(), b"u2"}, TimeRange(), pseudonyms) == 1


def test_live_users_are_said_and_refused_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    """The number, and the way."""
    refuse_live(0, is_forced=False)
    with pytest.raises(InputError, match=r"^7 users .*--into RUN.*--promote RUN.*--force"):
        refuse_live(7, is_forced=False)
    assert capsys.readouterr().err == ""
    refuse_live(7, is_forced=True)
    assert "7 users" in capsys.readouterr().err
