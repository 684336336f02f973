"""Encodings are found at the first byte that is not ASCII, wherever it lies.

None is assumed, and the reader says which one it found.
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.formats.chinese import is_chinese
from tools.files.formats.encodings import check_encoding
from tools.files.formats.text import MAX_LINE_BYTES, TextFile
from tools.files.raw_rows import RawRow, raw_rows

CHINESE = ["编号,名称", "1,无线蓝牙耳机", "2,纯棉短袖", "3,不锈钢保温杯", "4,儿童雨伞"]


def lines_of(data: bytes, encoding: str = "auto") -> list[str]:
    """Return the lines of a file of these bytes."""
    found = [line for _, line in TextFile(io.BytesIO(data), "a.csv", encoding).lines()]
    return [line.decode() for line in found if line is not None]


def rows(path: Path, data: bytes, options: FileOptions = FileOptions()) -> list[RawRow]:  # noqa: B008 - frozen
    """Return the rows of a file of these bytes."""
    path.write_bytes(data)
    return list(raw_rows([path], options, ("item_id", "title"), ("item_id",)))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk", "gb2312"],
)
def test_chinese_text_is_read_in_its_own_encoding(encoding: str) -> None:
    """With a mark or without one."""
    text = "item_id,title\n" + "\n".join(CHINESE[1:])
    assert lines_of(text.encode(encoding)) == text.split("\n")


def test_utf_16_of_either_order_and_utf_32_have_marks() -> None:
    """The mark is no part of the first name."""
    for mark, encoding in ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_LE, "utf-32-le")):
        assert lines_of(mark + "id,名\n1,é".encode(encoding)) == ["id,名", "1,é"]


def test_what_comes_late_decides(capsys: pytest.CaptureFixture[str]) -> None:
    """A megabyte of ASCII comes before the first Chinese title."""
    plain = b"".join(b"%d,plain\n" % i for i in range(120_000))
    assert len(plain) > 1 << 20
    assert lines_of(plain + "x,收藏夹里的东西\n".encode("gb18030"))[-1] == "x,收藏夹里的东西"
    told = capsys.readouterr().err
    assert "a.csv: is GB18030, seen first in line 120001; --encoding" in told


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Café\nCrème brûlée\nÉtagère\nnaïve façade\n", "cp1252"),
        ("Größe\nMöbel für Küche\nStühle\n", "latin-1"),
        ("Привет мир\nСтол и стул\nЛампа\n", "cp1251"),
        ("ワイヤレスイヤホン\nコーヒーカップ\n", "shift_jis"),
        ("ワイヤレスイヤホン\nコーヒーカップ\n", "euc_jp"),
        ("無線藍牙耳機與充電盒\n純棉短袖上衣\n不鏽鋼保溫杯\n", "big5"),
        ("무선 이어폰 블루투스 헤드셋 세트\n스테인리스 보온병 대용량 선물용\n어린이 우산 자동 반사 디자인\n", "euc_kr"),
    ],
)
def test_no_other_encoding_is_assumed(text: str, encoding: str) -> None:
    """One line names the line, the byte and the option; with the option the text is right."""
    data = b"title\nplain\n" + text.encode(encoding)
    with pytest.raises(
        InputError, match=r"a\.csv: line 3, byte \d+ of the file, 0x[89a-f].: neither .*--encoding"
    ) as caught:
        lines_of(data)
    assert "\n" not in str(caught.value)
    assert lines_of(data, encoding)[2:] == text.split("\n")[:-1]


def test_one_broken_line_costs_its_row(tmp_path: Path) -> None:
    """Among UTF-8 lines, and among ASCII lines."""
    for good in ("3,陶瓷杯\n4,毛巾\n", "3,cup\n4,towel\n"):
        data = b"item_id,title\n1,a\n2,caf\xe9!\n" + good.encode()
        found = rows(tmp_path / "a.csv", data)
        assert [row.values[0] for row in found if not isinstance(row.values, str)] == ["1", "3", "4"]
        assert [(row.line, row.values) for row in found if isinstance(row.values, str)] == [
            (3, "byte 6 of the line, 0xe9, is not UTF-8; see --encoding")
        ]


def test_a_broken_line_of_another_encoding_costs_its_row(tmp_path: Path) -> None:
    """Of GB18030 that was found, and of one that was named."""
    data = "\n".join(["item_id,title", *CHINESE[1:] * 4]).encode("gb18030") + b"\nx,\xff\xff\n"
    assert [row.line for row in rows(tmp_path / "a.csv", data) if isinstance(row.values, str)] == [18]
    data = "item_id,title\n1,カップ\n".encode("shift_jis") + b"2,\xa0\xff\n3,b\n"
    bad = [
        row for row in rows(tmp_path / "b.csv", data, FileOptions(encoding="shift_jis")) if isinstance(row.values, str)
    ]
    assert [(row.line, row.values) for row in bad] == [
        (3, "a byte is not shift_jis; correct the line, or see --encoding")
    ]


def test_unusable_encodings_are_refused() -> None:
    """Names that Python does not know, codecs of bytes, and a mark that says otherwise."""
    for name in ("klingon", "hex", "zlib", ""):
        with pytest.raises(InputError, match="not a text encoding"):
            check_encoding(name)
    with pytest.raises(InputError, match="begins with the mark of utf-16-le; leave out --encoding gb18030"):
        lines_of("a".encode("utf-16"), "gb18030")
    with pytest.raises(InputError, match="neither text nor a format"):
        lines_of(bytes(range(256)) * 4 + bytes(999))


@pytest.mark.parametrize(("end", "n"), [("\n", 3), ("\r\n", 3), ("\r", 3)])
def test_every_end_of_line(end: str, n: int) -> None:
    """A line break inside of quotes does not show how lines end."""
    text = end.join(['a,"b', 'c",d', "e", ""])
    assert lines_of(text.encode()) == ['a,"b', 'c",d', "e"][:n]
    assert lines_of(b'a,b\r1,"x\ny"\r2,z\r') == ["a,b", '1,"x', 'y"', "2,z"]


def test_a_line_without_end_is_bounded() -> None:
    """It is given as None, and the lines after it keep their numbers."""
    text = TextFile(io.BytesIO(b"a\n" + b"x" * (MAX_LINE_BYTES + 5) + b"\nb\n"), "a")
    assert list(text.lines()) == [(1, b"a"), (2, None), (3, b"b")]


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1),
    st.sampled_from(["utf-8", "gb18030", "utf-16-le"]),
)
def test_a_named_encoding_gives_any_text(text: str, encoding: str) -> None:
    """What is encoded comes back."""
    data = f"head\n{text}\n".encode(encoding)
    assert lines_of(data, encoding) == ["head", text]


def test_few_chinese_letters_are_enough() -> None:
    """One short title; but one letter of cp1252 among ASCII is none."""
    assert is_chinese(["1,杯子".encode("gb18030")])
    assert is_chinese(["1,杯子😀".encode("gb18030")])
    assert not is_chinese([b"caf\xe9s", b"cr\xe8me"])
