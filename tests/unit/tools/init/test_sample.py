"""The first rows of a file of any form are read, and its form is found."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.errors import InputError
from tools.init.propose import propose
from tools.init.sample import MAX_TABLES, flat, read_tables
from tools.init.tables import Form, Table


def read(path: Path) -> Table:
    """Return the one table of a path."""
    tables, unread = read_tables([path])
    assert unread == [] and len(tables) == 1
    return tables[0]


@pytest.mark.parametrize(
    ("name", "content", "form", "columns"),
    [
        ("a.csv", "user_id,item_id\nu,i\n".encode("utf-8-sig"), Form("csv", "utf-8", ","), ["user_id", "item_id"]),
        ("a.csv", b"user_id;item_id\nu;1,5\n", Form("csv", "utf-8", ";"), ["user_id", "item_id"]),
        ("a.dat", b"1::Up|Down::x|y\n2::Left|Right::z|y\n", Form("csv", "utf-8", "::"), ["0", "1", "2"]),
        ("a.csv", "标题,编号\n保温杯,1\n连衣裙,2\n".encode("gb18030"), Form("csv", "gb18030", ","), ["标题", "编号"]),
        ("a.tsv", "item_id\ttitle\n1\tHat\n".encode("utf-16"), Form("csv", "utf-16-le", "\t"), ["item_id", "title"]),
        ("a.jsonl", b'{"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}]}\n', Form("json", "utf-8"), ["a.b", "c[].d"]),
        ("a.json", b'[{"a": 1},\n {"b": 2}]', Form("json", "utf-8"), ["a", "b"]),
    ],
    ids=["mark", "semicolon", "colons", "gb18030", "utf-16", "nested", "array"],
)
def test_the_form_of_a_file_is_found(
    tmp_path: Path, name: str, content: bytes, form: Form, columns: Sequence[str]
) -> None:
    """Encoding, delimiter, header and paths are found in the content, also through gzip."""
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        table = read(path)
        assert (table.form, [column.name for column in table.columns]) == (form, columns)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "Amélie à Montréal, déjà vu; Les Misérables (1998)"), ("cp1251", "Ирония судьбы, или С лёгким паром!")],
)
def test_an_encoding_that_many_would_be_is_guessed_and_said(tmp_path: Path, encoding: str, text: str) -> None:
    """The text is read right, and marked as a guess."""
    path = tmp_path / "movies.tsv"
    path.write_bytes(f"id\ttitle\n1\t{text}\n2\t{text} 2\n3\t{text} 3\n".encode(encoding))
    table = read(path)
    assert table.form.is_encoding_guessed and table.columns[1].values[0] == text


def test_files_that_differ_in_digits_are_one_table(tmp_path: Path) -> None:
    """Parts of a folder, and files named one by one, are read together.

    Another file of the folder is not read.
    """
    for day in ("01", "02"):
        (tmp_path / f"log-{day}.csv").write_text(f"user_id,item_id\nu{day},i\n")
    (tmp_path / "items.csv").write_text("item_id,title\ni,Hat\n")
    (tmp_path / "README.md").write_text("about\n")
    tables, _ = read_tables([tmp_path])
    assert [[path.name for path in table.paths] for table in tables] == [["items.csv"], ["log-01.csv", "log-02.csv"]]
    named, _ = read_tables([tmp_path / "log-01.csv", tmp_path / "log-02.csv"])
    assert [len(table.paths) for table in named] == [2] and named[0].n_rows == 2


def test_what_a_folder_has_and_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A workbook in a folder is named; named by itself it is an error."""
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,i\n")
    (tmp_path / "notes.xml").write_text("<?xml version='1.0'?><a/>\n")
    tables, unread = read_tables([tmp_path])
    assert len(tables) == 1 and unread[0][0].endswith("notes.xml") and "XML" in unread[0][1]
    with pytest.raises(InputError, match="XML"):
        read_tables([tmp_path / "notes.xml"])


def test_a_folder_of_many_kinds_is_refused(tmp_path: Path) -> None:
    """A home folder was named by mistake."""
    for i in range(MAX_TABLES + 1):
        (tmp_path / f"{'x' * (i + 1)}.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=f"has {MAX_TABLES + 1} kinds of files, limit {MAX_TABLES}; name the files"):
        read_tables([tmp_path])


def test_a_record_is_flattened_by_path() -> None:
    """Of a list of records the first one counts; a list of texts is one value."""
    record = json.loads('{"a": 1, "b": {"c": {"d": 2}}, "e": [{"f": 3}, {"f": 4}], "g": ["x", "y"], "h": []}')
    assert flat(record) == {"a": 1, "b.c.d": 2, "e[].f": 3, "g": ["x", "y"], "h": []}


def columns_of(path: Path, text: str, encoding: str = "utf-8") -> tuple[list[str], int, str]:
    """Return the columns that a file has, its rows, and what stands between columns."""
    path.write_text(text, encoding)
    table = read_tables([path])[0][0]
    return [column.name for column in table.columns], table.n_rows, table.form.delimiter


def test_a_header_may_have_a_name_twice(tmp_path: Path) -> None:
    """It is no row; the reader refuses such a column where it is read."""
    rows = "".join(f"u{i},g{i},{1_700_000_000 + i},{i}\n" for i in range(9))
    found = columns_of(tmp_path / "log.csv", "user_id,item_id,ts,ts\n" + rows)
    assert found == (["user_id", "item_id", "ts"], 9, ",")


def test_two_bars_part_columns(tmp_path: Path) -> None:
    """With one bar, every second column would be empty, and the header none."""
    rows = "".join(f"u{i}||g{i}||{1_700_000_000 + i}\n" for i in range(9))
    found = columns_of(tmp_path / "log.csv", "user_id||item_id||ts\n" + rows)
    assert found == (["user_id", "item_id", "ts"], 9, "||")
    one_bar = "".join(f"u{i}||{1_700_000_000 + i}\n" for i in range(9))
    assert columns_of(tmp_path / "log.csv", "user_id|item_id|ts\n" + one_bar)[2] == "|"


def test_traditional_names_are_those_of_simplified_ones(tmp_path: Path) -> None:
    """A shop in Taiwan writes 用戶編號, in UTF-8 or in Big5."""
    path = tmp_path / "log.csv"
    rows = "".join(f"u{i % 4},g{i % 3},瀏覽,{1_700_000_000 + i}\n" for i in range(20))
    for encoding in ("utf-8", "big5"):
        path.write_text("用戶編號,商品編號,行為,時間\n" + rows, encoding)
        log = propose(read_tables([path])[0]).log
        assert log is not None
        assert {one.field for one in log.chosen.choices} == {"user_id", "item_id", "type", "ts"}


def test_words_for_nothing_are_no_values(tmp_path: Path) -> None:
    """A column of times in which one of three is a dash is one of times."""
    path = tmp_path / "log.csv"
    rows = "".join(f"u{i},g{i % 3},{'-' if i % 3 == 0 else 1_700_000_000 + i}\n" for i in range(20))
    path.write_text("user_id,item_id,ts\n" + rows)
    log = propose(read_tables([path])[0]).log
    assert log is not None and log.chosen.has("ts")
