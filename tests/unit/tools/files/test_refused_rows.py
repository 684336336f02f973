"""Refused rows are counted, the first ones are shown, and a log that is mostly bad is refused."""

from __future__ import annotations

import pytest

from streams.errors import InputError, RecordError
from tools.files.refused_rows import MAX_BAD, SHOWN_BAD, RefusedRows


def test_refused_rows_are_shown_up_to_a_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    """A million bad lines must not bury the terminal; they are still counted."""
    refused = RefusedRows("refused lines")
    for number in range(SHOWN_BAD + 50):
        refused.refuse(f"line {number}", "no JSON object")
    shown = capsys.readouterr().err
    assert refused.n == SHOWN_BAD + 50
    assert f"line {SHOWN_BAD - 1}: no" in shown and f"line {SHOWN_BAD}:" not in shown
    assert f"{SHOWN_BAD} refused lines shown (refused): further ones are counted, not shown" in shown
    assert (refused.first, refused.last) == ("line 0: no JSON object", f"line {SHOWN_BAD + 49}: no JSON object")


def test_nothing_is_shown_where_nothing_shall_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A second reading of a log does not show the same rows again."""
    refused = RefusedRows(shown=0)
    refused.refuse("line 1", "ts: empty")
    assert (refused.n, capsys.readouterr().err) == (1, "")


@pytest.mark.parametrize(
    ("n_bad", "n_read", "is_refused"),
    [
        (MAX_BAD, MAX_BAD, False),
        (MAX_BAD + 1, MAX_BAD + 1, True),
        (MAX_BAD + 1, 2 * (MAX_BAD + 1), False),
        (MAX_BAD + 1, 2 * MAX_BAD + 1, True),
    ],
)
def test_a_log_is_refused_for_many_bad_rows_that_are_most_of_it(n_bad: int, n_read: int, is_refused: bool) -> None:
    """A small log with few good rows is not refused, nor a large one with a thousand bad rows."""
    refused = RefusedRows(shown=0)
    for number in range(n_bad):
        refused.refuse(f"line {number}", "ts: empty")
    if not is_refused:
        refused.check(n_read, "log.csv")
        return
    with pytest.raises(InputError, match=f"log.csv: {n_bad} of {n_read} rows are bad.*--time-unit") as caught:
        refused.check(n_read, "log.csv")
    assert "\n" not in str(caught.value)


def test_each_group_shows_its_own_first_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """One common mistake does not hide a rare one."""
    refused = RefusedRows()
    for number in range(100):
        refused.refuse(f"line {number}", RecordError("missing", "user_id", "'' is empty"))
    refused.refuse("line 100", RecordError("range", "ts", "5 is before 1990"))
    shown = capsys.readouterr().err
    assert shown.count("missing: user_id") == SHOWN_BAD and "line 100: range: ts: 5 is before 1990" in shown
    groups = [(group["field"], group["reason"], group["n"], len(group["examples"])) for group in refused.as_json()]
    assert groups == [("user_id", "missing", 100, 3), ("ts", "range", 1, 1)]
    assert refused.summary()[0] == "101 rows refused:"
    assert "user_id, missing: 100, first at line 0" in refused.summary()[1]


def test_unknown_types_are_told_once_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """21,550 rows with one unknown word are one line that says what to type."""
    refused = RefusedRows()
    for number in range(1_500):
        refused.refuse_type(f"line {number}", "下单" if number % 3 else "浏览", ("click", "view", "purchase"))
    assert capsys.readouterr().err == ""
    assert refused.types_line() == "types in the file: 下单 1,000, 浏览 500; map them: --types 下单=purchase,浏览=view"
    assert sum("types in the file" in line for line in refused.summary()) == 1
    with pytest.raises(InputError, match="--types 下单=purchase"):
        refused.check(1_600, "log.csv")


def test_the_number_of_unknown_types_that_are_kept_is_bounded() -> None:
    """A column of free text that was taken for the type must not fill the memory."""
    refused = RefusedRows(shown=0)
    for number in range(5_000):
        refused.refuse_type("line 1", f"word {number}", ("view",))
    assert len(refused.types) <= 1_001 and sum(refused.types.values()) == 5_000


def test_a_note_is_told_once_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that fails says one line, and not before it how it read the log."""
    refused = RefusedRows()
    for _ in range(3):
        refused.tell("times are seconds")
    assert capsys.readouterr().err == ""
    refused.say_summary()
    assert capsys.readouterr().err == "times are seconds\n"


def test_records_that_a_mapping_leaves_out_are_counted_and_are_no_refusals() -> None:
    """A page view in an export of purchases is nothing wrong."""
    refused = RefusedRows()
    for number in range(1_200):
        refused.leave_out("event_name 'scroll'" if number else "op 'd' (delete)")
    assert refused.n == 0
    assert refused.summary() == ["1200 records left out by the mapping: event_name 'scroll': 1,199, op 'd' (delete): 1"]
