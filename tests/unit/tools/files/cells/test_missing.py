"""Words for nothing are missing values, and ids that were one are counted."""

from __future__ import annotations

import pytest

from tools.files.cells.missing import MISSING, MissingWords, parse_words
from tools.files.file_options import FileOptions


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "NULL", "null", r"\N", "None", "nan", "NaN", "-", "  NULL ", "undefined"]
)
def test_words_of_exports_are_missing_by_default(word: str) -> None:
    assert MissingWords(FileOptions().missing_words()).has(word)


@pytest.mark.parametrize(
    "value", ["", "Nancy", "NULLs", "n", "--", "none of these", 0, None, b"NULL", float("nan"), ["NULL"]]
)
def test_other_values_stay(value: object) -> None:
    """A whole cell is compared, and only text."""
    assert not MissingWords(parse_words(MISSING)).has(value)


def test_the_list_can_be_changed_and_switched_off() -> None:
    """Spaces around a word do not count, capitals do."""
    assert parse_words(" unknown , ?,,") == {"unknown", "?"}
    words = MissingWords(FileOptions(missing="unknown,?").missing_words())
    assert words.has("unknown") and words.has(" ?") and not words.has("Unknown") and not words.has("NULL")
    assert not MissingWords(FileOptions(missing="").missing_words()).has("NULL")


def test_an_id_that_is_a_word_for_nothing_is_said_once() -> None:
    words = MissingWords(parse_words("NULL,-"), "--item-missing")
    ids = ["NULL"] * 1_200 + ["u1", "-", 7]
    assert sum(words.count_id("user_id", value) for value in ids) == 1_201
    assert list(words.lines()) == [
        "user_id is 'NULL' in 1,200 rows: left out as missing; --item-missing '' reads it as an id",
        "user_id is '-' in 1 row: left out as missing; --item-missing '' reads it as an id",
    ]
