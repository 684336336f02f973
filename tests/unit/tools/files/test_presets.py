"""Each preset on rows of the exact shape that its system or data set has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow
import pyarrow.parquet
import pytest

from streams.errors import InputError
from tests.support.files import read_items, read_users
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import LogRow
from tools.files.presets import FOLDER, find_preset, preset_names
from tools.files.refused_rows import RefusedRows
from tools.replay.identity import event_id

T0_S = 1_700_000_000
T0 = T0_S * 1000
Short = list[tuple[str, str, str, int]]


def read(path: Path, preset: str, **more: Any) -> tuple[list[LogRow], RefusedRows]:
    """Return the events of a log, and what was refused or left out."""
    columns = more.pop("columns", "")
    refused = RefusedRows(shown=0)
    source = LogSource((path,), FileOptions(columns=columns, format=preset), **more)
    return list(LogReader(source, refused)), refused


def short(rows: list[LogRow]) -> Short:
    return [(row.user_id, row.item_id, row.type, row.ts_ms) for row in rows]


def lines(path: Path, *objects: Any) -> Path:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in objects))
    return path


def ga4_event(name: str, items: list[str], *, user_id: str | None = None) -> dict[str, Any]:
    """Return an event as BigQuery exports it in JSON: 64-bit numbers are texts."""
    none = {"string_value": None, "int_value": None, "float_value": None, "double_value": None}
    return {
        "event_date": "20231114",
        "event_timestamp": str(T0 * 1000 + 777),
        "event_name": name,
        "event_params": [
            {"key": "page_location", "value": none | {"string_value": "https://shop.example/"}},
            {"key": "ga_session_id", "value": none | {"int_value": "1699999000"}},
        ],
        "user_id": user_id,
        "user_pseudo_id": "1234.5678",
        "ecommerce": {"transaction_id": "T-1"},
        "items": [
            {"item_id": item, "item_name": f"Name {item}", "item_category": "Lamps", "price": 9.5, "quantity": "1"}
            for item in items
        ],
    }


GA4 = [ga4_event("page_view", []), ga4_event("view_item", ["a"], user_id="ann"), ga4_event("purchase", ["a", "b", "a"])]
GA4_EVENTS = [
    ("ann", "a", "view", T0),
    ("1234.5678", "a", "purchase", T0),
    ("1234.5678", "b", "purchase", T0),
    ("1234.5678", "a", "purchase", T0),
]


def test_ga4(tmp_path: Path) -> None:
    rows, refused = read(lines(tmp_path / "ga4.jsonl", *GA4), "ga4")
    assert short(rows) == GA4_EVENTS and rows[1].value == 9.5
    assert refused.n == 0, "a page view is left out, not refused"
    assert len({event_id(row) for row in rows}) == 4, "a product twice in an order is two events"
    session = "session_id=event_params[key=ga_session_id].value.int_value"
    rows, _ = read(tmp_path / "ga4.jsonl", "ga4", columns=session)
    assert {row.session_id for row in rows} == {"1699999000"}


def test_ga4_in_parquet_and_avro(tmp_path: Path) -> None:
    """The same events, whose nested columns have types there."""
    typed = [{**event, "event_timestamp": int(event["event_timestamp"])} for event in GA4]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(typed), tmp_path / "ga4.parquet")
    assert short(read(tmp_path / "ga4.parquet", "ga4")[0]) == GA4_EVENTS
    text = ["null", "string"]
    item = [{"name": name, "type": text} for name in ("item_id", "item_name")] + [{"name": "price", "type": "double"}]
    fields = [
        {"name": "event_timestamp", "type": "long"},
        *({"name": name, "type": text} for name in ("event_name", "user_id", "user_pseudo_id")),
        {"name": "items", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": item}}},
    ]
    schema = fastavro.parse_schema({"type": "record", "name": "Root", "fields": fields})
    with (tmp_path / "ga4.avro").open("wb") as file:
        fastavro.writer(file, schema, typed)
    assert short(read(tmp_path / "ga4.avro", "ga4")[0]) == GA4_EVENTS


def test_a_catalogue_in_ga4s_events(tmp_path: Path) -> None:
    items = read_items([lines(tmp_path / "ga4.jsonl", *GA4)], FileOptions(format="ga4"))
    assert items["b"] == {"title": "Name b", "category": "Lamps", "price": 9.5} and set(items) == {"a", "b"}


def segment_call(event: str | None, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    call = {"type": "track", "event": event, "messageId": f"m-{event}", "userId": "u1", "anonymousId": "anon-1"}
    return {**call, "timestamp": "2023-11-14T22:13:20.000Z", "context": {}, "properties": properties, **more}


def test_segment(tmp_path: Path) -> None:
    order = {"order_id": "o", "products": [{"product_id": "p1", "price": 3}, {"product_id": "p2", "price": 4.5}]}
    calls = [
        segment_call("Product Viewed", {"product_id": "p1", "price": 3}),
        segment_call("Order Completed", order, userId=None),
        segment_call(None, {}, type="identify", traits={"email": "x"}),
        segment_call("Email Opened", {}),
    ]
    rows, refused = read(lines(tmp_path / "calls.jsonl", *calls), "segment")
    assert short(rows) == [
        ("u1", "p1", "view", T0),
        ("anon-1", "p1", "purchase", T0),
        ("anon-1", "p2", "purchase", T0),
    ]
    assert [row.event_id for row in rows] == ["m-Product Viewed", "m-Order Completed", "m-Order Completed#1"]
    assert [row.value for row in rows] == [3, 3, 4.5] and refused.n == 0
    items = read_items([tmp_path / "calls.jsonl"], FileOptions(format="segment"))
    assert items == {"p1": {"title": "p1", "price": 3.0}, "p2": {"title": "p2", "price": 4.5}}
    rows, _ = read(tmp_path / "calls.jsonl", "segment", types="Email Opened=click", columns="item_id=event")
    assert ("u1", "Email Opened", "click", T0) in short(rows), "what the user maps is kept"


def test_otto(tmp_path: Path) -> None:
    events = [{"aid": 59, "ts": T0, "type": "clicks"}, {"aid": 60, "ts": T0 + 1, "type": "carts"}]
    path = lines(
        tmp_path / "train.jsonl", {"session": 12, "events": [*events, {"aid": 59, "ts": T0 + 2, "type": "orders"}]}
    )
    rows, _ = read(path, "otto")
    assert short(rows) == [("12", "59", "view", T0), ("12", "60", "click", T0 + 1), ("12", "59", "purchase", T0 + 2)]
    assert [row.session_id for row in rows] == ["12"] * 3


@pytest.mark.parametrize("head", ["", "user_id,item_id,category_id,behavior_type,timestamp\n"])
def test_taobao(tmp_path: Path, head: str) -> None:
    path = tmp_path / "UserBehavior.csv"
    kinds = ("pv", "cart", "fav", "buy")
    path.write_text(head + "".join(f"1,{n},2520377,{kind},{T0_S + n}\n" for n, kind in enumerate(kinds)))
    expected = ["view", "click", "click", "purchase"]
    assert short(read(path, "taobao")[0]) == [("1", str(n), kind, T0 + 1000 * n) for n, kind in enumerate(expected)]


def test_retailrocket(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        f"{T0},257597,view,355908,\n{T0},2,addtocart,7,\n{T0},2,transaction,7,4000\n"
    )
    assert short(read(path, "retailrocket")[0]) == [
        ("257597", "355908", "view", T0),
        ("2", "7", "click", T0),
        ("2", "7", "purchase", T0),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ratings.csv", f"userId,movieId,rating,timestamp\n1,31,2.5,{T0_S}\n1,1029,3.0,{T0_S}\n"),
        ("ratings.dat", f"1::31::2.5::{T0_S}\n1::1029::3::{T0_S}\n"),
        ("u.data", f"1\t31\t2.5\t{T0_S}\n1\t1029\t3\t{T0_S}\n"),
    ],
)
def test_movielens(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    rows, _ = read(path, "movielens")
    assert short(rows) == [("1", "31", "view", T0), ("1", "1029", "view", T0)]
    assert [row.value for row in rows] == [2.5, 3.0]


@pytest.mark.parametrize(
    ("name", "text", "tags"),
    [
        ("movies.csv", 'movieId,title,genres\n1,"Stage, The (1995)",Comedy|Drama\n', ["Comedy", "Drama"]),
        ("movies.dat", "1::Stage, The (1995)::Comedy|Drama\n", ["Comedy", "Drama"]),
        ("u.item", f"1|Stage, The (1995)|01-Jan-1995||http://x.example/|{'|'.join('01' * 9)}|0\n", None),
    ],
)
def test_the_movies_of_movielens(tmp_path: Path, name: str, text: str, tags: list[str] | None) -> None:
    path = tmp_path / name
    path.write_text(text)
    (item,) = read_items([path], FileOptions(format="movielens")).values()
    assert item["title"] == "Stage, The (1995)" and item.get("tags") == tags


def test_amazon(tmp_path: Path) -> None:
    """The editions of 2014, 2018 and 2023 have other names and another unit of time."""
    older = {"reviewerID": "A2", "asin": "B1", "reviewerName": "x", "overall": 5.0, "unixReviewTime": T0_S}
    newer = {"user_id": "A2", "asin": "B1", "parent_asin": "P1", "rating": 4.0, "timestamp": T0, "title": "ok"}
    for name, review, item, value in (("2014", older, "B1", 5.0), ("2023", newer, "P1", 4.0)):
        rows, _ = read(lines(tmp_path / f"{name}.jsonl", review), "amazon")
        assert short(rows) == [("A2", item, "purchase", T0)] and rows[0].value == value
    path = tmp_path / "ratings_Beauty.csv"
    path.write_text(f"A2,B1,5.0,{T0_S}\nA3,B1,1.0,{T0_S}\n")
    assert short(read(path, "amazon")[0]) == [("A2", "B1", "purchase", T0), ("A3", "B1", "purchase", T0)]
    path.write_text(f"user_id,parent_asin,rating,timestamp\nA2,P1,5.0,{T0}\n")
    assert short(read(path, "amazon")[0]) == [("A2", "P1", "purchase", T0)]


def test_amazons_metadata(tmp_path: Path) -> None:
    meta = {
        "main_category": "Books",
        "title": "T",
        "price": 9.99,
        "categories": ["Books", "Crime"],
        "parent_asin": "P1",
    }
    (found,) = read_items([lines(tmp_path / "meta.jsonl", meta)], FileOptions(format="amazon")).items()
    assert found[0] == "P1" and found[1]["title"] == "T" and found[1]["category"] == "Books"
    assert found[1]["price"] == 9.99 and found[1]["tags"] == ["Books", "Crime"]


def test_mind(tmp_path: Path) -> None:
    path = tmp_path / "behaviors.tsv"
    path.write_text("1\tU13\t11/14/2023 10:13:20 PM\tN1 N2\tN55-1 N35-0 N7-1\n2\tU91\t11/14/2023 9:13:20 AM\t\tN78-0\n")
    rows, refused = read(path, "mind")
    assert short(rows) == [("U13", "N55", "click", T0), ("U13", "N7", "click", T0)]
    assert [row.event_id for row in rows] == ["1", "1#2"] and refused.n == 0


def test_minds_news(tmp_path: Path) -> None:
    path = tmp_path / "news.tsv"
    path.write_text('N55\tsports\tgolf\tThe "best" swing\tAn abstract.\thttps://x.example/\t[]\t[{"Label": "x"}]\n')
    (found,) = read_items([path], FileOptions(format="mind")).items()
    assert found[0] == "N55" and found[1]["title"] == 'The "best" swing'
    assert (found[1]["category"], found[1]["text"], found[1]["tags"]) == ("sports", "An abstract.", ["golf"])


def change(op: str, row: dict[str, Any]) -> dict[str, Any]:
    sides = {"before": row if op == "d" else None, "after": None if op == "d" else row}
    micros = {"field": "ts", "type": "int64", "name": "io.debezium.time.MicroTimestamp"}
    fields = [{"field": side, "type": "struct", "fields": [micros]} for side in ("before", "after")]
    return {"schema": {"type": "struct", "fields": fields}, "payload": {**sides, "op": op, "source": {}, "ts_ms": T0}}


def test_debezium(tmp_path: Path) -> None:
    row = {"event_id": 9, "user_id": 4, "item_id": "i", "type": "click", "ts": T0 * 1000}
    path = lines(tmp_path / "dump.jsonl", *(change(op, row) for op in "crud"))
    rows, refused = read(path, "debezium")
    assert short(rows) == [("4", "i", "click", T0)] * 2 and rows[0].event_id == "9" and refused.n == 0


def test_connect(tmp_path: Path) -> None:
    row = {"user_id": 4, "item_id": "i", "at": "2023-11-14T22:13:20Z"}
    path = lines(tmp_path / "dump.jsonl", row, {"schema": None, "payload": row})
    assert short(read(path, "connect", columns="ts=at")[0]) == [("4", "i", "view", T0)] * 2


def test_a_copy_of_a_preset_can_be_changed(tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_text((FOLDER / "taobao.toml").read_text().replace('cart = "click"', 'cart = "purchase"'))
    path = tmp_path / "log.csv"
    path.write_text(f"1,2,3,cart,{T0_S}\n")
    assert short(read(path, str(copy))[0]) == [("1", "2", "purchase", T0)]


def test_another_mapping_is_another_log(tmp_path: Path) -> None:
    """A replay whose mapping file was changed is another run."""
    source = LogSource((tmp_path / "log.csv",), FileOptions(format="taobao"))
    assert source.changed_options() != LogSource(source.paths, FileOptions(format="otto")).changed_options()
    assert "rules" in source.changed_options() and "rules" not in LogSource(source.paths).changed_options()


def test_options_win_over_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "UserBehavior.csv"
    path.write_text(f"1,2,3,pv,{T0}\n1,2,3,cart,{T0}\n")
    rows, _ = read(path, "taobao", types="cart=purchase", time_unit="ms", columns="item_id=category_id")
    assert short(rows) == [("1", "3", "view", T0), ("1", "3", "purchase", T0)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ga5", r"--format 'ga5': must be one of auto, csv, .* a preset \(amazon, connect, debezium, ga4"),
        ("absent.toml", "absent.toml: cannot be read"),
    ],
)
def test_an_unknown_preset_is_refused_with_those_that_there_are(name: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        find_preset(name, "events")


def test_a_preset_without_a_catalogue_says_so() -> None:
    with pytest.raises(InputError, match=r"otto.toml: has no \[items\], it has \[events\]"):
        find_preset("otto", "items")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_read(name: str) -> None:
    assert find_preset(name, "events") is not None
    assert datetime.fromtimestamp(T0_S, UTC).hour == 22


def test_a_branch_of_another_kind_is_refused_with_line_and_path(tmp_path: Path) -> None:
    good = {"u": {"id": "a"}, "item_id": "i", "ts": T0}
    path = lines(tmp_path / "log.jsonl", good, {**good, "u": 5}, {**good, "u": None})
    rows, refused = read(path, "auto", columns="user_id=u.id")
    assert len(rows) == 1 and refused.n == 2
    assert "line 2" in refused.first and "u.id: 5 has no field 'id'" in refused.first


@pytest.mark.parametrize(
    ("name", "text"), [("u.user", "7|24|M|technician|85711\n"), ("users.dat", "7::M::24::technician::85711\n")]
)
def test_the_users_of_movielens(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    (user,) = read_users([path], FileOptions(format="movielens")).values()
    assert user["features"] == {"age": 24.0, "gender": "M", "occupation": "technician"}


def test_a_delete_of_debezium_removes_from_the_catalogue(tmp_path: Path) -> None:
    row, other = {"item_id": 1, "title": "a"}, {"item_id": 2, "title": "b"}
    changes = [change("c", row), change("r", other), change("d", row), change("u", {**other, "title": "c"})]
    path = lines(tmp_path / "dump.jsonl", *changes)
    assert read_items([path], FileOptions(format="debezium")) == {"2": {"title": "c"}}


GORSE_ITEM = {
    "ItemId": "i", "IsHidden": True, "Categories": ["Drama"], "Timestamp": "1995-01-01T00:00:00Z",
    "Labels": {"year": 1995, "cast": ["x", "y"]}, "Comment": "A film",
}  # fmt: skip


def test_the_feedback_of_gorse(tmp_path: Path) -> None:
    """A value of 0 is none; a row without a time, or of an unknown type, is named."""
    row = {"FeedbackType": "read", "UserId": "u", "ItemId": "i", "Timestamp": "2023-11-14T22:13:20Z", "Value": 0}
    others: list[dict[str, Any]] = [
        {"FeedbackType": "purchase", "Value": 4.5},
        {"FeedbackType": "like"},
        {"FeedbackType": "share"},
        {"Timestamp": "0001-01-01T00:00:00Z"},
    ]
    path = lines(tmp_path / "feedback.jsonl", row, *(row | other for other in others))
    rows, refused = read(path, "gorse")
    assert [(one.type, one.ts_ms, one.value) for one in rows] == [
        ("view", T0, None), ("purchase", T0, 4.5), ("click", T0, None),
    ]  # fmt: skip
    assert refused.n == 2 and "line 4" in refused.first and "'share' is none of" in refused.first


def test_the_items_and_users_of_gorse(tmp_path: Path) -> None:
    """Hidden is not available, the comment is the title, labels are features and tags."""
    path = lines(tmp_path / "items.jsonl", GORSE_ITEM, {"ItemId": "j", "Labels": True})
    assert read_items([path], FileOptions(format="gorse")) == {
        "i": {
            "title": "A film", "categories": ["Drama"], "tags": ["cast=x", "cast=y"], "features": {"year": 1995.0},
            "available": False, "published_ts": 788_918_400_000,
        },
    }  # fmt: skip
    path = lines(tmp_path / "users.jsonl", {"UserId": "u", "Labels": ["a", "b"], "Comment": ""})
    assert read_users([path], FileOptions(format="gorse"))["u"]["features"] == {"=a": 1.0, "=b": 1.0}
