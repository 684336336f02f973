"""Delimited text: RFC 4180 with any delimiter, and stray quotes that cost one row."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.formats.delimited import MAX_VALUE_LINES
from tools.files.formats.delimiters import DELIMITERS, parse_delimiter, sniff, split_quoted
from tools.files.raw_rows import ShortRow, raw_rows

NAMES = ("item_id", "title", "price")


def read(path: Path, text: str, **options: str) -> tuple[list[list[Any]], dict[int, str]]:
    """Return the rows of a file, and the reason of each refused line."""
    path.write_text(text, encoding="utf-8", newline="")
    rows = list(raw_rows([path], FileOptions(**options), NAMES, ("item_id",)))
    bad = {row.line: row.values for row in rows if isinstance(row.values, str)}
    return [list(row.values) for row in rows if not isinstance(row.values, str)], bad


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_quoting_holds_with_every_delimiter(tmp_path: Path, delimiter: str) -> None:
    """A value holds the delimiter, quotes and line breaks; the delimiter is found."""
    title = f'a{delimiter}b "c"\n\nd'
    text = "\n".join(delimiter.join(map(quoted, row)) for row in [NAMES, ("1", title, "9"), ("2", "x", "8")]) + "\n"
    assert read(tmp_path / "a.txt", text) == ([["1", title, "9"], ["2", "x", "8"]], {})
    assert read(tmp_path / "a.txt", text, delimiter=delimiter)[0][0][1] == title


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), min_size=2, max_size=2),
        max_size=4,
    ),
    st.sampled_from(",;|\t"),
)
def test_what_the_csv_module_writes_is_read(rows: list[list[str]], delimiter: str) -> None:
    """Row by row, as its own reader reads it."""
    for row in rows:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator="").writerow(row)
        assert split_quoted(out.getvalue(), delimiter) == row


def test_the_delimiter_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is not the usual one of the suffix."""
    for _ in range(2):
        read(tmp_path / "a.csv", "item_id^title^price\n1^a, b^2\n")
    assert capsys.readouterr().err.count("columns are separated by '^'; --delimiter") == 1
    read(tmp_path / "b.csv", "item_id,title,price\n1,a^b,2\n")
    assert capsys.readouterr().err == ""


def test_the_wanted_names_and_equal_widths_find_the_delimiter() -> None:
    """Titles with commas do not make a comma the delimiter.

    A space is the delimiter only in a regular file.
    """
    assert sniff(b"item_id;title\n1;a, b, c\n2;d, e\n", ".csv", NAMES) == ";"
    assert sniff(b"1|a, b|x\n2|c|y\n", ".dat", ()) == "|"
    assert sniff(b"1::2::5::978300760\n1::3::4::978302109\n", ".dat", ()) == "::"
    assert sniff(b"1 2 4.0\n1 3 3.5\n", ".txt", ()) == " "
    assert sniff(b"one title\nanother title here\n", ".txt", ()) == ","
    assert sniff(b"", ".tsv", ()) == "\t"


@pytest.mark.parametrize("bad", ["", '"', "\n", "abcdefghi"])
def test_unusable_delimiters_are_refused(bad: str) -> None:
    """The option names a few by words."""
    with pytest.raises(InputError, match="--delimiter"):
        parse_delimiter(bad)
    assert [parse_delimiter(name) for name in ("tab", "\\t", "space", "::", "§")] == ["\t", "\t", " ", "::", "§"]


HEAD = "item_id,title,price\n"
GOOD = "".join(f"{i},Item {i},{i}\n" for i in range(50, 60))


@pytest.mark.parametrize(
    "stray",
    ['9,"never closed,5', '9,"closed" late "here,too,5', '"9,x,5', '9,x,"5'],
)
@pytest.mark.parametrize(
    "after",
    [GOOD, GOOD + '70,"a, b",7\n', GOOD + '71,"two\nlines",7\n', GOOD + '72,27" screen,7\n', GOOD + '73,"5"" cup",1\n'],
)
def test_a_stray_quote_costs_its_row_and_no_other(tmp_path: Path, stray: str, after: str) -> None:
    """It is named by its line, whatever quotes come after it."""
    rows, bad = read(tmp_path / "a.csv", HEAD + GOOD + stray + "\n" + after)
    assert list(bad) == [12] and "quote" in bad[12]
    expected, none = read(tmp_path / "b.csv", HEAD + GOOD + after)
    assert (rows, none) == (expected, {})


def test_a_value_may_have_many_lines_but_not_any_number(tmp_path: Path) -> None:
    """Longer ones are those of a quote that somebody forgot."""
    for n_lines, n_bad in ((MAX_VALUE_LINES - 1, 0), (MAX_VALUE_LINES + 2, 1)):
        value = "\n".join(["line"] * n_lines)
        rows, bad = read(tmp_path / "a.csv", f'{HEAD}1,"{value}",2\n' + GOOD)
        assert len(bad) == n_bad and ["50", "Item 50", "50"] in rows
        assert (["1", value, "2"] in rows) is not n_bad


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ('1,27" monitor,9', '27" monitor'), ('1,"27" monitor",9', '27" monitor'), ('1,"Foo" bar,9', '"Foo" bar'),
        ('1,"a \\"b\\" c",9', 'a "b" c'), ('1,"",9', ""), ('1,"""",9', '"'), ('1,"x""",9', 'x"'),
    ],
)  # fmt: skip
def test_quotes_inside_of_values_are_read_as_meant(tmp_path: Path, line: str, title: str) -> None:
    """Where a line breaks the RFC, the reading that has the header's width counts."""
    assert read(tmp_path / "a.csv", f"{HEAD}{line}\n") == ([["1", title, "9"]], {})


def test_too_many_values_are_refused_and_too_few_are_marked(tmp_path: Path) -> None:
    """Empty ones at the end are none; with a header, or without one as most rows have."""
    rows, bad = read(tmp_path / "a.csv", HEAD + "1,a, b,2\n2,c,3,,\n3,d\n")
    assert rows == [["2", "c", "3"], ["3", "d", None]] and list(bad) == [2]
    assert bad[2] == "has 4 values, not 3; put quotes around a value that holds the delimiter"
    path = tmp_path / "b.csv"
    path.write_text("1,a, b,2\n2,c,3\n3,d,4\n4,e\n")
    found = list(raw_rows([path], FileOptions("item_id=0,title=1"), NAMES, ()))
    assert [row.line for row in found if isinstance(row.values, str)] == [1]
    assert isinstance(found[-1].values, ShortRow) and found[-1].values.why == "has 2 of 4 values"


def test_a_field_over_the_limit_is_named(tmp_path: Path) -> None:
    """128 KiB, the limit of Python's reader, is none here; a megabyte a line is one."""
    long, longer = "x" * 200_000, "y" * (1 << 20)
    rows, bad = read(tmp_path / "a.csv", f'{HEAD}1,{long},1\n2,"{long}",2\n3,{longer},3\n4,"{longer}",4\n5,e,5\n')
    assert [row[0] for row in rows] == ["1", "2", "5"]
    assert bad == dict.fromkeys((4, 5), f"longer than {1 << 20} bytes")


def test_atomic_files_are_known_by_their_header(tmp_path: Path) -> None:
    """Whatever their suffix; other colons stay."""
    assert read(tmp_path / "a.item", "item_id:token\ttitle:token_seq\n1\tx\n")[0] == [["1", "x", None]]
    with pytest.raises(InputError, match="no column 'item_id'; there are item_id:token, when:iso; map one"):
        read(tmp_path / "a.tsv", "item_id:token\twhen:iso\n1\tx\n")
