"""Marks of forgotten users: which life an event, a window or a vector belongs to."""

from __future__ import annotations

from streams.contract.marks import former_keys, is_former, later_part, new_life, revision_in
from streams.contract.records import encode
from streams.contract.windows import WindowState, decode_window
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, make_event

BOUNDS = WindowBounds()
MARK = T0 + 1_000


def window(*times: int, state: WindowState | None = None) -> bytes:
    """Return the window of views at these times, in order of arrival."""
    events = [(make_event(f"e{ts}", ts), n) for n, ts in enumerate(times)]
    made = absorb(state, events, BOUNDS).state
    assert made is not None
    return encode(made)


def test_the_revision_tells_the_life() -> None:
    """A window of before the request is former, the first one after it is not."""
    before, after = window(T0), window(MARK + 1, state=new_life(MARK))
    assert is_former(before, MARK) and not is_former(after, MARK)
    assert not is_former(before, None) and not is_former(None, MARK)
    assert revision_in(after) == MARK + 2 > revision_in(before) == 1
    assert former_keys({b"a": before, b"b": after, b"c": before}, {b"a": MARK, b"b": MARK}) == {b"a"}


def test_what_cannot_be_read_is_of_the_former_life() -> None:
    """Damaged bytes may hold anything of the user."""
    assert is_former(b"\xc1 rubbish", MARK) and later_part(b"\xc1 rubbish", MARK) is None


def test_a_later_request_ends_the_new_life_too() -> None:
    """A user may be forgotten twice."""
    again = window(MARK + 5, MARK + 6, state=new_life(MARK))
    assert is_former(again, MARK + 10_000)


def test_events_after_the_request_stay() -> None:
    """A sequencer may read them before the request: the outcome is as if it had read it first."""
    mixed = window(T0, T0 + 500, MARK, MARK + 1, MARK + 2)
    wanted = absorb(new_life(MARK), [(make_event(f"e{ts}", ts), n) for n, ts in ((3, MARK + 1), (4, MARK + 2))], BOUNDS)
    assert later_part(mixed, MARK) == wanted.state
    assert later_part(window(T0, MARK), MARK) is None


def test_a_late_event_of_the_former_life_is_no_trigger_of_the_new_one() -> None:
    """The last event that came may belong to the former life."""
    found = later_part(window(T0, MARK + 1, T0 + 5), MARK)
    assert found is not None and (found.trigger.event_id, found.trigger.offset) == (f"e{MARK + 1}", -1)
    assert [item.ts for item in decode_window(encode(found)).items] == [MARK + 1]
