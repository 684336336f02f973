"""Each file's use and each column's use.

Names in many dialects say it, and the content says it where there are no names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tools.init.propose import Proposal, propose
from tools.init.tables import Table, is_header, make_table


def rows(*lines: str) -> list[list[str]]:
    """Return the cells of lines."""
    return [line.split(",") for line in lines]


def generated(n: int, *cells: Any) -> list[list[str]]:
    """Return ``n`` rows; a cell is a function of the row's number."""
    return [[str(cell(i)) for cell in cells] for i in range(n)]


def columns(proposal: Proposal, kind: str) -> dict[str, str] | None:
    """Return field to column of one kind, None where no file is of it."""
    part = {"log": proposal.log, "items": proposal.items, "users": proposal.users}[kind]
    return None if part is None else {choice.field: choice.column for choice in part.chosen.choices}


@dataclass(frozen=True)
class Case:
    """Files by name, and the columns that are right for each kind."""

    files: dict[str, Sequence[Sequence[Any]]]
    log: dict[str, str] | None = None
    items: dict[str, str] | None = None
    users: dict[str, str] | None = None
    unused: list[str] = field(default_factory=list)


TS = 1_700_000_000

CASES = {
    "chinese names": Case(
        {
            "导出.csv": rows(
                "用户ID,商品编号,行为类型,时间",
                "1,A7,浏览,2025-01-02 08:00:00",
                "1,A9,购买,2025-01-02 09:00:00",
                "2,A7,加购,2025-01-03 10:00:00",
            ),
            "商品.csv": rows(
                "商品编号,商品名称,类目,价格,标签,品牌",
                "A7,红色连衣裙,女装,99,夏|长,一号",
                "A9,蓝牙耳机,数码,199,无线,二号",
                "A3,手机壳,数码,9,硅胶,一号",
                "A4,台灯,家居,59,护眼,二号",
            ),
        },
        {"user_id": "用户ID", "item_id": "商品编号", "type": "行为类型", "ts": "时间"},
        {
            "item_id": "商品编号",
            "title": "商品名称",
            "category": "类目",
            "price": "价格",
            "tags": "标签",
            "features.品牌": "品牌",
        },
    ),
    "longer chinese names": Case(
        {
            "订单明细.csv": rows(
                "下单用户编号,购买商品编码,支付时间,购买数量",
                "7,88,2024/5/1 10:00,2",
                "7,89,2024/5/1 10:02,1",
                "8,88,2024/5/2 11:00,1",
            )
        },
        {"user_id": "下单用户编号", "item_id": "购买商品编码", "ts": "支付时间", "value": "购买数量"},
    ),
    "retailrocket": Case(
        {
            "events.csv": rows(
                "timestamp,visitorid,event,itemid,transactionid",
                f"{TS}001,257597,view,355908,",
                f"{TS}002,992329,view,248676,",
                f"{TS}003,257597,addtocart,355908,",
                f"{TS}004,257597,transaction,355908,4000",
            )
        },
        {"user_id": "visitorid", "item_id": "itemid", "type": "event", "ts": "timestamp"},
    ),
    "amazon reviews": Case(
        {
            "reviews.json": rows(
                "reviewerID,asin,overall,reviewText,reviewTime,unixReviewTime",
                f"A1,B01,5.0,Fits well and looks good,03 1 2014,{TS}",
                f"A1,B02,1.0,Broke on day two,03 2 2014,{TS + 9}",
                f"A2,B01,4.0,As told in the text,03 3 2014,{TS + 20}",
            )
        },
        {"user_id": "reviewerID", "item_id": "asin", "value": "overall", "ts": "unixReviewTime"},
    ),
    "camel case with users": Case(
        {
            "a.csv": rows(
                "userId,movieId,rating,timestamp",
                f"1,31,2.5,{TS}",
                f"1,10,3.0,{TS + 1}",
                f"2,31,4.0,{TS + 2}",
            ),
            "b.csv": rows(
                "movieId,title,genres",
                "31,Dangerous Minds (1995),Drama",
                "10,GoldenEye (1995),Action|Thriller",
                "17,Sense and Sensibility,Drama|Romance",
            ),
            "c.csv": rows(
                "userId,gender,age,city",
                "1,F,25,Bern",
                "2,M,31,Basel",
                "3,F,25,Bern",
                "4,M,25,Bern",
            ),
        },
        {"user_id": "userId", "item_id": "movieId", "value": "rating", "ts": "timestamp"},
        {"item_id": "movieId", "title": "title", "categories": "genres"},
        {"user_id": "userId", "features.gender": "gender", "features.age": "age", "features.city": "city"},
    ),
    "recbole": Case(
        {
            "ml.inter": rows(
                "user_id:token,item_id:token,rating:float,timestamp:float",
                f"1,31,2.5,{TS}",
                f"1,10,3.0,{TS + 1}",
                f"2,31,4.0,{TS + 2}",
            )
        },
        {"user_id": "user_id:token", "item_id": "item_id:token", "value": "rating:float", "ts": "timestamp:float"},
    ),
    "paths into nested records": Case(
        {
            "track.json": rows(
                "anonymousId,event,properties.product_id,properties.price,originalTimestamp",
                "a,Product Viewed,p1,9.5,2025-03-01T10:00:00Z",
                "a,Order Completed,p2,7.5,2025-03-01T10:09:00Z",
                "b,Product Viewed,p1,9.5,2025-03-01T11:00:00Z",
            )
        },
        {"user_id": "anonymousId", "item_id": "properties.product_id", "type": "event", "ts": "originalTimestamp"},
    ),
    "no header: the catalogue says which column is the item": Case(
        {
            "r.csv": generated(200, lambda i: 900 + i % 8, lambda i: i // 4, lambda i: 1 + i % 5, lambda i: TS + i),
            "p.csv": generated(
                8, lambda i: 900 + i, lambda i: f"Kettle number {i} of steel", lambda i: f"https://x.example/{i}.jpg"
            ),
        },
        {"user_id": "1", "item_id": "0", "value": "2", "ts": "3"},
        {"item_id": "0", "title": "1"},
    ),
    "no header: an attribute of the item is not the item": Case(
        {
            "UserBehavior.csv": generated(
                300,
                lambda i: i // 30,
                lambda i: 500 + i % 41,
                lambda i: (500 + i % 41) % 5,
                lambda i: ("pv", "buy", "cart", "pv")[i % 4],
                lambda i: TS + i,
            )
        },
        {"user_id": "0", "item_id": "1", "type": "3", "ts": "4"},
    ),
    "no header, no times, with trust": Case(
        {
            "ratings.txt": generated(60, lambda i: i // 6, lambda i: 1 + i * 7 % 23, lambda i: 1 + i % 4),
            "trust.txt": generated(20, lambda i: i // 2, lambda i: (i * 3) % 10, lambda i: 1),
        },
        {"user_id": "0", "item_id": "1", "value": "2"},
        users={"user_id": "0", "follows": "1"},
    ),
    "friends with a header": Case(
        {
            "user_friends.dat": rows(
                "userID,friendID",
                "2,275",
                "2,428",
                "3,78",
                "275,2",
            )
        },
        users={"user_id": "userID", "follows": "friendID"},
    ),
    "a named column loses to the one with the catalogue's ids": Case(
        {
            "log.csv": rows(
                "uid,product,sku,time",
                f"1,1001,K7,{TS}",
                f"1,1002,K8,{TS + 1}",
                f"2,1001,K7,{TS + 2}",
            ),
            "items.csv": rows(
                "sku,name",
                "K7,Water bottle",
                "K8,Rain jacket",
                "K9,Head torch",
            ),
        },
        {"user_id": "uid", "item_id": "sku", "ts": "time"},
        {"item_id": "sku", "title": "name"},
    ),
    "the catalogue is the file with the log's ids": Case(
        {
            "log.csv": rows(
                "user,artist,ts",
                f"1,51,{TS}",
                f"1,52,{TS + 1}",
                f"2,51,{TS + 2}",
            ),
            "artists.csv": rows(
                "id,name,url",
                "51,Duran Duran,http://x.example/1",
                "52,Morcheeba Band,http://x.example/2",
            ),
            "labels.csv": rows(
                "labelID,labelValue",
                "1,heavy metal",
                "2,goth rock",
            ),
        },
        {"user_id": "user", "item_id": "artist", "ts": "ts"},
        {"item_id": "id", "title": "name"},
        unused=["labels.csv"],
    ),
    "two logs, and a list of links": Case(
        {
            "ratings.csv": rows(
                "userId,movieId,rating,timestamp",
                f"1,31,2.5,{TS}",
                f"1,10,3.0,{TS + 1}",
                f"2,31,4.0,{TS + 2}",
            ),
            "tags.csv": rows(
                "userId,movieId,tag,timestamp",
                f"1,31,so funny,{TS}",
            ),
            "links.csv": rows(
                "movieId,imdbId",
                "31,0114709",
                "10,0113497",
            ),
        },
        {"user_id": "userId", "item_id": "movieId", "value": "rating", "ts": "timestamp"},
        unused=["links.csv", "tags.csv"],
    ),
    "nothing that is known": Case(
        {"matrix.csv": generated(9, lambda i: i / 7, lambda i: i / 3)}, unused=["matrix.csv"]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_columns_are_those_that_a_person_would_name(case: Case) -> None:
    """Each kind is found, with each field's column; what is no use is named, with a reason."""
    proposal = propose([make_table([Path(name)], cells) for name, cells in case.files.items()])
    for kind, right in (("log", case.log), ("items", case.items), ("users", case.users)):
        found = columns(proposal, kind)
        assert found == right, kind
    assert sorted(name for name, _why in proposal.unused) == case.unused and all(why for _, why in proposal.unused)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_files_changes_nothing(order: Sequence[int]) -> None:
    """Files are told apart by what they hold."""
    case = CASES["camel case with users"]
    tables = [make_table([Path(name)], cells) for name, cells in case.files.items()]
    proposal = propose([tables[i] for i in order])
    assert (columns(proposal, "log"), columns(proposal, "items")) == (case.log, case.items)


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("user_id,item_id\n1,2", True),
        ("id,name,url\n1,MALICE MIZER,http://a.example", True),
        ("用户,物品\n甲,乙", True),
        ("a,b,c\n1,2,3\n4,5,6", True),
        ("1,2,3\n4,5,6", False),
        ("alice,hat,red\nbob,cap,blue", False),
        ("alice,7\nbob,8", False),
        ("x,x\n1,2", False),
        ("A1,,B\n1,2,3", False),
    ],
    ids=["names", "mixed", "chinese", "unknown-names", "numbers", "words", "word-and-number", "twice", "gap"],
)
def test_a_header_is_told_from_a_row(text: str, *, has_header: bool) -> None:
    """Known names, or texts above numbers, are a header.

    A row with a number or a gap is none.
    """
    cells = rows(*text.splitlines())
    assert is_header(cells[0], cells[1:]) == has_header


def test_each_choice_says_why_and_how_sure() -> None:
    """A name is sure, the catalogue's ids are likely or sure.

    The mere order of columns is a guess.
    """
    case = CASES["no header: the catalogue says which column is the item"]
    log = propose([make_table([Path(name)], cells) for name, cells in case.files.items()]).log
    assert log is not None
    found = {choice.field: (choice.sure, choice.why) for choice in log.chosen.choices}
    assert found["item_id"] == ("sure", "its values are ids of the catalogue")
    assert found["user_id"] == ("guess", "the first column of ids")
    assert found["ts"][0] == "likely"


def test_an_empty_table_is_of_no_kind() -> None:
    """A file without rows is named as no use."""
    assert propose([Table((Path("e.csv"),), (), has_header=False)]).unused == [("e.csv", "no rows")]
