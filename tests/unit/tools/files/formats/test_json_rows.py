"""JSON: one object a line, one array, or printed objects; bounded, and damage is named."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InputError
from tools.files.formats import json_rows as json_module
from tools.files.formats.json_rows import json_rows
from tools.files.formats.text import TextFile

ROWS: list[dict[str, Any]] = [
    {"id": "1", "title": 'a "quoted" [x] {y}, \\'},
    {"id": "2", "title": "中文", "more": {"list": [1, [2]], "none": None}},
    {"id": "3", "title": ""},
]


def read(data: str | bytes) -> list[tuple[int, Any]]:
    """Return the rows of a text."""
    return list(json_rows(TextFile(io.BytesIO(data if isinstance(data, bytes) else data.encode()), "a.json"), "a.json"))


@pytest.mark.parametrize(
    "text",
    [
        "".join(json.dumps(row) + "\n" for row in ROWS),
        "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\r\n\n" for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        " \n[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        "".join(json.dumps(row, indent=1) + "\n" for row in ROWS),
        "[" + json.dumps(ROWS[0]) + "]\n[" + json.dumps(ROWS[1]) + "," + json.dumps(ROWS[2]) + "]",
    ],
    ids=["lines", "mark", "array", "printed array", "array of lines", "printed objects", "two arrays"],
)
def test_every_shape_gives_the_same_objects(text: str) -> None:
    """The shape is found by the content."""
    assert [row for _, row in read(text)] == ROWS


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


objects = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1, max_size=5)


@given(objects, st.sampled_from([None, 1]), st.integers(1, 40))
def test_the_cut_into_pieces_changes_nothing(rows: list[dict[str, Any]], indent: int | None, n_bytes: int) -> None:
    """Any objects in an array, read a few bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_module, "PIECE_BYTES", n_bytes)
        for ascii_only in (True, False):
            assert [row for _, row in read(json.dumps(rows, indent=indent, ensure_ascii=ascii_only))] == rows


def test_rows_have_the_number_of_their_first_line() -> None:
    """Blank lines count."""
    assert [number for number, _ in read('[\n\n{"a":\n1},\n\n {"a":2}\n]')] == [3, 6]
    assert [number for number, _ in read('{"a":1}\n\n{"a":2}\n')] == [1, 3]


def test_what_is_no_object_costs_its_row() -> None:
    """In lines and in an array; bytes that are not UTF-8 are named."""
    found = read(b'{"a":1}\n[1]\n{"a":\nno\n{"a":"caf\xe9"}\n{"a":2}\n')
    assert [number for number, row in found if isinstance(row, str)] == [2, 3, 4, 5]
    assert found[4][1] == "byte 10 of the line, 0xe9, is not UTF-8; see --encoding"
    assert [isinstance(row, str) for _, row in read('[{"a":1}, 5, "x, y", [1], {"a" 1}, null, {"a":2}]')] == [
        False,
        *[True] * 5,
        False,
    ]


@pytest.mark.parametrize("text", ['[{"a":1},{"a"', '[{"a":1}', "{\n", '[{"a":1},\n{"a":"x]', '[{"a":1}}]'])
def test_an_array_that_does_not_end_is_an_error(text: str) -> None:
    """Its rows never pass for the whole file."""
    with pytest.raises(InputError, match=r"a\.json: ends inside of the JSON that begins in line \d"):
        read(text)


def test_an_element_without_end_is_an_error() -> None:
    """A missing bracket must not fill the memory."""
    with pytest.raises(InputError, match="begins in line 2 has no end within"):
        read('[{"a":1},\n{"b":[' + '{"a":1},' * 200_000 + "]")


def test_python_literals_are_named() -> None:
    """As some published catalogues have them, one a line."""
    for text in ("{'asin': '1', 'title': \"L'été\"}\n", "[{'a': 1}]\n{'a': 2}", "{u'a': 1}\n"):
        with pytest.raises(
            InputError, match=r"line 1 is no JSON object \(single quotes: a Python literal\?\); convert"
        ):
            list(json_rows(TextFile(io.BytesIO(text.encode()), "a"), "a"))
    assert isinstance(read('{"a": it\'s}\n{"a":1}\n')[0][1], str)


def test_a_large_array_needs_little_memory(tmp_path: Path) -> None:
    """20 MB in one line."""
    path = tmp_path / "a.json"
    element = json.dumps({"id": "1", "text": "x" * 2_000})
    with path.open("w") as file:
        file.write("[" + ",".join([element] * 10_000) + "]")
    tracemalloc.start()
    try:
        with path.open("rb") as data:
            assert sum(1 for _ in json_rows(TextFile(data, "a"), "a")) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
