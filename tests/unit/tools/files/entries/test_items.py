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
from tests.support.files import read_items, read_users
from tools.catalogue.items_topic import items_of_file
from tools.files.entries.sources import CatalogueSource
from tools.files.file_options import FileOptions
from tools.files.refused_rows import RefusedRows


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
    assert list(read(tmp_path / "items.jsonl", "\n".join(lines))) == ["29", "30"]


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


def test_prices_of_a_file_decide_what_a_mark_means(tmp_path: Path) -> None:
    """``2.499`` is 2499 among prices with a decimal comma.

    A text that is no price has a count and an example.
    """
    content = "item_id\ttitle\tprice\na\tx\t2.499 €\nb\tx\t17,50 €\nc\tx\ton request\nd\tx\tNULL\ne\tx\t-3\nf\tx\t\n"
    assert {key: item.get("price") for key, item in read(tmp_path / "items.tsv", content).items()} == {
        "a": 2499, "b": 17.5, "c": None, "d": None, "e": None, "f": None,
    }  # fmt: skip


def test_what_is_left_out_is_told_once_with_a_count_and_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words for nothing, values of no use, empty titles, repeated ids and refused rows."""
    rows = ["1,NULL,free,a|b", "2,Two,3.5,NULL", "2,Two again,4.5,a", "NULL,Four,1,a", ",Five,1,a", "6,Six,free,a"]
    items = read(tmp_path / "items.csv", "\n".join(["item_id,title,price,tags", *rows]))
    assert items == {
        "1": {"title": "1", "tags": ["a", "b"]},
        "2": {"title": "Two again", "price": 4.5, "tags": ["a"]},
        "6": {"title": "Six", "tags": ["a"]},
    }
    told = capsys.readouterr().err
    for line in (
        "line 5: missing: item_id: 'NULL' is a word for nothing",
        "line 6: missing: item_id: '' is empty",
        "item_id is 'NULL' in 1 row: left out as missing; --missing '' reads it as an id",
        "title: 1 of 6 are a word for nothing, for example 'NULL' in line 2; left out",
        "price: 2 of 6 are no number, for example 'free' in line 2; left out",
        "tags: 1 of 6 are a word for nothing, for example 'NULL' in line 3; left out",
        "title: 1 row has none, first line 2; the item_id stands for it",
        "item_id: 1 row repeats an id, for example '2' in line 4; the last row of an id counts",
        "2 of 6 rows refused",
    ):
        assert line in told, line


def test_words_for_nothing_can_be_changed(tmp_path: Path) -> None:
    """An item may be called None, and a shop may write UNKNOWN."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,category\nNULL,None,UNKNOWN\n")
    assert read_items([path], FileOptions(missing="")) == {"NULL": {"title": "None", "category": "UNKNOWN"}}
    assert read_items([path], FileOptions(missing="None,UNKNOWN")) == {"NULL": {"title": "NULL"}}


def test_categories_and_tags_are_cut_where_the_user_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list stays one; another separator in all cells is told, because each would be one tag."""
    path = tmp_path / "items.tsv"
    rows = ["id name kind words", "1 鼠标 外设|电脑 好用/轻", "2 键盘 外设 好用/重", "3 优盘 存储|电脑 快/小"]
    path.write_text("\n".join(rows).replace(" ", "\t"))
    options = FileOptions("item_id=id,title=name,categories=kind,tags=words")
    plain = CatalogueSource((path,), options).read()
    assert [item["categories"] for item in plain.values()] == [["外设", "电脑"], ["外设"], ["存储", "电脑"]]
    assert plain["1"]["tags"] == ["好用/轻"]
    assert "if '/' parts them, add --item-tag-separator '/'" in capsys.readouterr().err
    cut = CatalogueSource((path,), options, separator="/").read()
    assert cut["1"] == {"title": "鼠标", "categories": ["外设|电脑"], "tags": ["好用", "轻"]}
    lines = [{"item_id": "1", "title": "a", "category": ["x", "y"], "categories": ["y", "z"], "tags": ["b|c"]}]
    items = read(tmp_path / "items.jsonl", "\n".join(map(json.dumps, lines)))
    assert items == {"1": {"title": "a", "categories": ["x", "y", "z"], "tags": ["b|c"]}}


def test_an_item_that_breaks_the_contract_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same rules as on the topic: too long a title, vectors of text, ids of 129 characters."""
    entries = [
        {"item_id": "a", "title": "x" * 2_001},
        {"item_id": "b", "title": "b", "vectors": {"e": ["x"]}},
        {"item_id": "c" * 129, "title": "c"},
        {"item_id": "d", "title": "d", "relations": {"also": ["a"]}, "vectors": {"e": [0.5]}},
    ]
    items = read(tmp_path / "items.jsonl", "\n".join(map(json.dumps, entries)))
    assert items == {"d": {"title": "d", "relations": {"also": ["a"]}, "vectors": {"e": [0.5]}}}
    told = capsys.readouterr().err
    assert "line 1: length: title" in told and "line 2: type: vectors" in told and "line 3: length: item_id" in told


def test_whole_records_are_read_back(tmp_path: Path) -> None:
    """What ``items list --format json`` prints can be put again: each field of the contract."""
    item = Item(
        1, "i1", "标题 a", "text", "c", ["t"], 1.5, {"f": 1.0, "g": "x"}, {"also": ["i2"]}, {"e": [0.5]}, ["c", "d"]
    )
    path = tmp_path / "items.jsonl"
    path.write_bytes(msgspec.json.encode(item))
    assert list(items_of_file(CatalogueSource((path,)))) == [item]


def test_rows_with_too_few_or_too_many_values_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values that a short row lacks are missing.

    A longer row is refused, because a comma of its title may have cut it.
    """
    content = "item_id,title,price,category\n1,One,2,x\n2,Two\n3,Three, or so,4,x\n4,Four,4,x\n5,Five,1\n"
    items = read(tmp_path / "items.csv", content)
    assert list(items) == ["1", "2", "4", "5"] and items["2"] == {"title": "Two"}
    told = capsys.readouterr().err
    assert "line 4: malformed: record: has 5 values, not 4" in told
    assert "2 rows with too few values, for example line 3 has 2 of 4 values" in told


def test_a_catalogue_is_never_read_as_latin_1(tmp_path: Path) -> None:
    """What a Chinese spreadsheet saves is GB18030; a named encoding holds."""
    path = tmp_path / "items.csv"
    path.write_bytes("item_id,title\n1,保温杯\n2,登山鞋\n".encode("gb18030"))
    assert [item["title"] for item in read_items([path], FileOptions()).values()] == ["保温杯", "登山鞋"]
    path.write_bytes("item_id,title\n1,café\n".encode("latin-1"))
    assert read_items([path], FileOptions(encoding="latin-1"))["1"]["title"] == "café"
