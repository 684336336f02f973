"""Catalogues: features of items, in every format, and what is left out."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.contract.records import Item, RecordDecoder
from streams.errors import InputError
from tools.catalogue import items_of_file
from tools.files.file_options import FileOptions
from tools.files.item_reader import read_items
from tools.files.log_source import CatalogueSource
from tools.files.refused_rows import RefusedRows
from tools.files.user_reader import read_users


def read(path: Path, content: str, columns: str = "") -> dict[str, dict[str, Any]]:
    """Write a catalogue and read it."""
    path.write_text(content)
    return read_items([path], FileOptions(columns))


def features(items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the features of each item that has some."""
    return {item_id: item["features"] for item_id, item in items.items() if "features" in item}


def test_ids_are_those_of_a_log_whatever_type_holds_them(tmp_path: Path) -> None:
    """29.0 in a number column is 29, bytes are text, text stays as it is; a fraction is no id."""
    path = tmp_path / "items.parquet"
    for ids in (pa.array([29.0, 30.0]), pa.array([Decimal("29.0"), Decimal("30.0")]), pa.array([b"29", b"30"])):
        pq.write_table(pa.table({"item_id": ids, "title": ["a", "b"]}), path)
        assert list(read_items([path], FileOptions())) == ["29", "30"]
        pq.write_table(pa.table({"user_id": ids}), path)
        assert list(read_users([path], FileOptions())) == ["29", "30"]
    lines = ['{"item_id":29.0,"title":"a"}', '{"item_id":"30.0","title":"b"}', '{"item_id":3.5,"title":"c"}', ""]
    assert list(read(tmp_path / "items.jsonl", "\n".join(lines))) == ["29", "30.0"]


def test_a_byte_order_mark_is_no_part_of_the_first_item(tmp_path: Path) -> None:
    """As Windows tools write it: ``items put`` takes the line."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(BOM_UTF8 + b'{"item_id":"a","title":"t"}\n{"item_id":"b","title":"t"}\n')
    refused = RefusedRows()
    found = [item.item_id for item in items_of_file(CatalogueSource((path,)), refused)]
    assert (found, refused.n) == (["a", "b"], 0)


def test_named_columns_become_features(tmp_path: Path) -> None:
    """A text such as "1995" is a number; codes stay text; empty and infinite values are left out.

    Other columns are not read.
    """
    content = (
        "item_id,title,year,brand,zip,unread\n"
        "1,a,1995,Zürich,01234,9\n2,b,-2.5e1, ,85711,9\n3,c,nan,x,,9\n4,d,1_000,inf,,9\n5,e\n"
    )
    items = read(tmp_path / "items.csv", content, "features.year=year,features.brand=brand,features.zip=zip")
    assert features(items) == {
        "1": {"year": 1995.0, "brand": "Zürich", "zip": "01234"},
        "2": {"year": -25.0, "zip": 85711.0},
        "3": {"brand": "x"},
        "4": {"year": "1_000"},
    }
    assert items["5"] == {"title": "e"}


def test_positions_name_features_where_there_is_no_header(tmp_path: Path) -> None:
    """As in MovieLens-100K's u.item, whose genres are columns of 0 and 1."""
    content = "1|Toy Story (1995)|01-Jan-1995|0|1\n2|GoldenEye (1995)|01-Jan-1995|1|0\n"
    items = read(tmp_path / "u.item", content, "item_id=0,title=1,features.action=3,features.animation=4")
    assert features(items) == {"1": {"action": 0.0, "animation": 1.0}, "2": {"action": 1.0, "animation": 0.0}}


def test_objects_of_json_lines_and_parquet_are_features(tmp_path: Path) -> None:
    """Types stay; unusable values are left out; named columns come in; the contract accepts all."""
    given = {"year": 1995, "code": "7", "is_new": True, "none": None, "list": [1], "huge": 10**400, "empty": " ", "": 1}
    entries = [
        {"item_id": 1, "title": "a", "stock": 3, "features": given},
        {"item_id": 2, "title": "b", "features": [1]},
    ]
    content = "".join(json.dumps(entry) + "\n" for entry in entries)
    items = read(tmp_path / "items.jsonl", content, "features.stock=stock")
    assert features(items) == {"1": {"year": 1995.0, "code": "7", "is_new": 1.0, "stock": 3.0}}
    record = msgspec.json.encode({"v": 1, "item_id": "1", **items["1"]})
    assert RecordDecoder(Item).decode(record).features == items["1"]["features"]
    table = {"item_id": ["1"], "title": ["a"], "stock": [3]}
    struct = pa.table(table | {"features": pa.array([{"year": 1995, "code": "7", "none": None}])})
    pairs = pa.array([[("year", 1995.0), ("none", None)]], type=pa.map_(pa.string(), pa.float64()))
    expected = {"struct": {"year": 1995.0, "code": "7", "stock": 3.0}, "map": {"year": 1995.0, "stock": 3.0}}
    for name, made in {"struct": struct, "map": pa.table(table | {"features": pairs})}.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(made, path)
        assert features(read_items([path], FileOptions("features.stock=stock"))) == {"1": expected[name]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("features.year=born", "no column 'born'"),
        ("features.=title", "is not a field"),
        ("feature.a=title", "is not a field"),
    ],
)
def test_a_feature_without_column_or_name_is_refused(tmp_path: Path, columns: str, message: str) -> None:
    """A misspelt name must not silently give items without the feature."""
    with pytest.raises(InputError, match=message):
        read(tmp_path / "items.csv", "item_id,title\n1,a\n", columns)


def test_prices_and_tags_of_no_use_are_left_out(tmp_path: Path) -> None:
    """Neither too large a price nor an empty tag comes through."""
    content = '{"item_id":"1","title":"a","price":1' + "0" * 400 + ',"tags":["x",null," "]}\n'
    assert read(tmp_path / "items.jsonl", content) == {"1": {"title": "a", "tags": ["x"]}}
