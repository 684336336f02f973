"""Rules about what was shown: what they leave out of a list, and what they lower in it."""

from __future__ import annotations

import pytest

from models.ranking.catalogue.ruled import ruled
from models.ranking.pipeline import Pipeline, RankedBatch
from models.rules.repeats import ALL_REPEATS, NO_REPEATS
from models.rules.row_rules import Rules
from streams.catalogue.seen_index import SeenIndex
from streams.contract.windows import Trigger, WindowItem, WindowState, note_shown, seen_hash
from streams.recommender.list_records import behaviours, left_out, weights_of_shown
from tests.support import tiny_models

pytestmark = pytest.mark.model

T0 = tiny_models.T0
MINUTE_MS = 60_000
ITEMS = [f"i{row:02}" for row in range(24)]
INDEX = SeenIndex(ITEMS)
#: As in a rules document.
TWO_HOURS = '[shown]\nnot_again_within = "2h"'
DECAY = "[shown]\ndecay = 0.5"


def window(*shown: tuple[str, int], items: tuple[str, ...] = ("i03",), seen: bytes = b"") -> WindowState:
    """Return a window whose newest event is at T0, and items shown at minutes after T0."""
    packed = b""
    for item, minutes in shown:
        packed = note_shown(packed, item, T0 + minutes * MINUTE_MS)
    rows = [WindowItem(T0 - 1_000 * (len(items) - n), f"e{n}", item, "view") for n, item in enumerate(items, 1)]
    return WindowState(1, len(items), T0, rows, Trigger("e1", T0, 0), seen=seen, shown=packed)


def lists(state: WindowState, text: str, k: int = 24) -> RankedBatch:
    """Return the list of a window under rules, as the recommender makes it."""
    rules = Rules.of(text)
    catalogue = ruled(tiny_models.catalogue(), rules, T0)
    out = [left_out(state, INDEX, NO_REPEATS, rules)]
    weights = [weights_of_shown(state, INDEX, rules)]
    return Pipeline(tiny_models.artifact(), k=k).recommend(catalogue, [behaviours(state)], out, weights=weights)


def ids(batch: RankedBatch) -> list[str]:
    return [item.item_id for item in batch[0].items]


def test_an_item_is_not_shown_again_within_the_time() -> None:
    """The time counts back from the user's newest event; a later showing is within it."""
    state = window(("i05", -119), ("i06", -120), ("i07", 3), ("i08", -500), ("i08", -5))
    assert left_out(state, INDEX, NO_REPEATS, Rules.of(TWO_HOURS)) == {"i05", "i07", "i08"}
    assert set(ids(lists(state, TWO_HOURS))) == set(ITEMS) - {"i03", "i05", "i07", "i08"}


def test_without_the_rule_or_without_impressions_nothing_is_left_out() -> None:
    state = window(("i05", -1), seen=seen_hash("i09"))
    assert left_out(state, INDEX, NO_REPEATS, None) == left_out(state, INDEX, NO_REPEATS, Rules.of(DECAY)) == {"i09"}
    assert left_out(state, INDEX, ALL_REPEATS, None) == set()
    assert left_out(window(seen=seen_hash("i09")), INDEX, NO_REPEATS, Rules.of(TWO_HOURS)) == {"i09"}
    assert weights_of_shown(state, INDEX, None) == weights_of_shown(state, INDEX, Rules.of(TWO_HOURS)) == {}


def test_an_item_that_was_shown_often_and_never_clicked_is_lowered() -> None:
    first = ids(lists(window(), DECAY))[0]
    often = window(*((first, -n) for n in range(1, 13)))
    assert weights_of_shown(often, INDEX, Rules.of(DECAY)) == {first: 0.5**12}
    made = lists(often, DECAY)
    assert ids(made)[0] != first
    assert ids(made).index(first) > 5
    plain, lowered = ({i.item_id: i.score for i in lists(s, DECAY)[0].items} for s in (window(), often))
    assert plain == lowered  # the probability stays what it is


def test_an_item_that_the_user_had_does_not_decay() -> None:
    """In the window, or beyond it."""
    state = window(("i05", -1), ("i06", -1), ("i07", -1), items=("i03", "i05"), seen=seen_hash("i06"))
    assert weights_of_shown(state, INDEX, Rules.of(DECAY)) == {"i07": 0.5}


def test_items_outside_the_catalogue_do_no_harm() -> None:
    state = window(("gone", -1), ("i07", -1))
    assert weights_of_shown(state, INDEX, Rules.of(DECAY)) == {"i07": 0.5}
    assert left_out(state, INDEX, NO_REPEATS, Rules.of(TWO_HOURS)) == {"i07"}
    made = Pipeline(tiny_models.artifact(), k=3).recommend(
        ruled(tiny_models.catalogue(), Rules.of(DECAY), T0), [behaviours(state)], [set()], weights=[{"gone": 0.5}]
    )
    assert len(made[0].items) == 3


def test_without_showings_lists_under_the_rule_are_those_without_it() -> None:
    plain, under = lists(window(), "deny = []"), lists(window(), TWO_HOURS + "\ndecay = 0.5")
    assert plain.rows.tolist() == under.rows.tolist()
    assert plain.scores.tobytes() == under.scores.tobytes()
