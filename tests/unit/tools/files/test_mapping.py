"""How records become rows: paths, lists, envelopes, constants, and records that are left out."""

from __future__ import annotations

from typing import Any

import pytest

from streams.errors import InputError
from streams.formats.mapping_file import Mapping, Split
from tools.files.mapping import LeftOut, RecordMapper, Removed

FIELDS = ("event_id", "user_id", "item_id", "type", "ts")


def rows_of(record: dict[str, Any], columns: dict[str, str], **rules: Any) -> list[Any]:
    return list(RecordMapper(FIELDS, columns, rules=Mapping(**rules)).rows(record))


def test_a_list_gives_one_row_for_each_element_with_the_other_fields_repeated() -> None:
    record = {"event_id": "e", "user_id": "u", "ts": 5, "basket": {"lines": [{"sku": "a", "t": "x"}, {"sku": "b"}]}}
    rows = rows_of(record, {"item_id": "basket.lines[].sku", "type": "basket.lines[].t"})
    assert rows == [["e", "u", "a", "x", 5], ["e#1", "u", "b", None, 5]]


def test_a_list_of_plain_values_gives_each_value() -> None:
    assert [row[2] for row in rows_of({"ids": [7, "b"]}, {"item_id": "ids[]"})] == [7, "b"]


@pytest.mark.parametrize("record", [{"user_id": "u"}, {"user_id": "u", "lines": []}, {"user_id": "u", "lines": None}])
def test_a_record_without_elements_is_one_row_without_them(record: dict[str, Any]) -> None:
    assert rows_of(record, {"item_id": "lines[].sku"}) == [[None, "u", None, None, None]]


def test_the_first_of_several_paths_that_has_a_value_counts() -> None:
    columns = {"item_id": "lines[].sku|sku", "user_id": "id|anonymous"}
    assert rows_of({"id": "", "anonymous": "x", "sku": "s"}, columns) == [[None, "x", "s", None, None]]
    assert [row[2] for row in rows_of({"lines": [{"sku": "a"}, {}], "sku": "s"}, columns)] == ["a", "s"]


def test_two_lists_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"user_id=b\[\]\.u,item_id=a\[\]\.i: two lists, b\[\] and a\[\]"):
        RecordMapper(FIELDS, {"item_id": "a[].i", "user_id": "b[].u"})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(InputError, match="'item' is not a field"):
        RecordMapper(FIELDS, {"item": "a"})


@pytest.mark.parametrize("name", ["price[EUR]", "a..b", "what?"])
def test_a_column_whose_name_is_no_path_is_found_by_its_name(name: str) -> None:
    assert rows_of({name: "v"}, {"item_id": name})[0][2] == "v"


def test_a_path_that_cannot_be_read_is_refused_by_field() -> None:
    with pytest.raises(InputError, match=r"--columns item_id=a\[\]\.b\[\]\.c: .* has two \[\]"):
        RecordMapper(FIELDS, {"item_id": "a[].b[].c"})


def test_a_constant_stands_where_the_source_has_no_value() -> None:
    assert rows_of({"user_id": "u"}, {}, constants={"type": "purchase"})[0][3] == "purchase"
    assert rows_of({"type": "view"}, {}, constants={"type": "purchase"})[0][3] == "view"


def test_records_and_elements_of_other_kinds_are_left_out_and_say_why() -> None:
    only: dict[str, Any] = {"only": {"kind": ("track",)}, "types": {"buy": "purchase"}, "other_types": "leave-out"}
    (row,) = rows_of({"kind": "page"}, {}, **only)
    assert isinstance(row, LeftOut) and row == "kind 'page'"
    bought, seen = rows_of({"kind": "track", "l": [{"t": "buy"}, {"t": "see"}]}, {"type": "l[].t"}, **only)
    assert bought[3] == "buy" and isinstance(seen, LeftOut) and seen == "type 'see'"


def test_types_that_the_user_maps_are_kept_too() -> None:
    rules = Mapping(types={"buy": "purchase"}, other_types="leave-out")
    mapper = RecordMapper(FIELDS, {}, rules=rules, types=["see"])
    assert [isinstance(mapper.rows({"type": kind})[0], LeftOut) for kind in ("see", "buy", "go")] == [
        False,
        False,
        True,
    ]


def test_a_text_is_split_into_elements_from_its_end() -> None:
    split = {"shown": Split(separator=" ", between="-", names=("id", "clicked"))}
    rows = rows_of({"shown": "N-1-0  N2-1 "}, {"item_id": "shown[].id", "type": "shown[].clicked"}, split=split)
    assert [(row[2], row[3]) for row in rows] == [("N-1", "0"), ("N2", "1")]


def test_a_change_of_a_table_is_a_row_and_its_delete_removes() -> None:
    fields = ("item_id", "title")
    mapper = RecordMapper(fields, {"item_id": "sku"}, rules=Mapping(unwrap="debezium"), kind="items")
    made = {"payload": {"before": None, "after": {"sku": 4, "title": "t"}, "op": "u"}}
    assert mapper.rows(made) == [[4, "t"]]
    (removed,) = mapper.rows({"before": {"sku": 4, "title": "t"}, "after": None, "op": "d"})
    assert isinstance(removed, Removed) and removed.values == [4, "t"]
    (emptied,) = mapper.rows({"op": "t", "source": {}})
    assert isinstance(emptied, LeftOut) and emptied == "op 't' (truncate)"


@pytest.mark.parametrize(("op", "is_taken"), [("c", True), ("r", True), ("u", False), ("d", False)])
def test_an_event_is_an_insert_or_a_row_of_a_snapshot(op: str, is_taken: bool) -> None:
    row = {"user_id": "u", "item_id": "i"}
    change = {"op": op, "before": row, "after": row}
    (found,) = RecordMapper(FIELDS, {}, rules=Mapping(unwrap="debezium")).rows(change)
    assert isinstance(found, LeftOut) is not is_taken


def test_columns_alone_need_no_mapping() -> None:
    mapper = RecordMapper(FIELDS, {"item_id": "a.b|c", "user_id": "who"})
    assert mapper.names_only(["who", "c", "ts"]) == [None, "who", "c", None, "ts"]
    assert mapper.names_only(["who", "a.b"]) == [None, "who", "a.b", None, None]
    assert mapper.names_only(["who", "a"]) is None, "a nested column"
    assert mapper.names_only(["who", "a.b", "c"]) is None, "the first with a value, row by row"


def test_the_columns_that_are_read_and_those_that_lack_are_known_by_name() -> None:
    mapper = RecordMapper(
        FIELDS, {"item_id": "basket.lines[].sku", "user_id": "a.b"}, rules=Mapping(only={"kind": ("x",)})
    )
    assert mapper.roots(["ts", "basket", "other", "a.b", "a", "kind"]) == ["ts", "basket", "a.b", "a", "kind"]
    assert mapper.lacking(["basket"], ("user_id", "item_id", "ts")) == [("user_id", "a.b"), ("ts", "ts")]
