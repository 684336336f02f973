"""Bounds that would let a record of headrace outgrow the limit are refused at the start."""

from __future__ import annotations

import pytest

from streams.contract.records import MAX_TS_MS, Event, Recommendation, RecommendedItem, SourceRank, encode
from streams.contract.windows import WindowState
from streams.errors import SettingsError
from streams.sequencer.window import absorb
from streams.settings.apps import RecommenderSettings, SequencerSettings
from streams.settings.record_limits import MAX_WRITTEN_BYTES, WindowBounds, window_bytes
from tests.support.builders import T0

WIDEST = 126 * "\U0001f600"


def long_id(n: int) -> str:
    """Return an id as long as the contract allows, in characters of 4 bytes."""
    return WIDEST + chr(0x10000 + n // 4_096) + chr(0x10000 + n % 4_096)


def longest_window(bounds: WindowBounds) -> WindowState:
    """Return the window of more events than fit, with the longest ids and of several replays."""
    state: WindowState | None = None
    n_events = bounds.max_events + max(bounds.max_recent, bounds.max_seen) + 2
    for n in range(n_events):
        run = chr(0x10000 + n % 4) * 64
        event = Event(1, long_id(n), long_id(0), long_id(n), "purchase", T0 + n, run=run, seq=2**61 + n)
        state = absorb(state, [(event, 2**62)], bounds).state
    assert state is not None
    state.revision, state.newest_ts = 2**62, MAX_TS_MS
    return state


@pytest.mark.parametrize(
    "bounds", [WindowBounds(), WindowBounds(max_events=200, max_recent=300, max_seen=0), WindowBounds(max_events=1)]
)
def test_the_arithmetic_covers_the_longest_window_closely(bounds: WindowBounds) -> None:
    size = len(encode(longest_window(bounds))) + len(long_id(0).encode())
    assert size <= window_bytes(bounds) <= size + 300


@pytest.mark.parametrize(
    ("events", "recent", "seen"),
    [(1_000, 100, 500), (804, 100, 500), (700, 400, 0), (300, 1_000, 20_000), (840, 0, 20_000)],
)
def test_bounds_whose_window_fits_in_no_record_are_refused_with_the_arithmetic(
    events: int, recent: int, seen: int
) -> None:
    with pytest.raises(SettingsError) as caught:
        SequencerSettings(window_max_events=events, window_max_recent=recent, window_max_seen=seen)
    text = str(caught.value)
    size = window_bytes(WindowBounds(max_events=events, max_recent=recent, max_seen=seen))
    assert f"{events} x 1049 + {recent} x 525 + {seen} x 4" in text
    assert f"= {size} bytes, a record may have {MAX_WRITTEN_BYTES}" in text
    assert "HEADRACE_WINDOW_MAX_EVENTS" in text


def test_bounds_at_the_limit_are_taken() -> None:
    SequencerSettings(window_max_events=803)
    SequencerSettings(window_max_events=300, window_max_recent=900, window_max_seen=20_000)


def test_the_longest_list_fits_in_a_record() -> None:
    largest = next(n for n in range(2_000, 0, -1) if _accepts_list_size(n))
    sources = {f"a_source_of_a_long_name_{n}": SourceRank(10_000, 0.123456789) for n in range(6)}
    items = [RecommendedItem(long_id(n), 0.5123456789, sources, long_id(n)) for n in range(largest)]
    longest = Recommendation(
        1,
        long_id(0),
        long_id(0),
        2**62,
        long_id(0),
        2**62,
        MAX_TS_MS,
        MAX_TS_MS,
        long_id(0),
        2**62,
        "stale-vector",
        items,
        True,
    )
    for as_json in (False, True):
        assert len(encode(longest, as_json=as_json)) + len(long_id(0).encode()) <= MAX_WRITTEN_BYTES


def _accepts_list_size(n: int) -> bool:
    try:
        RecommenderSettings(list_size=n, n_candidates=10_000)
    except SettingsError:
        return False
    return True
