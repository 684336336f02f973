"""Users of a file: features and follows in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.contract.records import RecordDecoder, User
from streams.errors import InputError
from tests.support.files import read_users
from tools.files.entries.sources import UserSource
from tools.files.file_options import FileOptions

COLUMNS = "user_id=id,features.age=age,features.city=city,follows=friends"


def test_movielens_users_are_read_by_position(tmp_path: Path) -> None:
    """A pipe between values, no header."""
    path = tmp_path / "u.user"
    path.write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    columns = "user_id=0,features.age=1,features.gender=2,features.occupation=3"
    assert read_users([path], FileOptions(columns)) == {
        "1": {"features": {"age": 24.0, "gender": "M", "occupation": "technician"}, "follows": []},
        "2": {"features": {"age": 53.0, "gender": "F", "occupation": "other"}, "follows": []},
    }


def test_all_formats_give_the_same_users(tmp_path: Path) -> None:
    """All formats give the same users; the contract accepts them."""
    rows: list[dict[str, Any]] = [
        {"id": "1", "age": 24.0, "city": "Bern", "friends": "2|3"},
        {"id": "2", "age": None, "city": "", "friends": ""},
    ]
    text = "id,age,city,friends\n" + "".join(",".join(str(v or "") for v in row.values()) + "\n" for row in rows)
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.tsv").write_text(text.replace(",", "\t"))
    atomic = text.replace("id,age,city,friends", "id:token,age:float,city:token,friends:token_seq")
    (tmp_path / "a.user").write_text(atomic.replace(",", "\t"))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected: dict[str, dict[str, Any]] = {
        "1": {"features": {"age": 24.0, "city": "Bern"}, "follows": ["2", "3"]},
        "2": {"features": {}, "follows": []},
    }
    for name in ("a.csv", "a.tsv", "a.user", "a.jsonl", "a.parquet"):
        assert read_users([tmp_path / name], FileOptions(COLUMNS)) == expected, name
    for user_id, user in expected.items():
        RecordDecoder(User).decode(msgspec.json.encode({"v": 1, "user_id": user_id, **user}))


def test_objects_and_lists_of_json_lines(tmp_path: Path) -> None:
    """Follows are ids, each once, without the user; an entry without id gives no user."""
    path = tmp_path / "users.jsonl"
    first = {"user_id": 7, "features": {"age": 1}, "follows": ["8", 9, None, "8", "", 7]}
    last = {"user_id": 7, "features": {"age": 2, "x": [1]}, "follows": ["8", 9, None, "8", "", 7]}
    entries = [first, last, {"user_id": None}, {"user_id": True}, {"user_id": " "}]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "no JSON\n")
    assert read_users([path], FileOptions()) == {"7": {"features": {"age": 2.0}, "follows": ["8", "9"]}}


def test_the_lines_of_a_user_in_a_file_of_pairs_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each user whom a user follows is a line.

    Such a line is no repeat; a later line without follows is one.
    """
    path = tmp_path / "trust.txt"
    path.write_text("2 966 1\n5 1509 1\n2 104 1\n2 966 1\n")
    columns = FileOptions("user_id=0,follows=1")
    assert {key: user["follows"] for key, user in read_users([path], columns).items()} == {
        "2": ["966", "104"],
        "5": ["1509"],
    }
    assert "repeat" not in capsys.readouterr().err
    path.write_text("id,friends,city\n2,966,Bern\n2,,Basel\n")
    found = read_users([path], FileOptions("user_id=id,follows=friends,features.city=city"))
    assert found == {"2": {"features": {"city": "Basel"}, "follows": []}}
    assert "1 row repeat" in capsys.readouterr().err


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """No file, no ids, no such column, no users: each says so."""
    path = tmp_path / "users.csv"
    with pytest.raises(InputError, match="no such file"):
        read_users([path], FileOptions())
    path.write_text("name,age\na,1\n")
    with pytest.raises(InputError, match="no column 'user_id'"):
        read_users([path], FileOptions())
    with pytest.raises(InputError, match="no column 'born'"):
        read_users([path], FileOptions("user_id=name,features.born=born"))
    path.write_text("user_id,age\n,1\n")
    with pytest.raises(InputError, match="no users"):
        read_users([path], FileOptions())


def test_follows_that_are_no_ids_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words for nothing are no ids either; the separator is the user's."""
    path = tmp_path / "users.csv"
    path.write_text(f"user_id,follows,features\n1,2 3.0 NULL 2,x\n2,{'y' * 200} 4,\nNULL,1,\nNULL,2,\n")
    users = UserSource((path,), separator=" ").read()
    assert {user_id: user["follows"] for user_id, user in users.items()} == {"1": ["2", "3"], "2": ["4"]}
    told = capsys.readouterr().err
    assert "follows: 1 of 4 hold no user id, for example 'yyy" in told
    assert "features: 1 of 1 are no object, for example 'x' in line 2; left out" in told
    assert "user_id is 'NULL' in 2 rows: left out as missing; --user-missing '' reads it as an id" in told
