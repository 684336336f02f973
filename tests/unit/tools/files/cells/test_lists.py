"""Lists in a cell: cut at a separator, in brackets, or as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.files.cells.lists import list_of


@pytest.mark.parametrize(
    ("raw", "separator", "values"),
    [
        ("red|blue", "|", ["red", "blue"]),
        ("red, blue", ",", ["red", " blue"]),
        ("red::blue", "::", ["red", "blue"]),
        ("red|blue", ";", ["red|blue"]),
        ("red|blue", "", ["red|blue"]),
        ('["red", "light blue"]', "|", ["red", "light blue"]),
        ("['red', 'light, blue']", "|", ["red", "light, blue"]),
        ("[红色, 蓝色]", "|", ["红色", "蓝色"]),
        ("[8, 27]", "|", [8, 27]),
        ("[]", "|", []),
        ("[new] red", "|", ["[new] red"]),
        (["a|b", None, 3], "|", ["a|b", None, 3]),
        (7, "|", [7]),
    ],
)
def test_a_cell_gives_a_list(raw: Any, separator: str, values: list[Any]) -> None:
    assert list_of(raw, separator) == values


@given(st.text())
def test_any_text_in_brackets_has_a_list(text: str) -> None:
    assert isinstance(list_of(f"[{text}]"), list)
