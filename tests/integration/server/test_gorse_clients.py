"""The Gorse door with the clients of Gorse: PyGorse from PyPI, gorsejs from npm, pinned by hash.

The clients are fetched into the test's folder, because nothing else needs them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.kafka.topics import create_topics
from streams.server.gate.key_file import add_key
from streams.settings.load import Settings
from tests.integration.reading import read_all
from tests.integration.server.test_serve import Running, push, serving
from tests.support import tiny

pytestmark = [pytest.mark.kafka, pytest.mark.long]
CLIENTS = Path(__file__).parent / "gorse_clients"
NODE, NPM = shutil.which("node"), shutil.which("npm")
FETCH_S = 300
TIME = "2022-08-07T00:26:46Z"
ITEM = {
    "ItemId": "2000", "IsHidden": False, "Labels": {"embedding": [0.1, 0.2, 0.3]}, "Categories": ["Comedy", "Animation"],
    "Timestamp": TIME, "Comment": "Minions (2015)",
}  # fmt: skip
USER = {"UserId": "1000", "Labels": {"gender": "M", "occupation": "engineer"}, "Comment": "a word"}
FEEDBACK = {"FeedbackType": "read", "UserId": "1000", "ItemId": "2000", "Value": 1.0, "Timestamp": TIME, "Comment": ""}
ROW = {"RowAffected": 1}
#: Stands in what is expected for an answer of this status.
Status = int
Step = tuple[str, Any, Any]


@pytest.fixture
def door(settings: Settings, tmp_path: Path) -> Iterator[tuple[Running, str]]:
    """Give a server with the door, and a key; one user has a list."""
    asyncio.run(create_topics(settings.kafka))
    keys = tmp_path / "keys.json"
    key = add_key(keys, "gorse", ["admin"])
    push(settings, "listed", 1, "ab")
    variables = {
        "HEADRACE_SERVE_KEYS_FILE": str(keys),
        "HEADRACE_SERVE_GORSE": "on",
        "HEADRACE_SERVE_GORSE_TYPES": "share=click",
    }
    with serving(settings, tmp_path, **variables) as server:
        yield server, key


def fetched(command: Sequence[str], folder: Path) -> Path:
    """Return a folder into which a command has fetched a client; skip without its registry."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False)
    if done.returncode:
        pytest.skip(
            f"{Path(command[0]).name} cannot fetch the client; give it a registry. {done.stderr.strip()[-200:]}"
        )
    return folder


def answers(command: Sequence[str], steps: Sequence[Step], **variables: str) -> list[Any]:
    """Return what a client gave for each step."""
    calls = json.dumps([[method, arguments] for method, arguments, _ in steps])
    done = subprocess.run(
        command, input=calls, capture_output=True, text=True, timeout=120, env=dict(os.environ) | variables, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def check(steps: Sequence[Step], found: Sequence[Any]) -> None:
    """Hold each answer equal to what Gorse documents."""
    assert len(found) == len(steps)
    for (method, arguments, expected), answer in zip(steps, found, strict=True):
        shown = answer["status"] if isinstance(expected, Status) and isinstance(answer, dict) else answer
        assert shown == expected, (method, arguments, answer)


def events(settings: Settings) -> list[tuple[str, str, str]]:
    """Return user, item and type of the events on the topic."""
    found = [msgspec.msgpack.decode(record.value or b"") for record in read_all(settings, "events")]
    return sorted((one["user_id"], one["item_id"], one["type"]) for one in found)


def asked_by_pygorse(client: str, url: str, key: str, steps: Sequence[Step], folder: Path) -> list[Any]:
    """Return what PyGorse gave for each step."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]
    fetched([*pip, str(folder / "py"), "-r", str(CLIENTS / "pygorse.txt")], folder)
    command = [sys.executable, str(CLIENTS / "calls.py"), client, url, key]
    return answers(command, steps, PYTHONPATH=str(folder / "py"))


def asked_by_gorsejs(url: str, key: str, steps: Sequence[Step], folder: Path) -> list[Any]:
    """Return what gorsejs gave for each step."""
    js = folder / "js"
    js.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / name, js / name)
    fetched([str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], js)
    return answers([str(NODE), str(CLIENTS / "calls.cjs"), str(js), url, key], steps)


@pytest.mark.parametrize("client", ["Gorse", "AsyncGorse"])
def test_pygorse(door: tuple[Running, str], settings: Settings, tmp_path: Path, client: str) -> None:
    """Each call of PyGorse 0.5.1, and what Gorse documents for it; 501 for what the door lacks."""
    server, key = door
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--target",
        str(tmp_path / "py"),
    ]
    fetched([*pip, "-r", str(CLIENTS / "pygorse.txt")], tmp_path)
    one = {"feedback_type": "read", "user_id": "1000", "item_id": "2000", "timestamp": TIME}
    steps: list[Step] = [
        ("insert_user", {"user": USER}, ROW),
        ("get_user", {"user_id": "1000"}, USER),
        ("insert_users", {"users": [USER, {"UserId": "1001"}]}, {"RowAffected": 2}),
        ("get_users", {"n": 1}, [[USER], "MTAwMQ=="]),
        ("get_users", {"n": 1, "cursor": "MTAwMQ=="}, [[{"UserId": "1001", "Labels": None, "Comment": ""}], ""]),
        ("insert_item", {"item": ITEM}, ROW),
        ("get_item", {"item_id": "2000"}, ITEM),
        ("update_item", {"item_id": "2000", "comment": "小黄人 (2015)"}, ROW),
        ("get_item", {"item_id": "2000"}, ITEM | {"Comment": "小黄人 (2015)"}),
        ("get_items", {"n": 3}, [[ITEM | {"Comment": "小黄人 (2015)"}], ""]),
        ("search_items", {"query": "Toy Story"}, 501),
        ("insert_feedback", one, ROW),
        ("insert_feedback", one | {"feedback_type": "stare"}, 400),
        ("insert_feedbacks", {"feedbacks": [FEEDBACK, FEEDBACK | {"FeedbackType": "share"}]}, {"RowAffected": 2}),
        ("list_feedbacks", {"feedback_type": "read", "user_id": "1000"}, 501),
        ("get_feedbacks", {"n": 10}, 501),
        ("delete_feedback", {"user_id": "1000", "item_id": "2000"}, 501),
        ("get_recommend", {"user_id": "1000"}, [{"Id": "2000", "Score": 1_659_832_006.0}]),
        ("get_recommend", {"user_id": "1000", "category": ["Comedy", "War"]}, []),
        ("insert_item", {"item": {"ItemId": "a"}}, ROW),
        ("insert_item", {"item": {"ItemId": "b"}}, ROW),
        ("get_recommend", {"user_id": "listed"}, [{"Id": "a", "Score": 0.5}, {"Id": "b", "Score": 0.25}]),
        ("get_recommend", {"user_id": "listed", "n": 1, "offset": 1}, [{"Id": "b", "Score": 0.25}]),
        ("get_recommend", {"user_id": "listed", "write_back_type": "read", "write_back_delay": "0h1m0s"}, 501),
        ("session_recommend", {"feedbacks": [FEEDBACK]}, 501),
        ("get_neighbors", {"item_id": "2000"}, 501),
        ("delete_item", {"item_id": "a"}, ROW),
        ("get_recommend", {"user_id": "listed"}, [{"Id": "b", "Score": 0.25}]),
        ("get_item", {"item_id": "a"}, 404),
        ("delete_user", {"user_id": "1000"}, ROW),
        ("get_user", {"user_id": "1000"}, 404),
    ]  # fmt: skip
    check(steps, asked_by_pygorse(client, str(server.url), key, steps, tmp_path))
    assert events(settings) == [("1000", "2000", "click"), ("1000", "2000", "view"), ("1000", "2000", "view")]


@pytest.mark.skipif(NODE is None or NPM is None, reason="install node and npm: gorsejs runs on them")
def test_gorsejs(door: tuple[Running, str], settings: Settings, tmp_path: Path) -> None:
    """Each call of gorsejs 0.4.8, and what Gorse documents for it; 501 for what the door lacks."""
    server, key = door
    user = {"UserId": "100", "Labels": ["a", "b", "c"], "Comment": "comment"}
    item = {
        "ItemId": "100",
        "IsHidden": False,
        "Labels": ["a", "b", "c"],
        "Categories": ["d", "e"],
        "Timestamp": TIME,
        "Comment": "comment",
    }
    read = {"FeedbackType": "read", "UserId": "100", "ItemId": "100", "Timestamp": TIME}
    key_of = {"type": "read", "userId": "100", "itemId": "100"}
    steps: list[Step] = [
        ("insertUser", [user], 1),
        ("getUser", ["100"], user),
        ("updateUser", ["100", {"UserId": "100", "Labels": ["z"]}], 1),
        ("getUser", ["100"], user | {"Labels": ["z"]}),
        ("insertUsers", [[user, user | {"UserId": "101"}]], 2),
        ("getUsers", [{"n": 1}], {"Cursor": "MTAx", "Users": [user]}),
        ("upsertItem", [item], 1),
        ("upsertItems", [[item, {"ItemId": "200", "IsHidden": True, "Timestamp": TIME}]], 2),
        ("getItem", ["100"], item),
        ("updateItem", ["100", item | {"Comment": "other"}], 1),
        ("insertItemCategory", ["100", "f"], 1),
        ("deleteItemCategory", ["100", "d"], 1),
        ("getItem", ["100"], item | {"Comment": "other", "Categories": ["e", "f"]}),
        ("getItems", [{"n": 1}], {"Cursor": "MjAw", "Items": [item | {"Comment": "other", "Categories": ["e", "f"]}]}),
        ("insertFeedbacks", [[read, read | {"FeedbackType": "like"}]], 2),
        ("upsertFeedbacks", [[read | {"ItemId": "300"}]], 1),
        ("getLatest", [{}], [{"Id": "100", "Score": 1_659_832_006}]),
        ("getLatest", [{"category": "nothing", "cursorOptions": {"n": 3, "offset": 0}}], []),
        ("getRecommend", [{"userId": "100"}], ["100"]),
        ("getRecommend", [{"userId": "100", "category": "e", "cursorOptions": {"n": 5}}], ["100"]),
        *((name, given, 501) for name, given in (
            ("getFeedback", [key_of]), ("deleteFeedback", [key_of]), ("getFeedbacks", []), ("getFeedbacks", ["read"]),
            ("getItemFeedback", ["100"]), ("getItemFeedbackByType", ["100", "read"]), ("getUserFeedback", ["100"]),
            ("getUserFeedbackByType", ["100", "read"]), ("getUserNeighbors", [{"userId": "100"}]),
            ("getPopular", [{}]), ("getItemNeighbors", [{"itemId": "100"}]), ("getSessionRecommend", [[read]]),
        )),
        ("deleteItem", ["100"], 1),
        ("getItem", ["100"], 404),
        ("deleteUser", ["100"], 1),
        ("getUser", ["100"], 404),
    ]  # fmt: skip
    check(steps, asked_by_gorsejs(str(server.url), key, steps, tmp_path))
    assert events(settings) == [("100", "100", "click"), ("100", "100", "view"), ("100", "300", "view")]


def scores(server: Running, path: str, *asked: Any, **headers: str) -> list[dict[str, Any]]:
    """Return what the server's own API answers, in Gorse's form."""
    status, found = server.ask(path, *asked, **headers)
    assert status == 200, found
    return [{"Id": one["item_id"], "Score": one["score"]} for one in found["items"]]


@pytest.mark.model
@pytest.mark.usefixtures("catalogue")
@pytest.mark.skipif(NODE is None or NPM is None, reason="install node and npm: gorsejs runs on them")
def test_both_clients_get_what_the_model_says(settings: Settings, tmp_path: Path) -> None:
    """Popular items, neighbours and sessions are those of the server's own API."""
    variables = {
        "HEADRACE_SERVE_RANKING": "on",
        "HEADRACE_ARTIFACT": str(tiny.artifact()),
        "HEADRACE_SERVE_GORSE": "on",
    }
    variables["HEADRACE_ENCODER_CACHE_DIR"] = str(tmp_path / "texts")
    with serving(settings, tmp_path, **variables) as server:
        popular = scores(server, "/v1/popular?n=4")
        first = popular[0]["Id"]
        near = scores(server, f"/v1/items/{first}/similar?n=4")
        seen = FEEDBACK | {"ItemId": first}
        body = {"events": [{"item_id": first, "type": "view", "ts": 1_659_832_006_000}], "exclude": [first], "n": 4}
        listed = scores(server, "/v1/sessions/recommendations", "POST", body, **{"Content-Type": "application/json"})
        assert len(popular) == len(near) == len(listed) == 4
        four = {"cursorOptions": {"n": 3, "offset": 1}}
        steps: list[Step] = [
            ("get_neighbors", {"item_id": first, "n": 4}, near),
            ("get_neighbors", {"item_id": "stranger"}, []),
            ("session_recommend", {"feedbacks": [seen], "n": 4}, listed),
        ]
        check(steps, asked_by_pygorse("Gorse", str(server.url), "", steps, tmp_path))
        steps = [
            ("getPopular", [four], popular[1:]),
            ("getPopular", [{"category": "nothing"}], []),
            ("getItemNeighbors", [{"itemId": first} | four], near[1:]),
            ("getSessionRecommend", [[seen], four], listed[1:]),
        ]
        check(steps, asked_by_gorsejs(str(server.url), "", steps, tmp_path))
