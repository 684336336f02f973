"""``headrace init``: what it writes is what the other commands read, with no option typed twice."""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.settings.load import load_settings
from tests.support.files import read_items, read_users
from tools.files.entries.sources import CatalogueSource, UserSource
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import EventRules, LogRow
from tools.files.refused_rows import RefusedRows
from tools.main import main

TS = 1_700_000_000
LOG = "用户编号,商品编号,行为,时间\n" + "".join(
    f"u{i % 7},g{i % 5},{('浏览', '购买', '点击')[i % 3]},2024-03-0{1 + i % 9} 08:30:00\n" for i in range(60)
)
ITEMS = "商品编号,商品名称,类目\n" + "".join(f"g{i},保温杯{i}号 不锈钢,家居\n" for i in range(6))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written() -> dict[str, Any]:
    """Return the sections of headrace.toml."""
    return tomllib.loads(Path("headrace.toml").read_text("utf-8"))


def train_args() -> argparse.Namespace:
    """Return what train takes from headrace.toml when nothing else is typed."""
    parser = argparse.ArgumentParser()
    importlib.import_module("tools.commands.learning.train").add_arguments(parser)
    return parser.parse_args(["--out", "model"] if "log" in written() else ["none.csv", "--out", "model"])


def read_log() -> tuple[list[LogRow], RefusedRows]:
    """Return the events that train would read, and the refused rows."""
    refused = RefusedRows()
    return list(LogReader(LogSource.of(train_args()), refused)), refused


def options_of_items() -> tuple[Sequence[Path], FileOptions]:
    """Return the files of the catalogue that train would read, and how."""
    source = CatalogueSource.of(train_args())
    assert source is not None
    return source.paths, source.files


def titles() -> dict[str, str]:
    """Return the titles that train would read, by id."""
    return {key: item["title"] for key, item in read_items(*options_of_items()).items()}


def test_train_reads_all_of_a_chinese_export_without_an_option() -> None:
    """GB18030, Chinese names and types, and times without a zone become events of the contract."""
    Path("导出.csv").write_bytes(LOG.encode("gb18030"))
    Path("商品.csv").write_bytes(ITEMS.encode("gb18030"))
    assert main(["init", "商品.csv", "导出.csv"]) == 0
    events, refused = read_log()
    assert (len(events), refused.n) == (60, 0)
    assert Counter(event.type for event in events) == {"view": 20, "purchase": 20, "click": 20}
    assert events[0].ts_ms == 1_709_253_000_000  # 2024-03-01 00:30 UTC, which is 08:30 in Shanghai
    assert (events[0].user_id, events[0].item_id) == ("u0", "g0")
    assert titles()["g3"] == "保温杯3号 不锈钢"
    log = written()["log"]
    assert (log["encoding"], log["time_zone"], log["types"]["购买"]) == ("gb18030", "Asia/Shanghai", "purchase")


def test_files_without_a_header_are_read_by_position() -> None:
    """Any delimiter, gzip, a catalogue of another delimiter, and users who follow others."""
    rows = "".join(f"{i // 4}::{900 + i % 8}::{1 + i % 5}::{TS + i}\n" for i in range(80))
    Path("ratings.dat.gz").write_bytes(gzip.compress(rows.encode()))
    Path("movies.dat").write_bytes(
        "".join(f"{900 + i}::Café du Nord {i} (1999)::Drama|War\n" for i in range(8)).encode("cp1252")
    )
    Path("users.dat").write_text("".join(f"{i}::{'MF'[i % 2]}::{18 + i % 3 * 7}::{i % 4}\n" for i in range(20)))
    assert main(["init", "movies.dat", "users.dat", "ratings.dat.gz"]) == 0
    events, refused = read_log()
    assert (len(events), refused.n, events[5].user_id, events[5].item_id) == (80, 0, "1", "905")
    assert titles()["903"] == "Café du Nord 3 (1999)"
    source = UserSource.of(train_args())
    assert source is not None and len(read_users(source.paths, source.files)) == 20


def test_a_log_without_times_is_one() -> None:
    """Counts of plays make a log without times, and a list of friends makes users who follow."""
    Path("plays.tsv").write_text(
        "userID\tartistID\tplays\n" + "".join(f"{i // 5}\t{i % 9}\t{i * 7}\n" for i in range(50))
    )
    Path("friends.tsv").write_text("userID\tfriendID\n1\t2\n1\t3\n2\t1\n")
    assert main(["init", "plays.tsv", "friends.tsv"]) == 0
    assert written()["log"]["no_times"] is True and written()["users"]["columns"]["follows"] == "friendID"
    events, refused = read_log()
    assert (len(events), refused.n) == (50, 0)


def test_json_lines_are_read_by_path() -> None:
    """Fields of nested records are named by their path."""
    lines = [
        {"context": {"user": {"id": f"u{i % 4}"}}, "payload": {"product_id": i % 3}, "event": "view", "time": TS + i}
        for i in range(30)
    ]
    Path("events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["init", "events.jsonl"]) == 0
    events, refused = read_log()
    assert (len(events), refused.n, events[1].user_id, events[1].item_id) == (30, 0, "u1", "1")


def test_a_known_export_is_read_by_its_preset() -> None:
    """One line of OTTO's log is a session of several events.

    Its types are those of the proposed table.
    """
    kinds = ("clicks", "carts", "orders")
    sessions = [
        {"session": i, "events": [{"aid": i % 5 + k, "ts": TS * 1_000 + k, "type": kinds[k]} for k in range(3)]}
        for i in range(20)
    ]
    Path("train.jsonl").write_text("".join(json.dumps(session) + "\n" for session in sessions))
    assert main(["init", "train.jsonl"]) == 0
    assert written()["log"]["format"] == "otto" and "columns" not in written()["log"]
    rules = EventRules(types=load_settings({}).sequencer.types().names)
    events = list(LogReader(LogSource.of(train_args()), RefusedRows(), rules))
    assert Counter(event.type for event in events) == {"click": 20, "cart": 20, "purchase": 20}


def test_rows_in_an_envelope_are_read_by_their_columns() -> None:
    """Debezium's changes have the shop's own columns inside."""
    rows = [{"uid": f"u{i % 4}", "sku": i % 6, "created_at": TS + i} for i in range(30)]
    Path("changes.json").write_text("".join(json.dumps({"payload": {"after": row, "op": "c"}}) + "\n" for row in rows))
    assert main(["init", "changes.json"]) == 0
    assert written()["log"]["format"] == "debezium"
    events, refused = read_log()
    assert (len(events), refused.n, events[1].item_id) == (30, 0, "1")


def test_a_folder_of_parts_is_one_log() -> None:
    """Parquet parts, as Spark writes them, are named by their folder."""
    Path("log").mkdir()
    for part in range(2):
        columns = {
            "uid": [f"u{i % 5}" for i in range(20)],
            "sku": [i % 6 for i in range(20)],
            "ts": [TS + i for i in range(20)],
        }
        pq.write_table(pa.table(columns), f"log/part-0000{part}.parquet")
    Path("log/_SUCCESS").touch()
    assert main(["init", "log"]) == 0
    assert written()["log"]["paths"] == ["log"]
    assert len(read_log()[0]) == 40


def test_the_users_settings_stay_and_sections_are_replaced_only_with_consent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a terminal it asks for --yes; other settings and other sections stay."""
    Path("a.csv").write_text(LOG)
    assert main(["init", "a.csv"]) == 0
    file = Path("headrace.toml")
    file.write_text("partitions = 9  # ours\n" + file.read_text("utf-8") + '\n[users]\npaths = ["u.csv"]\n')
    before = file.read_text("utf-8")
    assert main(["init", "a.csv"]) == 0 and tomllib.loads(file.read_text("utf-8")) == tomllib.loads(before)
    Path("b.csv").write_text(LOG)
    assert main(["init", "b.csv"]) == 2 and "[log] would be replaced; add --yes" in capsys.readouterr().err
    assert written()["log"]["paths"] == ["a.csv"]
    assert main(["init", "b.csv", "--yes"]) == 0
    assert written()["log"]["paths"] == ["b.csv"] and written()["users"] == {"paths": ["u.csv"]}
    assert "partitions = 9  # ours" in file.read_text("utf-8")


def test_dry_run_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run writes nothing.

    The object has the columns with how sure they are, the types, and the file's text.
    """
    Path("log.csv").write_text(LOG)
    Path("items.csv").write_text(ITEMS)
    assert main(["init", "log.csv", "items.csv", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not Path("headrace.toml").exists() and found["written"] is False
    assert found["log"]["columns"]["item_id"] == {"column": "商品编号", "sure": "sure", "why": "by its name"}
    assert {"word": "购买", "count": 20, "type": "purchase"} in found["log"]["types"]
    assert tomllib.loads(found["settings"])["items"]["paths"] == ["items.csv"]
    assert any("Asia/Shanghai is a guess" in line for line in found["checks"])


def test_people_see_the_first_rows_as_understood_and_the_next_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Times are in UTC, types in headrace's words.

    Then come the values to check and the commands to type next.
    """
    Path("log.csv").write_text(LOG)
    assert main(["init", "log.csv"]) == 0
    out = capsys.readouterr().out
    for part in (
        "2024-03-01 00:30:00 UTC",
        "view (浏览)",
        "check: times name no zone",
        "headrace train --repeats always --out",
    ):
        assert part in out


@pytest.mark.parametrize(
    ("log", "has_items", "last"),
    [
        (LOG, False, ["headrace replay"]),
        (LOG, True, ["headrace replay --with-catalogue"]),
        ("user,item\n" + "".join(f"u{i % 7},g{i % 5}\n" for i in range(40)), False, ["headrace up"]),
        ("user,item\n" + "".join(f"u{i % 7},g{i % 5}\n" for i in range(40)), True, ["headrace items put"]),
    ],
    ids=["log", "log-and-items", "no-times", "no-times-and-items"],
)
def test_each_command_that_is_proposed_takes_the_files(
    log: str, has_items: bool, last: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Replay refuses a log without times, so it is proposed for none."""
    Path("log.csv").write_text(log)
    Path("goods.csv").write_text("id,title\n" + "".join(f"g{i},Lamp number {i}\n" for i in range(5)))
    assert main(["init", "log.csv", *(["goods.csv"] if has_items else [])]) == 0
    told = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  headrace ")]
    assert told[0].startswith("headrace train") and told[1] == "headrace up"
    assert told[-len(last) :] == last


def test_words_that_are_no_types_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A type without a known meaning is not mapped, and is said to be refused."""
    Path("log.csv").write_text(
        "user,item,action,ts\n" + "".join(f"{i % 5},{i % 4},{('view', 'zorp')[i % 2]},{TS + i}\n" for i in range(40))
    )
    assert main(["init", "log.csv"]) == 0
    assert "zorp (20); map them, or their rows are refused" in capsys.readouterr().out
    assert "type 'zorp' of 20 rows is not mapped" in Path("headrace.toml").read_text()


def test_types_beyond_the_usual_ones_get_a_table_that_the_settings_take() -> None:
    """加购 is a cart and 踩 a dislike, which hides its item; a second run changes nothing."""
    words = ("浏览", "加购", "踩", "购买")
    rows = "".join(f"u{i % 7},g{i % 5},{words[i % 4]},{TS + i}\n" for i in range(60))
    Path("log.csv").write_text("用户编号,商品编号,行为,时间\n" + rows)
    assert main(["init", "log.csv"]) == 0
    assert written()["event_types"]["dislike"] == {"hides": True}
    assert load_settings({}).sequencer.types().names == ("click", "view", "purchase", "cart", "dislike")
    args = train_args()
    rules = EventRules(types=load_settings({}).sequencer.types().names)
    events = list(LogReader(LogSource.of(args), RefusedRows(), rules))
    assert Counter(event.type for event in events) == {"view": 15, "cart": 15, "dislike": 15, "purchase": 15}
    before = Path("headrace.toml").read_text("utf-8")
    assert main(["init", "log.csv"]) == 0 and Path("headrace.toml").read_text("utf-8") == before


def test_a_table_of_the_user_is_kept() -> None:
    """Words are mapped to the types that the settings have, and the table is not touched."""
    Path("headrace.toml").write_text("[event_types]\nview = {}\nbuy = { weight = 4 }\n")
    Path("headrace.toml").chmod(0o600)
    Path("log.csv").write_text(LOG)
    assert main(["init", "log.csv"]) == 0
    assert written()["event_types"] == {"view": {}, "buy": {"weight": 4}}
    assert written()["log"]["types"] == {"浏览": "view", "购买": "buy", "点击": "view"}


def test_a_word_for_nothing_in_many_texts_is_missing() -> None:
    """UNKNOWN in a fifth of the texts is added to the words for nothing, which stay as they are."""
    rows = "".join(
        f"{i},Kettle {i} of steel,{'UNKNOWN' if i % 5 == 0 else f'Boils {i} litres of water'}\n" for i in range(50)
    )
    Path("items.csv").write_text("item_id,title,description\n" + rows)
    assert main(["init", "items.csv"]) == 0
    assert written()["items"]["missing"] == [*FileOptions().missing.split(","), "UNKNOWN"]
    texts = [item.get("text") for item in read_items(*options_of_items()).values()]
    assert texts.count(None) == 10


def test_files_of_two_shops_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A catalogue without an item of the log is a line to check."""
    Path("log.csv").write_text(LOG)
    Path("items.csv").write_text("商品编号,商品名称\n" + "".join(f"x{i},连衣裙 第{i}款\n" for i in range(9)))
    assert main(["init", "log.csv", "items.csv"]) == 0
    assert "check: items.csv has none of the items of log.csv" in capsys.readouterr().out


def no_file() -> None:
    """Leave the file out."""


def of_numbers() -> None:
    """Write a matrix."""
    Path("x.csv").write_text("0.5,0.25\n0.75,0.125\n")


def empty() -> None:
    """Write a file without rows."""
    Path("x.csv").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [(no_file, "x.csv: no such file"), (of_numbers, "no log, catalogue or users were found"), (empty, "x.csv")],
    ids=["missing", "matrix", "empty"],
)
def test_what_cannot_be_used_is_refused_in_a_line(
    make: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, and nothing is written."""
    make()
    assert main(["init", "x.csv"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not Path("headrace.toml").exists()
