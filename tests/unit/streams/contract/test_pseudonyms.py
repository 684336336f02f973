"""Pseudonymous user ids: no published record has the raw id, and the key's owner finds a user."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.pseudonyms import DIGEST_BYTES, MAKE_KEY, Pseudonyms, open_pseudonyms, weakness
from streams.contract.records import Event, RecordDecoder, encode
from streams.errors import SettingsError
from streams.settings.load import KafkaSettings, Settings
from tests.support.builders import T0, USER_ID_KEY, write_key
from tests.support.security.certificates import OPENSSL
from tools.commands.data.produce import EventMaker
from tools.files.cells.times import TimeRange
from tools.files.logs.log_rows import LogRow
from tools.replay.publish_log import Pace, Replay

KEY = USER_ID_KEY
RAW = "raw-user-0042"
LINE = b'{"user_id": "raw-user-0042", "item_id": "i1", "type": "view", "ts": %d}' % T0


@pytest.fixture
def kafka(tmp_path: Path) -> KafkaSettings:
    """Give settings with a key file."""
    return KafkaSettings(user_id_key_file=str(write_key(tmp_path / "key")))


def test_a_pseudonym_follows_from_key_and_id_alone() -> None:
    """Two producers with one key mean the same user; another key means other users."""
    found = Pseudonyms(KEY).of(RAW)
    assert found == Pseudonyms(KEY).of(RAW) != Pseudonyms(KEY + "x").of(RAW)
    assert found != Pseudonyms(KEY).of(RAW + " ")
    assert len(bytes.fromhex(found)) == DIGEST_BYTES
    assert Pseudonyms("k" * 32).of(RAW) == "4db4edb2970cbd68f2127748d5efc68f", (
        "a change of the function makes every user a new one"
    )


def test_an_id_beyond_the_contract_is_left_to_be_refused() -> None:
    """Hashing would make a good id of a bad one."""
    assert [Pseudonyms(KEY).of(bad) for bad in ("", "u" * 129)] == ["", "u" * 129]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("zq9", "is neither hexadecimal nor base64"),
        ("k" * 32, "is neither hexadecimal nor base64"),
        ("correct horse battery staple, correct horse", "is neither hexadecimal nor base64"),
        ("correcthorsebatterystaplecorrecthorse", "is neither hexadecimal nor base64"),
        (KEY[:30], "holds 15 bytes"),
        ("a" * 32, "repeats itself or counts"),
        ("00112233445566778899aabbccddeeff", "repeats itself or counts"),
        ("0123456789abcdef" * 4, "repeats itself or counts"),
        ("deadbeef" * 8, "repeats itself or counts"),
        ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "repeats itself or counts"),
        (base64.b64encode(bytes(range(32))).decode(), "repeats itself or counts"),
    ],
)
def test_a_key_that_can_be_guessed_is_refused_unshown(kafka: KafkaSettings, key: str, told: str) -> None:
    """User ids are few, so a guessed key finds all of them.

    The error gives the rule and a command.
    """
    Path(kafka.user_id_key_file).write_text(key)
    with pytest.raises(
        SettingsError, match=f"the key {told}, must be 16 or more random bytes.*openssl rand -hex 32"
    ) as caught:
        open_pseudonyms(kafka)
    assert key not in str(caught.value)


@given(st.binary(min_size=16, max_size=64), st.integers(0, 2))
def test_a_key_is_judged_by_its_bytes(drawn: bytes, form: int) -> None:
    """Bytes of which fewer than half differ are refused, in hexadecimal and in base64."""
    key = (drawn.hex(), base64.b64encode(drawn).decode(), base64.urlsafe_b64encode(drawn).decode())[form]
    if 2 * len(set(drawn)) < len(drawn):
        assert weakness(key)


@pytest.mark.parametrize("length", [16, 24, 32, 64, 1000])
def test_random_keys_are_taken(length: int) -> None:
    """A random key is never refused by bad luck: another key would rename every user."""
    rng = random.Random(length)
    for _ in range(300):
        drawn = rng.randbytes(length)
        spelt = [drawn.hex(), drawn.hex().upper()]
        if length > 16:  # base64 of 16 bytes lacks capitals or small letters once in 50,000 times
            spelt += [base64.b64encode(drawn).decode(), base64.urlsafe_b64encode(drawn).decode().rstrip("=")]
        assert [weakness(key) for key in spelt] == [""] * len(spelt)


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")
def test_the_command_of_the_error_makes_a_key_that_is_taken(tmp_path: Path) -> None:
    """Under the umask that hides nothing, too."""
    file = tmp_path / "made"
    subprocess.run(["sh", "-c", MAKE_KEY.replace("FILE", str(file))], check=True, umask=0)
    assert open_pseudonyms(KafkaSettings(user_id_key_file=str(file))) is not None


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
