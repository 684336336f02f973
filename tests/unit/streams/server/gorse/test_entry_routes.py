"""Items and users of Gorse's API: what was written comes back, and what is wrong is named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.contract.announcements import PrivacyRequest
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Item, User
from streams.server.gorse.entries import replaced
from streams.settings.load import KafkaSettings
from tests.support.builders import USER_ID_KEY
from tests.unit.streams.server.gorse.asked import GorseApp

ITEM = {
    "ItemId": "100", "IsHidden": True, "Labels": ["a", "b", "c"], "Categories": ["d", "e"],
    "Timestamp": "2022-08-07T00:26:46Z", "Comment": "comment",
}  # fmt: skip
USER = {"UserId": "100", "Labels": {"gender": "M", "jobs": ["x", "y"]}, "Comment": "a word"}
ROW = {"RowAffected": 1}


def test_an_item_is_a_record_on_the_topic_and_comes_back(tmp_path: Path) -> None:
    """The record has the contract's fields, so that every model of headrace can use them."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        assert await app.found("/item", "POST", json=ITEM) == ROW
        assert await app.found("/item/100") == ITEM
        ((topic, key, value),) = app.writer.written
        expected = Item(1, "100", "comment", tags=["a", "b", "c"], categories=["d", "e"], available=False)
        expected.published_ts = 1_659_832_006_000
        assert (topic, key, msgspec.msgpack.decode(value or b"", type=Item)) == ("items", b"100", expected)
        assert await app.found("/item/100", "DELETE") == ROW
        assert (await app.refused("/item/100"))[0] == 404

    asyncio.run(run())


def test_a_patch_changes_what_it_has_and_null_changes_nothing(tmp_path: Path) -> None:
    """Labels replace labels as a whole; fields that Gorse does not know stay."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        await app.ask(
            "/v1/items/100", "PUT", json={"title": "t", "price": 3.0, "features": {"old": 1.0}, "category": "d"}
        )
        nothing = dict.fromkeys(("Categories", "Comment", "IsHidden", "Labels", "Timestamp"))
        before = await app.found("/item/100")
        assert before["Categories"] == ["d"] and before["Labels"] == {"old": 1}
        assert await app.found("/item/100", "PATCH", json=nothing) == ROW
        assert await app.found("/item/100") == before
        changes = nothing | {"Labels": {"new": "x", "v": [1, 2]}, "IsHidden": True, "Timestamp": "2022-08-07T00:26:46Z"}
        assert await app.found("/item/100", "PATCH", json=changes) == ROW
        assert await app.found("/item/100") == before | {
            name: changes[name] for name in ("Labels", "IsHidden", "Timestamp")
        }
        assert await app.found("/item/100", "PATCH", json={"IsHidden": False, "Labels": [], "Comment": ""}) == ROW
        assert await app.found("/item/100/category/e", "PUT") == ROW
        assert await app.found("/item/100/category/d", "DELETE") == ROW
        last = await app.found("/item/100")
        assert (last["IsHidden"], last["Labels"], last["Comment"], last["Categories"]) == (False, None, "", ["e"])
        assert (await app.ask("/v1/items/100")).json()["price"] == 3.0
        assert (await app.refused("/item/none", "PATCH", json={"Comment": "x"}))[0] == 404
        assert (await app.refused("/item/none/category/e", "PUT"))[0] == 404

    asyncio.run(run())


def test_users_come_back_and_are_forgotten(tmp_path: Path) -> None:
    """Deleting a user deletes the feedback too, as Gorse documents: the workers are asked."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        assert await app.found("/user", "POST", json=USER) == ROW
        assert await app.found("/user/100") == USER
        assert await app.found("/user/100", "PATCH", json={"Labels": {"age": 3}, "Comment": None}) == ROW
        assert await app.found("/user/100") == USER | {"Labels": {"age": 3}}
        assert await app.found("/user/100", "PATCH", json={"Comment": "new"}) == ROW
        assert await app.found("/user/100") == {"UserId": "100", "Labels": {"age": 3}, "Comment": "new"}
        assert await app.found("/user/100", "PATCH", json={"Labels": {}, "Comment": ""}) == ROW
        assert await app.found("/user/100") == {"UserId": "100", "Labels": None, "Comment": ""}
        assert await app.found("/user/100", "DELETE") == ROW
        assert (await app.refused("/user/100"))[0] == 404
        topic, key, value = app.writer.written[-1]
        request = msgspec.msgpack.decode(value or b"", type=PrivacyRequest)
        assert (topic, key, request.action) == ("privacy", b"100", "forget")

    asyncio.run(run())


def test_pages_follow_each_other_by_their_cursor(tmp_path: Path) -> None:
    """All entries come once, by their ids, hidden ones too; the last cursor is empty."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        items = [{"ItemId": f"i{i}", "IsHidden": i == 3} for i in range(5)]
        assert await app.found("/items", "POST", json=items) == {"RowAffected": 5}
        assert await app.found("/users", "POST", json=[{"UserId": "u"}, {"UserId": "v"}]) == {"RowAffected": 2}
        seen: list[Any] = []
        cursor = ""
        for n in (2, 2, 1):
            page = await app.found("/items", params={"n": 2, "cursor": cursor})
            assert len(page["Items"]) == n
            seen += [one["ItemId"] for one in page["Items"]]
            cursor = page["Cursor"]
        assert (seen, cursor) == ([f"i{i}" for i in range(5)], "")
        assert [one["UserId"] for one in (await app.found("/users"))["Users"]] == ["u", "v"]
        assert (await app.refused("/items", params={"cursor": "%"}))[:2] == (400, "cursor")
        assert (await app.refused("/items", params={"n": -1}))[:2] == (400, "n")
        assert (await app.refused("/items", params={"n": 2_000}))[:2] == (400, "n")
        assert (await app.refused("/items", params={"q": "shoe"}))[:2] == (501, "q")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("row", "field", "detail"),
    [
        ({"ItemId": ""}, "ItemId", "items[1]: "),
        ({"ItemId": "i", "Timestamp": "soon"}, "Timestamp", "items[1]: 'soon' is neither a number nor"),
        ({"ItemId": "i", "Labels": {"a": True}}, "Labels", "items[1]: Labels.a: True, must be a text"),
        ({"ItemId": "i", "Labels": {f"f{n}": n for n in range(101)}}, "Labels", "items[1]: "),
        ({"ItemId": "i", "Categories": ["c" * 3_000]}, "Categories", "items[1]: "),
    ],
)
def test_one_bad_item_stops_all(tmp_path: Path, row: dict[str, Any], field: str, detail: str) -> None:
    """The answer has the place, the field by Gorse's name, the value and a remedy."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        status, named, told = await app.refused("/items", "POST", json=[{"ItemId": "good"}, row])
        assert (status, named) == (400, field) and told.startswith(detail) and "nothing is written" in told
        assert not app.writer.written

    asyncio.run(run())


@pytest.mark.parametrize("deep", [300, 5_000])
def test_labels_without_end_are_refused(tmp_path: Path, deep: int) -> None:
    """By the limit of labels, or that of the reader of JSON: neither is a failure."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        body = f"""{{"ItemId": "i", "UserId": "u", "Labels": {'{"a":' * deep}1{"}" * deep}}}"""
        for path in ("/item", "/user"):
            answer = await app.refused(path, "POST", content=body, headers={"Content-Type": "application/json"})
            assert answer[0] == 400 and "deep" in answer[2]
        assert not app.writer.written

    asyncio.run(run())


def test_of_two_rows_of_one_id_the_last_counts(tmp_path: Path) -> None:
    """Rows are written beside each other, those of one id are not."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        rows = [{"ItemId": "i", "Comment": "old"}, {"ItemId": "j"}, {"ItemId": "i", "Comment": "new"}]
        assert await app.found("/items", "POST", json=rows) == {"RowAffected": 3}
        assert (await app.found("/item/i"))["Comment"] == "new" and len(app.writer.written) == 2
        assert (await app.refused("/items", "POST", json=[{"ItemId": "i"}] * 10_001))[0] == 400

    asyncio.run(run())


def test_with_pseudonyms_a_user_is_found_by_id_and_users_are_not_listed(tmp_path: Path) -> None:
    """Nobody can say which id a pseudonym stands for."""

    async def run() -> None:
        file = tmp_path / "key"
        file.write_text(USER_ID_KEY)
        kafka = KafkaSettings(user_id_key_file=str(file))
        names = Pseudonyms(USER_ID_KEY)
        app = GorseApp(tmp_path, pseudonyms=names, kafka=kafka)
        assert await app.found("/user", "POST", json=USER) == ROW
        assert await app.found("/user/100") == USER
        ((_, key, value),) = app.writer.written
        assert key.decode() == names.of("100") == msgspec.msgpack.decode(value or b"", type=User).user_id
        assert (await app.refused("/users"))[0] == 501

    asyncio.run(run())


def test_a_merge_patch_that_replaces_an_object() -> None:
    """What was there and is not wanted is null; an empty object removes the field."""
    assert replaced({"a": 1, "b": 2}, {"b": 3}) == {"a": None, "b": 3}
    assert replaced({"a": 1}, {}) is None and replaced(None, {"a": 1}) == {"a": 1}
