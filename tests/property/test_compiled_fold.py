"""A batch has one outcome, whether the compiled loops fold it or the plain code does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.base.event_types import DEFAULT_TYPES, EventTypes
from streams.contract.records import Event, EventDecoder, encode
from streams.contract.windows import decode_window
from streams.errors import RecordError
from streams.kafka.publisher import KeyHomes
from streams.sequencer import absorb_batch as module
from streams.sequencer.absorb_batch import BatchResult, absorb_batch
from streams.sequencer.compiled.batch import fold_batch
from streams.sequencer.compiled.windows import FIXED_BYTES
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.property.test_packed_window import IDS, SPAN_MS, TYPES, any_bounds, events
from tests.support.builders import T0, FakeRecord, make_event

USERS = ["u1", "u2", "用户"]
NOW_MS = T0 + 10**6


def had(value: bytes | None) -> Callable[[bytes], bytes | None]:
    """Return a table in which every user has this window."""
    return lambda _key: value


def nobody(_users: Sequence[bytes]) -> list[int]:
    """Leave no user."""
    return []


def packed_map(event: Event, **more: Any) -> bytes:
    """Return an event as a map of msgpack with further fields, or others."""
    plain = msgspec.to_builtins(event)
    return msgspec.msgpack.encode(plain | more)


#: How a producer may write an event, right or wrong.
FORMS: dict[str, Callable[[Event, int], bytes | None]] = {
    "usual": lambda event, _: encode(event),
    "json": lambda event, _: encode(event, as_json=True),
    "turned": lambda event, _: msgspec.msgpack.encode(dict(reversed(msgspec.to_builtins(event).items()))),
    "nil": lambda event, _: packed_map(event, session_id=None, value=None),
    "session": lambda event, n: packed_map(event, session_id="s" * n, value=n / 7),
    "whole": lambda event, n: packed_map(event, value=n, ts=float(event.ts)),
    "large": lambda event, n: packed_map(event, value=10.0 ** (n % 20)),
    "not-finite": lambda event, n: packed_map(event, value=float("nan") if n % 2 else float("inf")),
    "unknown": lambda event, n: packed_map(event, more=[n, {"a": n}]),
    "version": lambda event, n: packed_map(event, v=n),
    "id": lambda event, n: packed_map(event, event_id="é" * n),
    "item": lambda event, n: packed_map(event, item_id="i" * (n * 9)),
    "type": lambda event, n: packed_map(event, type=["bought", "impression", "", n][n % 4]),
    "seconds": lambda event, _: packed_map(event, ts=event.ts // 1000),
    "future": lambda event, n: packed_map(event, ts=NOW_MS + 60_000 + n % 3 - 1),
    "below": lambda event, n: packed_map(event, ts=-n),
    "twice": lambda event, _: b"\x87" + encode(event)[1:] + b"\xa2ts\x01",
    "cut": lambda event, n: encode(event)[:-n],
    "behind": lambda event, n: encode(event) + b"\xc0" * n,
    "broken": lambda event, n: encode(event)[:n] + b"\xff" + encode(event)[n + 1 :],
    "long": lambda event, n: encode(event) + b"\x00" * 65_536,
    "empty": lambda _event, n: b"" if n % 2 else None,
}


@st.composite
def batches(draw: st.DrawFn, types: EventTypes) -> list[list[FakeRecord]]:
    """Return the records of three users in any order, in batches."""
    logs = [[replace(event, user_id=user) for event in draw(events())] for user in USERS]
    records: list[FakeRecord] = []
    for user in draw(st.permutations([user for user, log in enumerate(logs) for _ in log])):
        event = replace(logs[user].pop(0), type=draw(st.sampled_from(types.names)))
        form = draw(st.sampled_from(["usual"] * 3 * len(FORMS) + list(FORMS)))
        key: bytes | None = event.user_id.encode()
        if draw(st.integers(0, 40)) == 0:
            key = draw(st.sampled_from([None, b"", b"u2", b"\xff"]))
        records.append(FakeRecord(key, FORMS[form](event, draw(st.integers(1, 130))), len(records)))
    marks = sorted(draw(st.sets(st.integers(1, len(records)), max_size=8)) | {len(records)})
    return [records[begin:end] for begin, end in zip([0, *marks], marks, strict=False)]


def outcome(result: BatchResult) -> tuple[Any, ...]:
    """Return what callers read of a result, in an order that does not matter to them."""
    rejects = sorted((each.record.offset, each.error.reason, each.error.detail) for each in result.rejects)
    return result.counts, result.windows, result.damaged, rejects


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([DEFAULT_TYPES, TYPES]), st.booleans())
def test_a_batch_has_one_outcome_whichever_way_it_is_folded(
    data: st.DataObject, types: EventTypes, has_home: bool
) -> None:
    """Records of every form, of several users, over drawn bounds, and windows that are damaged."""
    bounds, later = data.draw(any_bounds(types)), data.draw(any_bounds(types))
    cut = data.draw(batches(types))
    decoder, windows = EventDecoder(60_000, types), dict[bytes, bytes]()
    home = KeyHomes(2, "crc32") if has_home else None
    mended = {b"u1": None} if data.draw(st.integers(0, 5)) == 0 else None
    marks = {b"u2": T0 + data.draw(st.integers(-1, SPAN_MS))} if data.draw(st.integers(0, 5)) == 0 else {}
    for i, batch in enumerate(cut):
        bound = bounds if i < len(cut) // 2 else later
        if windows and data.draw(st.integers(0, 6)) == 0:
            key = data.draw(st.sampled_from(sorted(windows)))
            at, junk = data.draw(st.integers(0, len(windows[key]))), data.draw(st.binary(max_size=4))
            windows[key] = windows[key][:at] + junk + windows[key][at + 1 :]
        plain, compiled = (
            folded(at_least, batch, windows.get, decoder, bound, mended, home, marks) for at_least in (10**9, 1)
        )
        if not plain.damaged and all(is_sound(value) for value in windows.values()):
            assert outcome(compiled) == outcome(plain)
        for key in {*plain.damaged}:
            windows.pop(key)
        windows.update({key: value for key, value in plain.windows.items() if is_sound(value)})


def folded(at_least: int, *arguments: Any) -> BatchResult:
    """Return the result of a batch that the compiled loops take from ``at_least`` records on."""
    batch, read, decoder, bounds, mended, home, marks = arguments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPILED_RECORDS", at_least)
        return absorb_batch(batch, read, decoder, bounds, NOW_MS, mended, home, marks)


def is_sound(value: bytes) -> bool:
    """Return whether a window is one that headrace writes."""
    try:
        return encode(decode_window(value)) == value
    except RecordError:
        return False


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), min_size=1, max_size=4), any_bounds(), any_bounds())
def test_usual_events_are_never_left(logs: list[list[Event]], bounds: WindowBounds, later: WindowBounds) -> None:
    """Newer, older, tied, repeated and late events, and bounds that change, need no decoded window.

    So the compiled loops alone must give the bytes and the counts of the plain fold.
    """
    value: bytes | None = None
    for n, log in enumerate(logs):
        numbered = [(replace(event, run=None, seq=None), i) for i, event in enumerate(log)]
        bound = later if n > len(logs) // 2 else bounds
        records = [FakeRecord(b"u1", encode(event), i) for event, i in numbered]
        found = fold_batch(records, had(value), EventDecoder(60_000), bound, NOW_MS, nobody)
        plain = absorb(decode_window(value) if value else None, numbered, bound)
        assert found.left == []
        assert (found.accepted, found.duplicate, found.late) == (plain.accepted, plain.duplicate, plain.late)
        expected = encode(plain.state) if plain.state else None
        assert found.windows.get(b"u1") == expected
        room = len(value or b"") + 2 * sum(len(encode(event)) for event, _ in numbered) + FIXED_BYTES
        assert len(expected or b"") <= room, "the loops would write beyond the array"
        value = expected or value


@settings(max_examples=100, deadline=None)
@given(events(), any_bounds(TYPES), st.data())
def test_windows_with_every_field_take_usual_events(
    log: list[Event], bounds: WindowBounds, data: st.DataObject
) -> None:
    """What was hidden, passed or replayed stays as it was, and its repeats are recognised."""
    typed = [replace(event, type=data.draw(st.sampled_from(TYPES.names))) for event in log]
    state = absorb(None, [(event, i) for i, event in enumerate(typed)], bounds).state
    value = encode(state) if state else None
    more = [make_event(data.draw(IDS), T0 + data.draw(st.integers(0, 60 * SPAN_MS)), item_id="i1") for _ in range(9)]
    records = [FakeRecord(b"u1", encode(event), i) for i, event in enumerate(more)]
    found = fold_batch(records, had(value), EventDecoder(10**9, TYPES), bounds, NOW_MS, nobody)
    plain = absorb(decode_window(value) if value else None, [(event, i) for i, event in enumerate(more)], bounds)
    assert found.left == []
    assert found.windows.get(b"u1") == (encode(plain.state) if plain.state else None)
    assert (found.accepted, found.duplicate, found.late) == (plain.accepted, plain.duplicate, plain.late)


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_bytes_of_any_kind_end_no_worker(value: bytes, window: bytes) -> None:
    """Neither as a record nor as a window: what is not understood is left."""
    records = [FakeRecord(b"u1", value, 0), FakeRecord(b"u2", encode(make_event("e", user_id="u2")), 1)]
    found = fold_batch(records, had(window), EventDecoder(60_000), WindowBounds(), NOW_MS, nobody)
    assert [record.offset for record in found.left] == [0, 1]


def test_a_window_of_another_version_is_left() -> None:
    """The plain code refuses it with a reason."""
    state = absorb(None, [(make_event("a"), 0)], WindowBounds()).state
    assert state is not None
    records = [FakeRecord(b"u1", encode(make_event("b", T0 + 1)), 0)]
    for version, n_left in ((1, 0), (2, 1)):
        value = encode(replace(state, v=version))
        found = fold_batch(records, had(value), EventDecoder(60_000), WindowBounds(), NOW_MS, lambda _: [])
        assert len(found.left) == n_left


def test_a_window_out_of_order_is_left() -> None:
    """No headrace writes one; the plain fold would search it by halves, and find other places."""
    state = absorb(None, [(make_event(f"e{i}", T0 + i), i) for i in range(4)], WindowBounds()).state
    assert state is not None
    records = [FakeRecord(b"u1", encode(make_event("b", T0 + 1)), 0)]
    for items, n_left in ((state.items, 0), (state.items[::-1], 1)):
        value = encode(replace(state, items=items))
        found = fold_batch(records, had(value), EventDecoder(60_000), WindowBounds(), NOW_MS, nobody)
        assert len(found.left) == n_left
