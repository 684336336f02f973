"""Shapes of files that other programs write, and what becomes of their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import LogRow
from tools.files.refused_rows import RefusedRows
from tools.main import main

T0 = 1_700_000_000_000
ZH = "user_id=用户编号,item_id=商品编号,type=行为,ts=时间"


def read(path: Path, columns: str = "", types: str = "") -> tuple[list[LogRow], int]:
    """Return the good rows of a log, and how many were refused."""
    refused = RefusedRows(shown=0)
    return list(LogReader(LogSource((path,), FileOptions(columns), types), refused)), refused.n


def chinese(words: tuple[str, ...], n: int = 12, item: str = "g") -> str:
    """Return a log with a Chinese header and few words of types."""
    rows = (f"u{i},{item}{i % 3},{words[i % len(words)]},{T0 + i}\n" for i in range(n))
    return "用户编号,商品编号,行为,时间\n" + "".join(rows)


@pytest.mark.parametrize("words", [("浏览",), ("购买", "加购"), ("浏览", "加购", "购买")], ids="/".join)
@pytest.mark.parametrize("item", ["g", "㐀𠀀"], ids=["two-bytes", "four-bytes"])
def test_a_chinese_log_of_few_words_is_chinese(words: tuple[str, ...], item: str, tmp_path: Path) -> None:
    """A log says the same three words all along: how frequent letters are tells nothing there."""
    path = tmp_path / "log.csv"
    path.write_bytes(chinese(words, item=item).encode("gb18030"))
    rows, n_refused = read(path, ZH, ",".join(f"{word}=view" for word in words))
    assert (len(rows), n_refused, rows[1].item_id) == (12, 0, f"{item}1")


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("big5", "瀏覽商品"), ("shift_jis", "ユーザー"), ("euc_kr", "구매"), ("cp1252", "café"), ("euc_jp", "商品を見る")],
)
def test_other_encodings_are_named_and_not_read(encoding: str, word: str, tmp_path: Path) -> None:
    """Letters of another language would be taken for Chinese, with no row refused."""
    path = tmp_path / "log.csv"
    path.write_bytes("".join(["user_id,item_id,ts\n", *(f"u{i},{word}{i},{T0}\n" for i in range(40))]).encode(encoding))
    with pytest.raises(InputError, match="neither UTF-8 nor GB18030; it may be .*; name its encoding with --encoding"):
        read(path)


def test_a_hint_names_the_encoding_of_windows_for_western_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("".join(["user_id,item_id,ts\n", *(f"u{i},café,{T0}\n" for i in range(40))]).encode("cp1252"))
    with pytest.raises(InputError, match="it may be cp1252"):
        read(path)


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffsep=;\n"])
def test_a_first_line_that_names_the_delimiter_is_no_header(first: str, tmp_path: Path) -> None:
    """Excel's own way to say it; the rows keep their numbers."""
    path = tmp_path / "log.csv"
    path.write_text(f"{first}user_id;item_id;ts\nu1;g1;{T0}\n;g2;{T0}\n", "utf-8")
    rows, n_refused = read(path)
    assert ([row.line for row in rows], n_refused) == ([3], 1)


def test_a_column_that_is_read_has_its_name_alone(tmp_path: Path) -> None:
    """Else the reader would choose one of two."""
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,ts,note,note\nu1,g1,{T0},a,b\n")
    assert read(path)[0][0].user_id == "u1"
    path.write_text(f"user_id,item_id,ts,ts\nu1,g1,{T0},{T0 + 1}\n")
    with pytest.raises(InputError, match="2 columns are called 'ts'; rename all but one"):
        read(path)


def event(i: int, **more: Any) -> str:
    """Return an event as Python's ``json`` writes it."""
    return json.dumps({"user_id": f"u{i}", "item_id": "g1", "ts": T0 + i} | more)


def test_nan_in_json_is_no_value(tmp_path: Path) -> None:
    """Python writes it, and no standard has it; an infinite number is refused by name."""
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([event(1, value=float("nan")), event(2, value=float("inf")), event(3, title="NaN")]))
    rows, n_refused = read(path)
    assert ([(row.user_id, row.value) for row in rows], n_refused) == ([("u1", None), ("u3", None)], 1)


@pytest.mark.parametrize("between", ["", " ", "\n", ",\n"], ids=repr)
def test_objects_may_follow_each_other_in_one_line(between: str, tmp_path: Path) -> None:
    """As Amazon's Firehose puts records together."""
    path = tmp_path / "log.json"
    path.write_text(between.join(event(i) for i in range(5)))
    assert [row.user_id for row in read(path)[0]] == [f"u{i}" for i in range(5)]


def test_a_separator_of_full_width_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tags of a Chinese shop would be one tag each, and nobody would see it."""
    monkeypatch.chdir(tmp_path)
    Path("goods.csv").write_text("item_id,title,tags\n" + "".join(f"{i},灯{i},红；绿\n" for i in range(5)), "utf-8")
    assert main(["items", "put", "--dry-run", "goods.csv"]) == 0
    assert "add --tag-separator '；'" in capsys.readouterr().err
