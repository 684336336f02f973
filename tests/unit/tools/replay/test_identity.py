"""Ids and run names follow from the log and from how it is read, from nothing else."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.errors import InputError
from tests.unit.tools.replay.test_publish_log import T0, row
from tools.files.cells.times import TimeRange
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.files.logs.log_rows import LogRow
from tools.replay.identity import LogReplay, check_run, content_digest, default_run, event_id, wire_run


def test_derived_id_follows_from_the_row_alone() -> None:
    """Under any run name the same row is the same event."""
    assert event_id(row(7)) == event_id(row(7))
    assert event_id(row(7)).startswith("000000000007-") and len(event_id(row(7))) == 21


@pytest.mark.parametrize("other", [row(8), row(7, user="u2"), row(7, ts=T0), row(7, kind="click")])
def test_another_row_has_another_id(other: LogRow) -> None:
    """An edited row is another event."""
    assert event_id(other) != event_id(row(7))


def test_ids_sort_in_file_order() -> None:
    """Rows of one time keep their order in the window, which sorts by id."""
    ids = [event_id(row(line, ts=T0)) for line in (1, 2, 9, 10, 99, 100, 12_345_678_901)]
    assert ids == sorted(ids)


def test_own_id_of_the_log_is_kept() -> None:
    """The shop's ids join the replay with live events."""
    assert event_id(row(7, own_id="mine")) == "mine"


def test_fields_do_not_run_into_each_other() -> None:
    """User ``a`` with item ``bc`` is not user ``ab`` with item ``c``."""
    first, second = replace(row(1), user_id="a", item_id="bc"), replace(row(1), user_id="ab", item_id="c")
    assert event_id(first) != event_id(second)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "u.data"
    log.write_text("x" * 10)
    return log


def test_default_name_is_of_name_and_content(log: Path) -> None:
    """A grown log is another run, and so is one that was corrected in place."""
    names = [default_run([log])]
    assert re.fullmatch(r"u\.data-[0-9a-f]{8}", names[0])
    for content in ("x" * 11, "x" * 9 + "y", "y" + "x" * 9):
        log.write_text(content)
        names.append(default_run([log]))
    assert len(set(names)) == len(names)
    log.write_text("x" * 10)
    assert default_run([log]) == names[0]
    odd = log.with_name("日志 (1).csv")
    odd.write_text("")
    assert check_run(default_run([odd])).startswith("1-.csv-")


def test_wire_name_keeps_the_name_and_fits(log: Path) -> None:
    """The contract allows 64 characters."""
    name = wire_run("r" * 55, [log], None)
    assert name.startswith("r" * 55 + "@") and len(name) == 64


def test_wire_name_changes_with_all_that_changes_the_sequence(log: Path) -> None:
    """Else ``seq`` would mean two things under one name, and events would be lost as repeats."""
    mappings: list[tuple[object, ...]] = [
        (None, None, "auto", None, None),
        ("user_id=u", None, "auto", None, None),
        (None, "pv=view", "auto", None, None),
        (None, None, "s", None, None),
        (None, None, "auto", 5, None),
        (None, None, "auto", None, 5),
    ]
    names = [wire_run("r", [log], *mapping) for mapping in mappings]
    assert names[0] == wire_run("r", [log], *mappings[0]), "repeatable"
    for content in ("x" * 11, "x" * 9 + "y"):  # the second is as long as the first log
        log.write_text(content)
        names.append(wire_run("r", [log], *mappings[0]))
    assert len(set(names)) == len(names)
    moved = log.rename(log.with_name("v.data"))
    assert wire_run("r", [moved], *mappings[0]) == names[-1], "the same log under another name"


def test_a_file_larger_than_memory_would_hold_is_read_in_pieces(tmp_path: Path) -> None:
    """Sparse, so that the disk does not mind."""
    log = tmp_path / "big"
    with log.open("wb") as file:
        file.truncate(256 << 20)
    tracemalloc.start()
    content_digest([log])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "-x", "a/b", "a b", "r" * 56, "a\nb", "日"])
def test_name_that_cannot_name_a_file_is_refused(name: str) -> None:
    """A run names its checkpoint file."""
    with pytest.raises(InputError, match="--run"):
        check_run(name)


def test_a_replay_has_the_run_of_its_options(log: Path) -> None:
    """An option that is not given counts as None, so replays of earlier versions stay resumable."""
    plain = LogReplay(LogSource((log,)))
    assert plain.wire_run(None) == wire_run(default_run([log]), [log], None, None, "auto", None, None)
    whole = LogReplay(LogSource((log,), FileOptions("user_id=u, ts=t"), "pv=view", "s"), "mine", TimeRange(5, 9))
    assert whole.wire_run(None) == wire_run("mine", [log], "user_id=u, ts=t", "pv=view", "s", 5, 9)
    with pytest.raises(InputError, match="no such file"):
        LogReplay(LogSource((log.with_name("none.csv"),)), "mine").wire_run(None)
