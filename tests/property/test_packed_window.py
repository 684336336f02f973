"""The window as bytes is the plain fold: same bytes, same counts, whatever arrives."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.records import Event, encode
from streams.contract.windows import decode_window
from streams.sequencer.packed_window import absorb_packed
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, make_event

SPAN_MS = 400
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
        made.append(msgspec.structs.replace(event, run=run, seq=seq))
    return made


@st.composite
def any_bounds(draw: st.DrawFn) -> WindowBounds:
    """Return bounds of any size, lateness at most the age as the settings demand."""
    age = draw(st.integers(1, 2 * SPAN_MS))
    sizes = st.sampled_from([0, 1, 2, 3, 5, 8, 17, 40])
    return WindowBounds(
        draw(st.sampled_from([1, 2, 3, 15, 16, 30])), age, draw(st.integers(0, age)), draw(sizes), draw(sizes)
    )


def cut(log: list[Event], data: st.DataObject) -> list[list[tuple[Event, int]]]:
    """Return a log in batches, each event with its offset."""
    numbered = [(event, i) for i, event in enumerate(log)]
    marks = sorted(data.draw(st.sets(st.integers(1, len(log)), max_size=len(log))) | {len(log)})
    return [numbered[begin:end] for begin, end in zip([0, *marks], marks, strict=False)]


@settings(max_examples=400)
@given(events(), any_bounds(), any_bounds(), st.data())
def test_bytes_and_counts_are_those_of_the_plain_fold(
    log: list[Event], bounds: WindowBounds, later: WindowBounds, data: st.DataObject
) -> None:
    """Whenever the packed fold answers, the plain fold gives the same answer.

    This holds after the bounds have changed, too.
    """
    value: bytes | None = None
    batches = cut(log, data)
    for i, batch in enumerate(batches):
        bound = bounds if i < len(batches) // 2 else later
        plain = absorb(decode_window(value) if value else None, batch, bound)
        expected = encode(plain.state) if plain.state else None
        packed = absorb_packed(value, batch, bound)
        if packed is not None:
            assert packed == (plain.accepted, plain.duplicate, plain.late, expected)
        value = expected or value


@given(st.integers(1, 120), st.integers(1, 60), st.sampled_from([1, 7]))
def test_events_in_order_need_no_decoded_window(n: int, max_events: int, per_batch: int) -> None:
    """The common case is answered from the bytes: each event newer than all before it."""
    bounds = WindowBounds(max_events=max(max_events, per_batch), max_recent=20)
    value: bytes | None = None
    log = [make_event(f"e{i:04d}", T0 + i, item_id=f"i{i % 9}") for i in range(n)]
    for begin in range(0, n, per_batch):
        packed = absorb_packed(value, [(event, i) for i, event in enumerate(log[begin : begin + per_batch])], bounds)
        assert packed is not None and packed.value is not None
        value = packed.value
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


def test_windows_with_hidden_items_or_passed_events_are_left_to_the_plain_fold() -> None:
    """Their fields follow other rules, which only the plain fold has."""
    state = absorb(None, [(make_event("a", T0), 0)], WindowBounds()).state
    assert state is not None
    newer = [(make_event("b", T0 + 1), 1)]
    assert absorb_packed(encode(state), newer, WindowBounds()) is not None
    for changed in ({"hidden": b"abcd"}, {"passed": [(T0, "p")]}, {"hiding": [(T0, "h")]}, {"v": 2}):
        value = encode(msgspec.structs.replace(state, **changed))
        assert absorb_packed(value, newer, WindowBounds()) is None


def test_an_old_time_of_the_contract_is_written_as_the_packed_fold_expects() -> None:
    """The packed fold reads times of nine bytes; the contract allows no shorter one."""
    from streams.contract.records import MAX_TS_MS, MIN_EVENT_TS_MS

    for ts in (MIN_EVENT_TS_MS, MAX_TS_MS):
        assert encode_ts(ts).startswith(b"\xcf\x00\x00") and len(encode_ts(ts)) == 9


def encode_ts(ts: int) -> bytes:
    """Return a time as msgspec writes it."""
    return msgspec.msgpack.encode(ts)
