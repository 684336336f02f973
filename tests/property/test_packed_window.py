"""The window as bytes is the plain fold: same bytes, same counts, whatever arrives."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.base.event_types import DEFAULT_TYPES, EventTypes, event_types
from streams.contract.records import Event, encode
from streams.contract.windows import decode_window
from streams.sequencer.packed_window import absorb_packed
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, make_event

SPAN_MS = 400
TYPES = event_types(
    {
        "view": {},
        "click": {},
        "purchase": {"weight": 3},
        "rating": {"positive_when": ">= 4"},
        "dislike": {"hides": True},
        "block": {"hides": True, "window": False},
        "impression": {"window": False, "shown": True},
        "ping": {"window": False},
    }
)
#: Ids that contain each other, ids as item ids, every length field of msgpack, and bytes of
#: markers.
IDS = st.sampled_from(
    [
        "1",
        "11",
        "e1",
        "e11",
        "i3",
        "view",
        "x" * 31,
        "x" * 32,
        "y" * 128,
        "€" * 100,
        "\x00В\u03c0",
        "§trigger",
        "Ŕ\x00\x00",
    ]
) | st.text(min_size=1, max_size=6)
ITEMS = st.sampled_from(["i1", "i2", "i3", "e1", "z" * 40, "商品", "€" * 100])


@st.composite
def events(draw: st.DrawFn, is_mostly_ordered: bool = True) -> list[Event]:
    """Return events of one user.

    Most are newer than the last one; some tie with it, some are older, repeated, or of runs.
    """
    made: list[Event] = []
    ts = T0
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["newer"] * 6 + ["tie", "older", "repeat", "leap"]))
        if kind == "repeat" and made:
            made.append(draw(st.sampled_from(made)))
            continue
        ts += {"newer": draw(st.integers(1, 20)), "leap": SPAN_MS * 3}.get(kind, 0)
        at = ts - draw(st.integers(1, SPAN_MS)) if kind == "older" else ts
        run, seq = draw(st.sampled_from([(None, None)] * 6 + [("r", len(made)), ("s", 3), ("t", None)]))
        event = make_event(draw(IDS), max(T0, at), item_id=draw(ITEMS))
        made.append(replace(event, run=run, seq=seq))
    return made


@st.composite
def any_bounds(draw: st.DrawFn, types: EventTypes = DEFAULT_TYPES) -> WindowBounds:
    """Return bounds of any size, lateness at most the age as the settings demand."""
    age = draw(st.integers(1, 2 * SPAN_MS))
    sizes = st.sampled_from([0, 1, 2, 3, 5, 8, 17, 40])
    longest, late = draw(st.sampled_from([1, 2, 3, 15, 16, 30])), draw(st.integers(0, age))
    return WindowBounds(longest, age, late, draw(sizes), draw(sizes), types)


def cut(log: list[Event], data: st.DataObject) -> list[list[tuple[Event, int]]]:
    """Return a log in batches, each event with its offset."""
    numbered = [(event, i) for i, event in enumerate(log)]
    marks = sorted(data.draw(st.sets(st.integers(1, len(log)), max_size=len(log))) | {len(log)})
    return [numbered[begin:end] for begin, end in zip([0, *marks], marks, strict=False)]


def hold_equal(batches: list[list[tuple[Event, int]]], bounds: WindowBounds, later: WindowBounds) -> int:
    """Hold each answer of the packed fold equal to the plain one; return how many there were."""
    value: bytes | None = None
    answered = 0
    for i, batch in enumerate(batches):
        bound = bounds if i < len(batches) // 2 else later
        plain = absorb(decode_window(value) if value else None, batch, bound)
        expected = encode(plain.state) if plain.state else None
        packed = absorb_packed(value, batch, bound)
        if packed is not None:
            assert packed == (plain.accepted, plain.duplicate, plain.late, expected)
            answered += 1
        value = expected or value
    return answered


@settings(max_examples=400)
@given(events(), any_bounds(), any_bounds(), st.data())
def test_bytes_and_counts_are_those_of_the_plain_fold(
    log: list[Event], bounds: WindowBounds, later: WindowBounds, data: st.DataObject
) -> None:
    """Whatever the packed fold answers, the plain one does; also after a change of bounds."""
    hold_equal(cut(log, data), bounds, later)


@settings(max_examples=400)
@given(events(), any_bounds(TYPES), any_bounds(TYPES) | any_bounds(), st.data())
def test_types_that_hide_have_a_rule_or_do_not_enter_change_nothing_of_that(
    log: list[Event], bounds: WindowBounds, later: WindowBounds, data: st.DataObject
) -> None:
    """The same over a table of every kind of type, also after a change to the default table."""
    names = [name for name, _ in TYPES.table]
    draws = data.draw(st.lists(st.sampled_from([*names, "view", "impression"]), min_size=len(log), max_size=len(log)))
    typed = [replace(event, type=name, value=i % 6.0) for i, (event, name) in enumerate(zip(log, draws, strict=True))]
    batches = cut(typed, data)
    if later.types is DEFAULT_TYPES:  # then the decoder takes no other types
        half = len(batches) // 2
        batches[half:] = [[(replace(event, type="view"), i) for event, i in batch] for batch in batches[half:]]
    hold_equal(batches, bounds, later)


def test_an_event_that_was_forgotten_within_the_batch_is_left_to_the_plain_fold() -> None:
    """Its repeat is late, not a duplicate."""
    bounds = WindowBounds(max_events=5, max_recent=1, types=TYPES)
    names = [("first", "view", 0), ("a", "impression", 1), ("b", "impression", 2), ("a", "impression", 1)]
    log = [replace(make_event(name, T0 + at), type=kind) for name, kind, at in names]
    batches = [[(log[0], 0)], [(event, i) for i, event in enumerate(log[1:], 1)]]
    assert hold_equal(batches, bounds, bounds) == 1


def test_impressions_in_order_need_no_decoded_window() -> None:
    """They are the most frequent events of a shop that publishes them."""
    bounds = WindowBounds(max_events=5, max_recent=8, types=TYPES)
    first = [[(make_event("first", T0), 0)]]
    shown = [[(replace(make_event(f"e{i}", T0 + i), type="impression"), i)] for i in range(1, 30)]
    assert hold_equal(first + shown, bounds, bounds) == 30


@given(st.integers(1, 120), st.integers(1, 60), st.sampled_from([1, 7]))
def test_events_in_order_need_no_decoded_window(n: int, max_events: int, per_batch: int) -> None:
    """The common case is answered from the bytes: each event newer than all before it."""
    bounds = WindowBounds(max_events=max(max_events, per_batch), max_recent=20)
    value: bytes | None = None
    log = [make_event(f"e{i:04d}", T0 + i, item_id=f"i{i % 9}") for i in range(n)]
    for begin in range(0, n, per_batch):
        packed = absorb_packed(value, [(event, i) for i, event in enumerate(log[begin : begin + per_batch])], bounds)
        assert packed is not None
        value = packed[3]
    assert value is not None and decode_window(value).revision == n


@given(events(), any_bounds(), st.binary(max_size=40), st.integers(0, 2_000), st.booleans())
def test_damaged_bytes_are_left_to_the_plain_fold_or_copied(
    log: list[Event], bounds: WindowBounds, junk: bytes, at: int, is_replaced: bool
) -> None:
    """Bytes of any kind raise nothing."""
    state = absorb(None, [(event, i) for i, event in enumerate(log)], bounds).state
    value = encode(state) if state else b""
    at = min(at, len(value))
    broken = value[:at] + junk + value[at + len(junk) * is_replaced :]
    absorb_packed(broken, [(make_event("new", T0 + 10**7), 1)], bounds)


def test_bytes_that_nest_without_end_are_left_to_the_plain_fold() -> None:
    """Skipping them would exceed the interpreter's stack."""
    for value in (b"\x91" * 100_000, b"\x81\xa5items" + b"\x91" * 100_000):
        assert absorb_packed(value, [(make_event("new", T0), 1)], WindowBounds()) is None


def test_a_window_of_another_version_is_left_to_the_plain_fold() -> None:
    """The plain fold refuses it with a reason."""
    state = absorb(None, [(make_event("a", T0), 0)], WindowBounds()).state
    assert state is not None
    newer = [(make_event("b", T0 + 1), 1)]
    assert absorb_packed(encode(state), newer, WindowBounds()) is not None
    assert absorb_packed(encode(replace(state, v=2)), newer, WindowBounds()) is None


def test_an_old_time_of_the_contract_is_written_as_the_packed_fold_expects() -> None:
    """The packed fold reads times of nine bytes; the contract allows no shorter one."""
    from streams.contract.records import MAX_TS_MS, MIN_EVENT_TS_MS

    for ts in (MIN_EVENT_TS_MS, MAX_TS_MS):
        assert encode_ts(ts).startswith(b"\xcf\x00\x00") and len(encode_ts(ts)) == 9


def encode_ts(ts: int) -> bytes:
    """Return a time as msgspec writes it."""
    return msgspec.msgpack.encode(ts)
