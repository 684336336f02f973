"""The command reads a log as the records that a replay publishes, and checks catalogues."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Event, RecordDecoder, encode
from streams.kafka.publisher import partition_of
from streams.settings.load import KafkaSettings, Settings
from tests.support.builders import T0, USER_ID_KEY, write_key
from tools.catalogue.items_topic import items_of_file
from tools.commands.learning.oracle import log_records
from tools.files.entries.sources import CatalogueSource
from tools.files.file_options import FileOptions
from tools.files.logs.log_rows import LogRow
from tools.main import main
from tools.replay.identity import to_event


def make_row(line: int, user_id: str) -> LogRow:
    """Return a row of a log."""
    return LogRow(line, None, user_id, f"i{line}", "view", T0 + line, None, None)


def test_a_log_becomes_the_records_of_its_replay() -> None:
    """Offsets have no gaps; a row that a replay refuses has a place in the run but no offset."""
    users = ["u1", "u2", "u3", "x" * 200, "u1", "u2", "u4"]
    settings = Settings(kafka=KafkaSettings(topic_prefix="p-", partitions=3))
    records = list(log_records([make_row(i, user) for i, user in enumerate(users)], "r@1", settings))
    decoder = RecordDecoder(Event)
    events = [decoder.decode(record.value) for record in records]
    assert [(event.user_id, event.run, event.seq) for event in events] == [
        (user, "r@1", seq) for seq, user in enumerate(users) if user[0] == "u"
    ]
    offsets: dict[int, int] = {}
    for record, event in zip(records, events, strict=True):
        assert record.key == event.user_id.encode()
        assert record.partition == partition_of(record.key, 3)
        assert (record.topic, record.offset) == ("p-events", offsets.get(record.partition, 0))
        offsets[record.partition] = record.offset + 1


def test_a_log_under_a_key_has_the_users_of_its_replay(tmp_path: Path) -> None:
    """Key, value and the event ids derived from them hold the pseudonym."""
    write_key(tmp_path / "key")
    settings = Settings(kafka=KafkaSettings(user_id_key_file=str(tmp_path / "key")))
    (record,) = log_records([make_row(1, "u1")], "r@1", settings)
    row = replace(make_row(1, "u1"), user_id=Pseudonyms(USER_ID_KEY).of("u1"))
    assert record.key == row.user_id.encode()
    assert record.value == encode(to_event(row, "r@1", 0))


def test_items_of_a_file_keep_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``headrace items put`` publishes them; a bad entry is shown and left out."""
    path = tmp_path / "items.csv"
    path.write_text(f"item_id,name,price\ni1,One,2.5\n{'x' * 200},Two,1\n")
    (item,) = items_of_file(CatalogueSource((path,), FileOptions("title=name")))
    assert (item.item_id, item.title, item.price) == ("i1", "One", 2.5)
    assert "length" in capsys.readouterr().err


def test_options_of_a_log_need_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would be passed over is refused."""
    assert main(["oracle", "--columns", "user_id=u"]) == 2
    assert "--columns: is for a log" in capsys.readouterr().err
