"""Events of forgotten users: counted, and their bytes go nowhere."""

from __future__ import annotations

import pytest

from streams.contract.marks import later_part
from streams.contract.records import EventDecoder, encode
from streams.contract.windows import decode_window
from streams.health.counters import Counts
from streams.sequencer.absorb_batch import absorb_batch
from streams.sequencer.mending import Mender
from streams.settings.load import load_settings
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord, make_event, make_record

DECODER = EventDecoder(60_000)
BOUNDS = WindowBounds()
MARK = T0 + 1_000
MARKS = {b"u1": MARK}
NOW = T0 + 1_000_000


def bad(value: bytes, key: bytes | None, timestamp: int) -> FakeRecord:
    """Return a record that breaks the contract."""
    return FakeRecord(key, value, timestamp=timestamp)


def test_events_up_to_the_request_are_forgotten_and_later_ones_begin_anew() -> None:
    """The mark counts, not the order in which events come; the five counts add up."""
    times = (T0, MARK, MARK + 1, T0 + 5, MARK + 2)
    records = [make_record(make_event(f"e{n}", ts), n) for n, ts in enumerate(times)]
    records.append(make_record(make_event("other", T0, user_id="u2"), 5))
    result = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW, marks=MARKS)
    assert result.counts == Counts(read=6, accepted=3, forgotten=3)
    state = decode_window(result.windows[b"u1"])
    assert ([item.event_id for item in state.items], state.revision) == (["e2", "e4"], MARK + 3)
    assert decode_window(result.windows[b"u2"]).revision == 1


def test_the_window_of_the_former_life_is_never_built_on() -> None:
    """The sequencer may read an event before it has removed the window."""
    before = absorb_batch([make_record(make_event("old", T0), 0)], lambda _key: None, DECODER, BOUNDS, NOW).windows
    record = make_record(make_event("new", MARK + 1), 1)
    result = absorb_batch([record], before.get, DECODER, BOUNDS, NOW, marks=MARKS)
    assert [item.event_id for item in decode_window(result.windows[b"u1"]).items] == ["new"]
    again = absorb_batch([record], result.windows.get, DECODER, BOUNDS, NOW, marks=MARKS)
    assert again.counts == Counts(read=1, duplicate=1) and not again.windows


def test_events_after_the_request_stay_when_they_were_read_before_it() -> None:
    """Whenever the sequencer learns of the request, the window is that of the new life's events."""
    times = (T0, MARK + 1, MARK + 2, T0 + 5, MARK + 3)
    records = [make_record(make_event(f"e{n}", ts), n) for n, ts in enumerate(times)]
    wanted = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW, marks=MARKS).windows
    for n_before in range(len(records)):
        windows = absorb_batch(records[:n_before], lambda _key: None, DECODER, BOUNDS, NOW).windows
        after = absorb_batch(records[n_before:], windows.get, DECODER, BOUNDS, NOW, marks=MARKS)
        assert after.windows == wanted, f"{n_before} events were read before the request"
        assert after.counts.accepted + after.counts.forgotten == len(records) - n_before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"u1", b"\xff no record"),
        (None, encode(make_event("e1", T0))),
        (b"u2", encode(make_event("e1", T0))),
        (b"u2", b'{"v": 1, "user_id": "u1", "type": "nonsense"}'),
    ],
)
def test_rejects_of_the_former_life_go_nowhere(key: bytes | None, value: bytes) -> None:
    """Neither to events.rejected: its bytes are the user's too. Later ones are rejects as ever."""
    records = [bad(value, key, MARK), bad(value, key, MARK + 1)]
    result = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW, marks=MARKS)
    assert result.counts == Counts(read=2, rejected=1, forgotten=1)
    assert [reject.record for reject in result.rejects] == records[1:]


def test_a_reject_of_another_user_stays_a_reject() -> None:
    """Bytes that name nobody, and hostile ones, are not forgotten."""
    values = [b"", b"\xff", b'{"user_id": "\\ud800"}', b'{"user_id": 5}', b"[1]", b'{"user_id": "u2"}']
    result = absorb_batch([bad(v, b"u2", T0) for v in values], lambda _key: None, DECODER, BOUNDS, NOW, marks=MARKS)
    assert result.counts == Counts(read=len(values), rejected=len(values))


def test_a_mended_window_holds_the_present_life_alone() -> None:
    """Rebuilding reads all events that are kept, those of before the request too."""
    mender = Mender(load_settings({}).kafka, DECODER, BOUNDS, 1.0, MARKS)
    states = dict.fromkeys((b"u1", b"u2"))
    times = ((T0, "u1"), (MARK + 1, "u1"), (T0, "u2"))
    records = [make_record(make_event(f"e{n}", ts, user_id=user), n) for n, (ts, user) in enumerate(times)]
    mender.fold(states, records, NOW)
    mended, other = states[b"u1"], states[b"u2"]
    assert mended is not None and [item.event_id for item in mended.items] == ["e1"]
    assert other is not None and other.revision == 1
    whole = absorb_batch(records, lambda _key: None, DECODER, BOUNDS, NOW, marks=MARKS).windows[b"u1"]
    assert encode(mended) == whole and later_part(whole, MARK + 50) is None
