"""Refused rows are counted, the first ones are shown, and a log that is mostly bad is refused."""

from __future__ import annotations

import pytest

from streams.errors import InputError
from tools.files.refused_rows import MAX_BAD, SHOWN_BAD, RefusedRows


def test_refused_rows_are_shown_up_to_a_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    """A million bad lines must not bury the terminal; they are still counted."""
    refused = RefusedRows("refused lines")
    for number in range(SHOWN_BAD + 50):
        refused.refuse(f"line {number}", "no JSON object")
    shown = capsys.readouterr().err
    assert refused.n == SHOWN_BAD + 50
    assert "line 999: no" in shown and "line 1000:" not in shown
    assert "1000 refused lines shown: further ones are counted, not shown" in shown
    assert (refused.first, refused.last) == ("line 0: no JSON object", "line 1049: no JSON object")


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
