"""``items`` and ``users``: put, replace, delete, list and a dry run, on a topic in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Item, RecordDecoder, User
from streams.errors import InputError
from streams.settings.load import KafkaSettings, Settings, load_settings
from tests.support.builders import USER_ID_KEY, FakeRecord, write_key
from tools.catalogue import entries
from tools.catalogue import items_topic as catalogue
from tools.catalogue.shop import put_sections
from tools.main import main

Screen = pytest.CaptureFixture[str]


class FakeTopics:
    """Topics in memory: what the commands publish is what they read."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, bytes]] = {"items": {}, "users": {}}

    async def publish(self, _settings: Settings, topic: str, records: Iterable[tuple[str, bytes | None]]) -> int:
        """Write records, as a compacted topic keeps them."""
        sent = 0
        for key, value in records:
            if value is None:
                self.values[topic].pop(key, None)
            else:
                self.values[topic][key] = value
            sent += 1
        return sent

    async def read(self, _settings: KafkaSettings, topic: str, **_more: Any) -> Any:
        """Yield the records of a topic."""
        for key, value in list(self.values[topic].items()):
            yield FakeRecord(key.encode(), value, topic=topic)


@pytest.fixture(autouse=True)
def topics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTopics:
    """Put topics in memory in the place of a broker's."""
    made = FakeTopics()
    monkeypatch.setattr(entries, "publish", made.publish)
    monkeypatch.setattr(catalogue, "read_records", made.read)
    monkeypatch.chdir(tmp_path)
    return made


def run(screen: Screen, *argv: str) -> tuple[int, dict[str, Any]]:
    """Run a command with ``--json``; return its exit code and its last line."""
    screen.readouterr()
    code = main([*argv, "--json"])
    found = json.loads(screen.readouterr().out.splitlines()[-1])
    assert sum(group["n"] for group in found.pop("groups", [])) == found.get("refused", 0)
    return code, found


def write(name: str, *lines: str) -> str:
    """Write a file in the working directory."""
    Path(name).write_text("\n".join(lines) + "\n", "utf-8")
    return name


def test_several_files_are_one_catalogue(capsys: Screen, topics: FakeTopics) -> None:
    """The last row of an id counts, also across files; the line of a refused row names its file."""
    one, two = write("one.csv", "item_id,title", "a,A", "b,B"), write("two.csv", "item_id,title", "b,Bee", ",none")
    assert run(capsys, "items", "put", one, two) == (1, {"sent": 2, "refused": 1, "repeated": 1})
    assert list(topics.values["items"]) == ["a", "b"]
    assert RecordDecoder(Item).decode(topics.values["items"]["b"]).title == "Bee"
    main(["items", "put", one, two])
    assert "two.csv line 3: missing: item_id" in capsys.readouterr().err


def test_a_dry_run_shows_the_first_items_and_sends_nothing(capsys: Screen, topics: FakeTopics) -> None:
    """As they are understood: numbers, lists, features."""
    path = write("items.csv", "id,name,cost,kinds,made", "7.0,Cup,€ 4,x|y,1999", "8,Mug,free,,")
    columns = ["--columns", "item_id=id,title=name,price=cost,categories=kinds,features.year=made"]
    code, found = run(capsys, "items", "put", path, *columns, "--dry-run")
    cup = {"v": 1, "item_id": "7", "title": "Cup", "price": 4.0, "categories": ["x", "y"], "features": {"year": 1999.0}}
    assert (code, topics.values["items"]) == (0, {})
    mug = {"v": 1, "item_id": "8", "title": "Mug"}
    counts = {"sent": 0, "would_send": 2, "refused": 0, "left_out": {"price": 1}}
    assert found == {"dry_run": True, **counts, "first": [cup, mug]}
    assert main(["items", "put", path, *columns, "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("2 would be sent, 0 refused; nothing was sent\n")


def test_replace_removes_what_the_file_lacks(capsys: Screen, topics: FakeTopics) -> None:
    """It asks for consent with the share; an item whose row is refused is kept."""
    every = write("every.csv", "item_id,title", *(f"i{n},Item {n}" for n in range(10)))
    few = write("few.csv", "item_id,title", "i0,New", f"i1,{'x' * 2_001}", "n,Another")
    assert main(["items", "put", every]) == 0
    assert main(["items", "put", few, "--replace"]) == 2
    told = capsys.readouterr().err
    assert "8 of 10 items (80%) would be removed, because few.csv has 3, far fewer than the topic" in told
    assert "add --yes" in told and len(topics.values["items"]) == 10, "nothing was sent"
    assert run(capsys, "items", "put", few, "--replace", "--yes") == (1, {"sent": 2, "refused": 1, "removed": 8})
    assert list(topics.values["items"]) == ["i0", "i1", "n"]
    same = write("same.csv", "item_id,title", "i0,New", "i1,One", "n,Another", "m,More")
    assert run(capsys, "items", "put", same, "--replace") == (0, {"sent": 4, "refused": 0, "removed": 0})
    none = write("none.csv", "item_id,title", ",x")
    assert main(["items", "put", none, "--replace", "--yes"]) == 2
    assert "nothing was removed" in capsys.readouterr().err and len(topics.values["items"]) == 4


def test_a_list_names_some_items_and_can_be_put_again(capsys: Screen, topics: FakeTopics) -> None:
    """Text has id and title; JSON has whole records.

    The command names an id that is not there, and exits with 1.
    """
    record = {
        "v": 1,
        "item_id": "a",
        "title": "茶",
        "tags": ["x"],
        "price": 2.5,
        "features": {"n": 1.0},
        "categories": ["c", "d"],
    }
    write("items.jsonl", json.dumps(record), json.dumps({"item_id": "b", "title": "B"}))
    assert main(["items", "put", "items.jsonl"]) == 0
    kept = dict(topics.values["items"])
    capsys.readouterr()
    assert main(["items", "list", "b", "a"]) == 0
    assert capsys.readouterr().out == "b\tB\na\t茶\n"
    assert main(["items", "list", "b", "z"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "b\tB\n" and "item 'z' is not on items" in captured.err
    assert run(capsys, "items", "list", "z") == (1, {"items": 0, "sent": 0, "missing": ["z"]})
    assert main(["items", "list", "--format", "json"]) == 0
    Path("again.jsonl").write_text(capsys.readouterr().out, "utf-8")
    assert run(capsys, "items", "delete", "a", "b", "--yes") == (0, {"sent": 2})
    assert main(["items", "put", "again.jsonl"]) == 0
    assert topics.values["items"] == kept


def test_the_section_of_the_settings_names_files_and_options(capsys: Screen, topics: FakeTopics) -> None:
    """After ``headrace init`` no option is typed twice."""
    write("goods.csv", "sku,name,words", "1,One,a/b")
    write(
        "headrace.toml",
        "[items]",
        'paths = ["goods.csv"]',
        'columns = "item_id=sku,title=name,tags=words"',
        'tag_separator = "/"',
    )
    assert run(capsys, "items", "put") == (0, {"sent": 1, "refused": 0})
    assert RecordDecoder(Item).decode(topics.values["items"]["1"]).tags == ["a", "b"]
    Path("headrace.toml").unlink()
    assert main(["items", "put"]) == 2
    assert "no file is named" in capsys.readouterr().err


def test_options_may_stand_before_files_and_ids(capsys: Screen, topics: FakeTopics) -> None:
    """And ``--json`` before or after the action."""
    path = write("items.csv", "id,title", "a,A")
    argv = ["put", "--columns", "item_id=id", path]
    assert run(capsys, "items", *argv) == (0, {"sent": 1, "refused": 0})
    assert main(["items", "--json", *argv]) == 0
    assert json.loads(capsys.readouterr().out) == {"sent": 1, "refused": 0}
    assert main(["items", "list", "--format", "text", "a"]) == 0
    assert capsys.readouterr().out == "a\tA\n"


def test_users_are_put_listed_and_deleted(capsys: Screen, topics: FakeTopics) -> None:
    path = write("users.csv", "id,age,friends", "u1,24,u2 u3", "u2,,")
    argv = ["--columns", "user_id=id,features.age=age,follows=friends", "--follow-separator", " "]
    assert run(capsys, "users", "put", path, *argv) == (0, {"sent": 2, "refused": 0})
    assert RecordDecoder(User).decode(topics.values["users"]["u1"]) == User(1, "u1", {"age": 24.0}, ["u2", "u3"])
    capsys.readouterr()
    assert main(["users", "list"]) == 0
    assert capsys.readouterr().out == "u1\tage=24\t2 follows\nu2\t\t0 follows\n"
    assert main(["users", "delete", "u1"]) == 2
    assert run(capsys, "users", "delete", "u1", "--yes") == (0, {"sent": 1})
    assert run(capsys, "users", "list")[1] == {"users": 1, "sent": 0}


def test_no_raw_user_id_reaches_the_topic(capsys: Screen, topics: FakeTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, ids and follows are pseudonyms.

    The shop's own ids find, remove and replace them.
    """
    write_key(Path("key"))
    monkeypatch.setenv("HEADRACE_USER_ID_KEY_FILE", "key")
    path = write("users.jsonl", '{"user_id": "anna", "follows": ["bert"]}', '{"user_id": "bert"}')
    assert main(["users", "put", path]) == 0
    of = Pseudonyms(USER_ID_KEY).of
    assert topics.values["users"].keys() == {of("anna"), of("bert")}
    assert RecordDecoder(User).decode(topics.values["users"][of("anna")]).follows == [of("bert")]
    assert not any(name in b"".join(topics.values["users"].values()) for name in (b"anna", b"bert"))
    assert run(capsys, "users", "list", "anna") == (0, {"users": 1, "sent": 0})
    assert run(capsys, "users", "put", path, "--replace") == (0, {"sent": 2, "refused": 0, "removed": 0})
    assert run(capsys, "users", "delete", "anna", "--yes") == (0, {"sent": 1})
    assert topics.values["users"].keys() == {of("bert")}


def test_a_file_of_changes_puts_and_removes(capsys: Screen, topics: FakeTopics) -> None:
    """As Debezium writes them: a delete removes the item; what comes later counts."""
    write("items.csv", "item_id,title", "a,A", "b,B", "c,C")
    assert main(["items", "put", "items.csv"]) == 0
    changes: list[dict[str, Any]] = [
        {"op": "u", "before": None, "after": {"item_id": "a", "title": "New"}},
        {"op": "d", "before": {"item_id": "b", "title": "B"}, "after": None},
        {"op": "d", "before": {"item_id": "c", "title": "C"}, "after": None},
        {"op": "c", "before": None, "after": {"item_id": "c", "title": "C again"}},
    ]
    path = write("changes.jsonl", *map(json.dumps, changes))
    argv = ["items", "put", path, "--format", "debezium"]
    code, found = run(capsys, *argv, "--dry-run")
    assert (code, found["would_send"], found["would_remove"]) == (0, 2, 1)
    assert run(capsys, *argv) == (0, {"sent": 2, "refused": 0, "removed": 1})
    titles = {key: RecordDecoder(Item).decode(value).title for key, value in topics.values["items"].items()}
    assert titles == {"a": "New", "c": "C again"}


def test_all_that_the_settings_name_is_put_at_once(capsys: Screen, topics: FakeTopics) -> None:
    """As before a replay: catalogue and users, each with the options of its section."""
    write("goods.csv", "sku;name", "1;One", ";None")
    write("people.csv", "id,age", "u1,24")
    write(
        "headrace.toml",
        "[items]",
        'paths = ["goods.csv"]',
        'columns = "item_id=sku,title=name"',
        "[users]",
        'paths = ["people.csv"]',
        'columns = "user_id=id,features.age=age"',
    )
    assert put_sections(load_settings()) == 1
    assert (list(topics.values["items"]), list(topics.values["users"])) == (["1"], ["u1"])
    told = capsys.readouterr().err
    assert "1 item sent, 1 refused" in told and "1 user sent, 0 refused" in told
    Path("headrace.toml").unlink()
    with pytest.raises(InputError, match=r"--with-catalogue: headrace.toml has no paths in \[items\] or \[users\]"):
        put_sections(load_settings())
