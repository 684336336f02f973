"""Which values a path finds in a nested record, and how a bad path or a wrong kind is named."""

from __future__ import annotations

from typing import Any

import pytest

from streams.formats.field_paths import MAX_ELEMENTS, PathError, parse_path

RECORD: dict[str, Any] = {
    "who": {"id": "ann", "name": None},
    "shop.id": "a literal name",
    "shop": {"id": "a nested one"},
    "params": [
        {"key": "page", "value": {"string_value": "/", "int_value": None}},
        {"key": "ga_session_id", "value": {"string_value": None, "int_value": 17}},
        {"key": 5, "value": {"int_value": 6}},
    ],
    "lines": [{"sku": "x"}, {"sku": None}, None, {}],
    "as_text": '{"deep": [{"a": 1}]}',
    "pairs": [("colour", "red"), ("size", "m")],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("who.id", "ann"),
        ("who.name", None),
        ("who.name.first", None),
        ("nobody.id", None),
        ("shop.id", "a literal name"),
        ("params[key=ga_session_id].value.int_value", 17),
        ("params[key='page'].value.string_value", "/"),
        ("params[key=5].value.int_value", 6),
        ("params[key=absent].value.int_value", None),
        ("as_text.deep[a=1].a", 1),
        ("pairs.size", "m"),
    ],
)
def test_a_path_finds_its_value(path: str, found: object) -> None:
    assert parse_path(path).find(RECORD) == found


def test_a_list_gives_its_elements_and_none_where_it_is_missing() -> None:
    assert list(parse_path("lines[].sku").elements(RECORD)) == RECORD["lines"]
    assert list(parse_path("who.orders[].sku").elements(RECORD)) == []
    assert list(parse_path("as_text.deep[].a").elements(RECORD)) == [{"a": 1}]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("who.id.first", "who.id.first: 'ann' has no field 'first'"),
        ("lines.sku", "lines.sku: a list has no field 'sku'; write 'sku' behind [] for each element"),
        ("who[key=a].b", "who[key=a].b: [key=a] needs a list, found an object"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_the_path(path: str, why: str) -> None:
    with pytest.raises(PathError) as refused:
        parse_path(path).find(RECORD)
    assert str(refused.value) == why


def test_elements_of_no_list_or_of_a_giant_one_are_refused() -> None:
    with pytest.raises(PathError, match=r"who\[\]: who is an object, not a list"):
        parse_path("who[].id").elements(RECORD)
    with pytest.raises(PathError, match=f"limit {MAX_ELEMENTS}"):
        parse_path("many[].id").elements({"many": [{}] * (MAX_ELEMENTS + 1)})


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.", ".a", "[]", "a[b", "a[=x]", "a[3]", "a[].b[].c", "a]b"])
def test_what_is_no_path_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(PathError, match="is no path|two|ends in a dot|neither"):
        parse_path(text)
