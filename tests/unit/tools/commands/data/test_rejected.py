"""Rejects are counted, shown and redriven, each once."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.contract.records import EventDecoder, encode
from streams.contract.rejects import Reject
from streams.errors import InputError, RecordError
from streams.rejects import redrive
from streams.rejects.redrive import REDRIVEN_FROM, Redriver, Tally
from streams.rejects.reject_reader import RejectedEvent, Wanted, as_reject, mark, marked
from streams.settings.load import KafkaSettings
from tests.support.builders import T0, FakeRecord, make_event
from tools.commands.data.rejected import as_paragraph, as_text
from tools.main import main

KAFKA = KafkaSettings(topic_prefix="shop-")
GOOD = encode(make_event("e1"))


def make_reject(value: bytes | None = GOOD, key: bytes | None = b"u1", offset: int = 0, **more: Any) -> RejectedEvent:
    """Return a reject as it is read back from the topic."""
    error = RecordError(more.pop("reason", "partition"), more.pop("field", "key"), "detail")
    out = Reject(FakeRecord(key, value, offset, **more), error).as_record()
    found = as_reject(FakeRecord(out.key, out.value, headers=out.headers))
    assert found is not None
    return found


class Topic:
    """Takes records; ``fails_at`` makes the nth one raise."""

    def __init__(self, fails_at: int = -1) -> None:
        self.taken: list[tuple[str, bytes, bytes | None, list[tuple[str, bytes]]]] = []
        self.flushed = 0
        self.fails_at = fails_at

    async def publish(self, topic: str, key: bytes, value: bytes | None, headers: Any = None) -> None:
        """Take a record."""
        if len(self.taken) == self.fails_at:
            raise ConnectionError("killed")
        self.taken.append((topic, key, value, headers or []))

    async def flush(self) -> None:
        """Remember how much is delivered."""
        self.flushed = len(self.taken)

    def events(self) -> list[tuple[bytes, bytes | None]]:
        """Return key and value of the events."""
        return [(key, value) for topic, key, value, _ in self.taken if topic == "shop-events"]

    def marks(self) -> set[str]:
        """Return the ids that are marked."""
        return {
            found
            for topic, key, value, headers in self.taken
            if topic == "shop-events.rejected"
            for found in marked(FakeRecord(key, value, headers=headers))
        }


def send(rejects: list[RejectedEvent], sink: Topic | None, edit: str | None = None, done: Any = ()) -> Tally:
    """Redrive a list of rejects."""

    async def run() -> Tally:
        async def read() -> AsyncIterator[RejectedEvent]:
            for reject in rejects:
                yield reject

        redriver = Redriver(KAFKA, EventDecoder(60_000), edit, sink)
        await redriver.redrive(read(), set(done))
        return redriver.tally

    return asyncio.run(run())


def test_a_reject_is_sent_as_it_was_under_the_right_key_with_its_headers() -> None:
    """A wrong partitioner, or a missing key, is put right by publishing anew."""
    own = [("traceparent", b"00"), ("traceparent", b"01")]
    topic = Topic()
    reject = make_reject(key=None, reason="key", headers=own)
    assert send([reject], topic).sent == 1
    name, key, value, headers = topic.taken[0]
    assert (name, key, value) == ("shop-events", b"u1", GOOD)
    assert headers == [*own, (REDRIVEN_FROM, reject.id.encode())]


def test_each_reject_is_redriven_once() -> None:
    """A redriven record that is rejected again is another reject.

    Each is redriven once, also when more rejects come afterwards.
    """
    topic = Topic()
    rejects = [make_reject(offset=i) for i in range(3)]
    assert send(rejects, topic).sent == 3
    again = send([*rejects, make_reject(offset=3)], topic, done=topic.marks())
    assert (again.sent, again.redriven_before) == (1, 3)
    assert len(topic.events()) == 4 and len(topic.marks()) == 4


@pytest.mark.parametrize("fails_at", range(9))
def test_a_kill_in_the_middle_loses_nothing(fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marked reject was sent.

    A reject that was sent and not marked is sent again, with the same event id.
    """
    monkeypatch.setattr(redrive, "MARK_EVERY", 2)
    topic = Topic(fails_at)
    rejects = [make_reject(encode(make_event(f"e{i}")), offset=i) for i in range(6)]
    with pytest.raises(ConnectionError):
        send(rejects, topic)
    sent = {reject.id for reject in rejects if (b"u1", reject.value) in topic.events()}
    assert topic.marks() <= sent
    topic.fails_at = -1
    send(rejects, topic, done=topic.marks())
    assert {value for _, value in topic.events()} == {reject.value for reject in rejects}
    assert len(topic.marks()) == 6 and len(topic.events()) <= 6 + 2


def test_what_would_be_rejected_again_is_left() -> None:
    """A reject that comes back at once helps nobody."""
    topic = Topic()
    values = [None, b"", b"hello", b"\x80", encode(make_event("e", int(time.time() * 1000) + 10**9)), GOOD[:-5]]
    tally = send([make_reject(value, offset=i) for i, value in enumerate(values)], topic)
    assert (tally.sent, tally.left, topic.taken) == (0, len(values), [])
    assert tally.reasons_left == {"empty": 2, "malformed": 2, "missing": 1, "future": 1}


def test_a_reject_as_future_is_good_when_its_time_has_come() -> None:
    """It was the clock's fault."""
    assert send([make_reject(reason="future", field="ts")], Topic()).sent == 1


def test_nothing_is_sent_without_yes() -> None:
    """The dry run counts as the real one would."""
    tally = send([make_reject(), make_reject(b"bad", offset=1)], None)
    assert (tally.sent, tally.left) == (1, 1)


def test_a_reject_that_was_cut_is_not_taken_for_the_event_that_it_was() -> None:
    """Also where its beginning happens to be a good event; an edit may make one of it."""
    event = encode(make_event("e1"), as_json=True)
    reject = make_reject(event + b" " * 4_000_000)
    assert reject.size == str(len(event) + 4_000_000) and f"the beginning of {reject.size}" in "".join(
        as_paragraph(reject)
    )
    topic = Topic()
    assert send([reject], topic).reasons_left == {"too-large": 1} and topic.taken == []
    assert send([reject], topic, edit="cat").sent == 1


EDIT = "import json, sys; e = json.load(sys.stdin); e['ts'] *= 1000; e['user_id'] = str(e['user_id']); json.dump(e, sys.stdout)"


def test_what_a_forgotten_user_did_before_the_request_is_not_sent() -> None:
    """Neither by the key and the time of the reject, nor by what the event says."""
    marks, ours = {b"u1": T0 + 5}, [make_reject(offset=0, timestamp=T0 + 5), make_reject(offset=1, timestamp=T0 + 9)]

    async def run() -> Tally:
        async def read() -> AsyncIterator[RejectedEvent]:
            for reject in [*ours, make_reject(key=b"u2", offset=2, timestamp=T0)]:
                yield reject

        redriver = Redriver(KAFKA, EventDecoder(60_000), None, sink, marks)
        await redriver.redrive(read(), set())
        return redriver.tally

    sink = Topic()
    tally = asyncio.run(run())
    assert (tally.forgotten, tally.sent, tally.left) == (3, 0, 0) and not sink.events()


def test_an_edit_command_corrects_each_record() -> None:
    """Any program may correct times in seconds and ids as numbers.

    The key follows the corrected user.
    """
    fields = {"v": 1, "event_id": "e", "user_id": 7, "item_id": "i", "type": "view", "ts": T0 // 1000}
    topic = Topic()
    rejects = [make_reject(json.dumps(fields).encode()), make_reject(b"no json", offset=1)]
    tally = send(rejects, topic, edit=f'{sys.executable} -c "{EDIT}"')
    assert (tally.sent, tally.left, tally.reasons_left) == (1, 1, {"edit": 1})
    ((key, value),) = topic.events()
    assert key == b"7" and json.loads(value or b"") == fields | {"ts": T0, "user_id": "7"}
    assert topic.marks() == {rejects[0].id}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [(f"{sys.executable} -c pass", "edit"), ("false", "edit"), ("echo nonsense", "malformed"), ("sleep 60", "edit")],
)
def test_an_edit_that_fails_leaves_the_record(edit: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No value, a failure, no event, no end: nothing is sent, and the rest goes on."""
    monkeypatch.setattr(redrive, "EDIT_TIMEOUT_S", 0.5 if edit.startswith("sleep") else 30.0)
    topic = Topic()
    assert send([make_reject()], topic, edit=edit).reasons_left == {reason: 1}
    assert topic.taken == []


@pytest.mark.parametrize("edit", ["", "'open", "/no/such/program"])
def test_an_edit_that_is_no_command_is_bad_input(edit: str) -> None:
    """Told once, not for each record."""
    with pytest.raises(InputError, match="--edit"):
        send([make_reject()], Topic(), edit=edit)


def test_marks_and_rejects_are_told_apart() -> None:
    """A mark is no reject, and no reject is a mark, whatever its producer wrote."""
    key, value, headers = mark(["events/0/1/2"])
    assert as_reject(FakeRecord(key, value, headers=headers)) is None
    assert marked(FakeRecord(key, value, headers=headers)) == ["events/0/1/2"]
    forged = Reject(FakeRecord(key, value, headers=headers), RecordError("key", "key", "x")).as_record()
    assert marked(FakeRecord(forged.key, forged.value, headers=forged.headers)) == []
    assert marked(FakeRecord(key, b"\xff", headers=headers)) == []


def test_filters() -> None:
    """By reason, by field, by both."""
    reject = make_reject(reason="type", field="ts")
    assert all(reject in Wanted(*w) for w in [(None, None), ("type", None), (None, "ts"), ("type", "ts")])
    assert not any(reject in Wanted(*w) for w in [("key", None), (None, "user_id"), ("type", "user_id")])


def test_bytes_are_shown_as_one_printable_line() -> None:
    """Neither a terminal nor a log may be steered by what a producer sent."""
    assert as_text("茶\n\x1b[31m".encode() + b"\xff") == "茶\\n\\x1b[31m\\xff"
    shown = as_paragraph(make_reject(b"\x81\xa1x\x1b", key=b"\x1b", headers=[("a\x1b", b"\x00")]))
    assert all(line.isprintable() for line in shown)
    assert "  reads as {'x': 27}" in shown
    assert sum(map(len, as_paragraph(make_reject(b"x" * 60_000)))) < 3_000


@pytest.mark.parametrize(
    "argv",
    [
        ["list", "--yes"],
        ["show", "--edit", "cat"],
        ["list", "--count", "3"],
        ["show", "--count", "0"],
        ["redrive", "--count", "1"],
    ],
)
def test_options_that_do_not_go_together(argv: list[str]) -> None:
    """Refused before anything is read."""
    assert main(["rejected", *argv, "--broker", "127.0.0.1:1"]) == 2
