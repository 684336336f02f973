"""The sections are written as TOML, and what else the settings file holds stays."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from streams.errors import InputError
from tools.init.settings_file import Entry, NewSection, merge, replaced, write_text

LOG = NewSection(
    "log",
    ["Written by headrace init."],
    [Entry("paths", ['评分 "1".csv']), Entry("no_times", value=True)],
    {
        "columns": [Entry("user_id", "用户ID", "sure: by its name"), Entry("item_id", "a\\b\x7f", "two\nlines")],
        "types": [Entry("购买", "purchase")],
    },
)
USERS = NewSection("users", [], [Entry("paths", ["users.csv"])])

OLD = """\
# my broker
broker = "kafka:9092"  # do not change

# an old log
[log]
paths = ["old.csv"]
# columns of the old log
[log.columns]
user_id = "u"

# who counts how much
[other]
a = 1  # [log]
"""


def test_a_section_is_toml_with_the_same_values() -> None:
    """Names and values of any characters come back; a comment stays on its line."""
    text = LOG.text()
    assert tomllib.loads(text) == {
        "log": {
            "paths": ['评分 "1".csv'],
            "no_times": True,
            "columns": {"user_id": "用户ID", "item_id": "a\\b\x7f"},
            "types": {"购买": "purchase"},
        }
    }
    assert 'user_id = "用户ID"  # sure: by its name' in text and "# two lines" in text


def test_merging_replaces_the_section_and_keeps_the_rest() -> None:
    """The old section goes with its tables and comments.

    Other settings, tables and comments stay.
    """
    text = merge(OLD, [LOG])
    assert tomllib.loads(text)["log"] == tomllib.loads(LOG.text())["log"]
    for kept in ("# my broker\n", "# do not change\n", "# who counts how much\n[other]\na = 1  # [log]\n"):
        assert kept in text
    assert "old" not in text


def test_merging_twice_changes_nothing() -> None:
    """The text of a second merge is that of the first, however many sections it has."""
    once = merge(OLD, [LOG, USERS])
    assert merge(once, [LOG, USERS]) == once
    assert merge("", [LOG]) == LOG.text()


def test_only_sections_that_would_change_are_named() -> None:
    """A section that is new, or equal to what the file has, is not replaced."""
    assert replaced(OLD, [LOG, USERS]) == ["log"]
    assert replaced(merge(OLD, [LOG, USERS]), [LOG, USERS]) == []


@pytest.mark.parametrize("old", ['log.paths = ["a"]\n', "log = { paths = [] }\n", 'note = """\n[log]\n"""\n'])
def test_what_cannot_be_replaced_is_refused(old: str) -> None:
    """The command leaves a section of dotted keys, or an inline one, to the user.

    It also leaves a text that looks like a section.
    """
    with pytest.raises(InputError, match=r"\[log\] cannot be replaced as written; remove them by hand"):
        merge(old, [LOG])


def test_no_toml_is_refused() -> None:
    """A file that is no TOML is not touched."""
    with pytest.raises(InputError, match="headrace.toml: not TOML: .*; correct it first"):
        merge("a = = 1", [LOG])


def test_the_file_is_replaced_in_one_step_and_keeps_its_mode(tmp_path: Path) -> None:
    """A new file is the user's alone; nothing else is left in the folder."""
    path = tmp_path / "headrace.toml"
    write_text(path, "a = 1\n")
    assert path.read_text("utf-8") == "a = 1\n" and path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    write_text(path, "名 = 1\n")
    assert path.read_text("utf-8") == "名 = 1\n" and path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["headrace.toml"]
