"""Exports of well-known systems are recognised by their records, or by the names of their files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools.init.envelope import opened
from tools.init.known_exports import known_export
from tools.init.sample import read_tables
from tools.init.tables import Table
from tools.main import main

MS = 1_700_000_000_000


def otto(i: int) -> dict[str, Any]:
    """Return a session with three events."""
    kinds = ("clicks", "carts", "orders")
    return {"session": i, "events": [{"aid": i + k, "ts": MS + k, "type": kind} for k, kind in enumerate(kinds)]}


def segment(i: int) -> dict[str, Any]:
    """Return a call of track."""
    call = {"type": "track", "messageId": f"m{i}", "userId": f"u{i % 3}", "timestamp": f"2025-01-01T00:00:{i:02}Z"}
    return {**call, "event": "Product Viewed", "properties": {"product_id": f"p{i % 4}"}}


def ga4(i: int) -> dict[str, Any]:
    """Return an event of the BigQuery export."""
    event = {"event_timestamp": MS * 1_000 + i, "user_pseudo_id": f"u{i % 3}", "items": [{"item_id": f"p{i % 4}"}]}
    return {**event, "event_name": "view_item" if i % 2 else "page_view"}


def own(i: int) -> dict[str, Any]:
    """Return an event of no known system."""
    return {"user": {"id": i % 3}, "product": {"id": i % 4}, "at": MS + i}


def table_of(path: Path, records: list[dict[str, Any]]) -> Table:
    """Return the table of a file of records."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_tables([path])[0][0]


@pytest.mark.parametrize(
    ("record", "preset"),
    [(otto, "otto"), (segment, "segment"), (ga4, "ga4"), (own, "")],
    ids=["otto", "segment", "ga4", "own"],
)
def test_nested_records_of_a_known_system_are_recognised(tmp_path: Path, record: Any, preset: str) -> None:
    """The records have the preset's fields.

    Records that the preset leaves out, such as page views, do not speak against it.
    """
    part = known_export(table_of(tmp_path / "x.jsonl", [record(i) for i in range(20)]))
    assert ("" if part is None else part.preset) == preset
    if part is not None:
        assert part.kind == "log" and part.missing() == [] and part.chosen.has("ts")


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("u.data", "{i}\t{j}\t3\t88125094{j}", "log"),
        ("u.user", "{i}|24|M|technician|85711", "users"),
        ("movies.dat", "{i}::Toy Story {i} (1995)::Animation|Comedy", "items"),
        ("other.dat", "{i}::Toy Story {i} (1995)::Animation|Comedy", None),
    ],
)
def test_files_without_a_header_are_known_by_name(tmp_path: Path, name: str, line: str, kind: str | None) -> None:
    """MovieLens's files have fixed names; any other file is looked at column by column."""
    path = tmp_path / name
    path.write_text("".join(line.format(i=i, j=i % 9) + "\n" for i in range(30)))
    part = known_export(read_tables([path])[0][0])
    assert (None if part is None else part.kind) == kind


def test_an_envelope_is_opened() -> None:
    """Debezium's changes and Connect's payloads give their rows.

    A delete gives no row, plain records no envelope.
    """
    row = {"uid": 1, "sku": 2}
    change = {"before": None, "after": row, "op": "c"}
    gone = {"before": row, "after": None, "op": "d"}
    assert opened([{"payload": change}, gone, change]) == ("debezium", [row, row])
    assert opened([{"schema": None, "payload": row}]) == ("connect", [row])
    assert opened([row]) == ("", [])


CERTAIN = {
    "taobao": ("log", "x.csv", ["{i},22{j},{j},pv,15115{i:05}", "{i},22{j},{j},cart,15115{i:05}"]),
    "retailrocket": (
        "log",
        "x.csv",
        ["timestamp,visitorid,event,itemid,transactionid", "14332211{i:05},{i},view,{j},"],
    ),
    "movielens": ("log", "r.csv", ["userId,movieId,rating,timestamp", "{i},{j},4.5,9649{i:05}"]),
    "amazon": ("log", "r.csv", ["A2VNYWOPJ13AF{j},B0000{i:05},5.0,12598{i:05}"]),
}


@pytest.mark.parametrize("preset", CERTAIN)
def test_a_shape_that_one_export_has_names_its_preset(preset: str, tmp_path: Path) -> None:
    """By the columns of a header, or by the values where there is none."""
    kind, name, lines = CERTAIN[preset]
    head = [line for line in lines if "{" not in line]
    rows = [line.format(i=i, j=i % 9) for i in range(40) for line in lines if "{" in line]
    path = tmp_path / name
    path.write_text("\n".join([*head, *rows, ""]))
    part = known_export(read_tables([path])[0][0])
    assert part is not None and (part.preset, part.kind, part.missing()) == (preset, kind, [])
    assert part.chosen.has("ts")


@pytest.mark.parametrize(
    "lines",
    [
        ["{i},22{j},{j},view,15115{i:05}"],  # not the words of Taobao
        ["{i},22{j},{j},pv,15115{i:05},more"],
        ["{i},{j},5.0,12598{i:05}"],  # not the ids of Amazon
        ["userId,movieId,rating", "{i},{j},4.5"],
    ],
    ids=["types", "width", "ids", "no-time"],
)
def test_a_shape_that_others_may_have_names_none(lines: list[str], tmp_path: Path) -> None:
    """Then columns are proposed one by one."""
    head = [line for line in lines if "{" not in line]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([*head, *(lines[-1].format(i=i, j=i % 9) for i in range(40)), ""]))
    assert known_export(read_tables([path])[0][0]) is None


def test_types_that_the_settings_have_win_over_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset of Taobao takes a cart for a click; with a type cart it is one."""
    monkeypatch.chdir(tmp_path)
    _, _, lines = CERTAIN["taobao"]
    Path("x.csv").write_text("\n".join(line.format(i=i, j=i % 9) for i in range(40) for line in lines))
    assert main(["init", "x.csv"]) == 0
    found = tomllib.loads(Path("headrace.toml").read_text())
    assert (found["log"]["format"], found["log"]["types"], "cart" in found["event_types"]) == (
        "taobao", {"cart": "cart"}, True,
    )  # fmt: skip


def test_types_that_a_preset_knows_need_no_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MIND calls a click 1, which is no word; its preset says what it means."""
    monkeypatch.chdir(tmp_path)
    lines = (f"{i}\tU{i % 4}\t11/{i % 9 + 11}/2019 9:05:{i:02} AM\tN1\tN{i}-1 N{i + 1}-0\n" for i in range(20))
    Path("behaviors.tsv").write_text("".join(lines))
    assert main(["init", "behaviors.tsv"]) == 0
    assert "not mapped" not in capsys.readouterr().out
    assert "types" not in tomllib.loads(Path("headrace.toml").read_text())["log"]


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("log", {"FeedbackType": "read", "UserId": "u{i}", "ItemId": "{i}", "Value": 1, "Updated": "", "Comment": ""}),
        ("items", {"ItemId": "{i}", "IsHidden": False, "Categories": ["a"], "Labels": {"a": {"b": "{i}"}}}),
        ("users", {"UserId": "{i}", "Labels": {"age": "{i}", "job": "clerk"}, "Comment": ""}),
    ],
)
def test_the_export_of_gorse_is_recognised(tmp_path: Path, kind: str, record: dict[str, Any]) -> None:
    """The three files have fields that no other system has together."""
    if kind != "users":
        record = record | {"Timestamp": "2025-01-01T00:00:00Z"}
    written = json.dumps(record)
    records = [json.loads(written.replace("{i}", str(i))) for i in range(20)]
    part = known_export(table_of(tmp_path / "x.jsonl", records))
    assert part is not None and (part.kind, part.preset, part.missing()) == (kind, "gorse", [])
