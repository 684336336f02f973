"""Pseudonymous user ids: the raw id is nowhere in what is published, and whoever has the key finds its user."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.pseudonyms import DIGEST_BYTES, Pseudonyms, open_pseudonyms
from streams.records import Event, RecordDecoder, encode
from streams.settings import KafkaSettings, Settings
from tests.builders import T0
from tools.log_reader import LogRow
from tools.produce import EventMaker
from tools.replay_loop import Pace, Replay
from tools.replay_run import TimeRange

KEY = "k" * 32
RAW = "raw-user-0042"
LINE = b'{"user_id": "raw-user-0042", "item_id": "i1", "type": "view", "ts": %d}' % T0


@pytest.fixture
def kafka(tmp_path: Path) -> KafkaSettings:
    """Give settings with a key file."""
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(f"{KEY}\n")
    return KafkaSettings(user_id_key_file=str(tmp_path / "key"))


def test_a_pseudonym_follows_from_key_and_id_alone() -> None:
    """Two producers with one key mean the same user; another key means other users."""
    found = Pseudonyms(KEY).of(RAW)
    assert found == Pseudonyms(KEY).of(RAW) != Pseudonyms(KEY + "x").of(RAW)
    assert found != Pseudonyms(KEY).of(RAW + " ")
    assert len(bytes.fromhex(found)) == DIGEST_BYTES
    assert found == "4db4edb2970cbd68f2127748d5efc68f", "a change of the function makes every user a new one"


def test_an_id_beyond_the_contract_is_left_to_be_refused() -> None:
    """Hashing would make a good id of a bad one."""
    assert [Pseudonyms(KEY).of(bad) for bad in ("", "u" * 129)] == ["", "u" * 129]


@pytest.mark.parametrize("key", ["zq9", "k" * 31])
def test_a_short_key_is_refused_unshown(kafka: KafkaSettings, key: str) -> None:
    """User ids are few: with a guessable key they are found by trying."""
    Path(kafka.user_id_key_file).write_text(key)
    with pytest.raises(SettingsError, match="needs 32; write one with") as caught:
        open_pseudonyms(kafka)
    assert key not in str(caught.value)


def test_no_key_file_means_ids_as_they_are() -> None:
    """Nobody pays for what nobody asked for."""
    assert open_pseudonyms(KafkaSettings()) is None


def test_a_produced_event_holds_no_trace_of_the_raw_id(kafka: KafkaSettings) -> None:
    """Neither key nor value, nor an event_id that could be found again from a guessed user."""
    pseudonyms = open_pseudonyms(kafka)
    assert pseudonyms is not None
    key, event = EventMaker(0, pseudonyms).make(1, LINE, T0)
    _, plain = EventMaker(0).make(1, LINE, T0)
    assert key.decode() == event.user_id == pseudonyms.of(RAW)
    assert RAW.encode() not in encode(event)
    assert event.event_id != plain.event_id and event.event_id[:13] == plain.event_id[:13]


class Taken:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []

    async def publish(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.records.append((key, value or b""))

    async def flush(self) -> None:
        """Do nothing."""


def test_a_replayed_event_holds_no_trace_of_the_raw_id(kafka: KafkaSettings, tmp_path: Path) -> None:
    """A log is replayed as its events would have been produced."""
    row = LogRow(2, None, RAW, "i1", "view", T0, None, None)
    ids = []
    for settings in (Settings(kafka=kafka), Settings(kafka=replace(kafka, user_id_key_file=""))):
        taken = Taken()
        asyncio.run(Replay(settings, "r@1", tmp_path / "run.json", TimeRange(), None).publish([row], taken, Pace(None)))
        ((key, value),) = taken.records
        event = RecordDecoder(Event).decode(value)
        assert key.decode() == event.user_id
        assert (RAW in event.user_id) is (not settings.kafka.user_id_key_file)
        ids.append(event.event_id)
    assert ids[0] != ids[1]
