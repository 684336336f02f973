"""The table of event types: what it allows, and what each event is called in a window."""

from __future__ import annotations

from typing import Any

import pytest

from models.base.event_types import (
    DEFAULT_TYPES,
    MAX_NAME_LENGTH,
    MAX_TYPES,
    NOT,
    EventTypes,
    TableError,
    WindowType,
    WindowTypes,
    event_types,
)
from models.base.vocabulary import EVENT_TYPES

SHOP = event_types(
    {
        "浏览": {},
        "加购": {"weight": 3},
        "rating": {"positive_when": ">= 4", "weight": 2},
        "dislike": {"hides": True},
        "impression": {"window": False},
        "play": {"weight": "value", "least": 1, "most": 10},
        "skip": {"positive": False},
    }
)


def test_the_default_table_is_the_three_types_in_their_old_order() -> None:
    """Artifacts and windows of the default table stay what they were."""
    assert DEFAULT_TYPES.names == DEFAULT_TYPES.window_types.names == EVENT_TYPES
    assert DEFAULT_TYPES.is_plain and DEFAULT_TYPES.window_types.is_uniform
    assert DEFAULT_TYPES.default_name == "view"


def test_each_type_enters_the_window_under_its_name() -> None:
    """A type with a rule has two names, and one that does not enter has none."""
    assert SHOP.window_types.names == ("浏览", "加购", "rating", "not rating", "dislike", "play", "skip")
    assert [one.name for one in SHOP.window_types.types if one.positive] == ["浏览", "加购", "rating", "play"]
    assert not SHOP.is_plain and not SHOP.window_types.is_all_positive
    assert SHOP.default_name == "浏览"
    assert SHOP.window_name("impression", None) is None
    assert SHOP.window_name("加购", -1.0) == "加购"


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        (">= 4", [4.0, 5.0], [3.999, -9.0, None]),
        ("> 4", [4.5], [4.0, None]),
        ("<=-0.5", [-0.5, -3.0], [0.0]),
        ("< 30", [29.99], [30.0]),
        ("== 1", [1.0], [0.0, None]),
    ],
)
def test_a_rule_names_the_event_by_its_value(rule: str, kept: list[float], broken: list[float | None]) -> None:
    """A value that breaks the rule, and no value at all, give the name that begins with 'not'."""
    types = event_types({"rating": {"positive_when": rule}})
    assert {types.window_name("rating", value) for value in kept} == {"rating"}
    assert {types.window_name("rating", value) for value in broken} == {"not rating"}


@pytest.mark.parametrize(("value", "weight"), [(None, 1.0), (-3.0, 1.0), (0.5, 1.0), (7.5, 7.5), (1e9, 10.0)])
def test_a_weight_by_value_stays_within_its_bounds(value: float | None, weight: float) -> None:
    """Seconds watched weigh a play; without a value it weighs the least."""
    assert SHOP.by_name["play"].weight_of(value) == weight


def test_a_table_is_made_again_from_its_plain_form() -> None:
    """The settings of a worker and the manifest of a run carry a table as plain objects."""
    assert event_types(SHOP.as_plain()) == SHOP
    assert event_types({f"t{i}": {} for i in range(MAX_TYPES)}).names[-1] == f"t{MAX_TYPES - 1}"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([], "event_types=[] must be a table of 1 to 64 types"),
        ({}, "must be a table of 1 to 64 types"),
        ({f"t{i}": {} for i in range(MAX_TYPES + 1)}, "must be a table of 1 to 64 types"),
        ({"": {}}, "must be a name of 1 to 32 printable characters"),
        ({"x" * (MAX_NAME_LENGTH + 1): {}}, "must be a name of 1 to 32"),
        ({"a,b": {}}, "without ',' and '='"),
        ({" view": {}}, "not blank at an end"),
        ({"not rating": {}}, "not after 'not '"),
        ({"a\nb": {}}, "printable"),
        ({"view": 3}, "event_types.view=3 must be a table with weight, positive"),
        ({"view": {"wait": 1}}, "unknown field `wait`"),
        ({"view": {"weight": -1}}, "event_types.view.weight=-1.0 must be a number from 0 to 1000"),
        ({"view": {"weight": 1001}}, "must be a number from 0 to 1000"),
        ({"view": {"weight": float("nan")}}, "must be a number from 0 to 1000"),
        ({"view": {"weight": "price"}}, 'or "value"'),
        ({"view": {"weight": "value"}}, 'beside weight = "value"'),
        ({"view": {"weight": "value", "least": 5, "most": 2}}, "least at most as great as most"),
        ({"view": {"most": 2}}, 'absent without weight = "value"'),
        ({"view": {"positive_when": "about 4"}}, "must be a comparison with a number"),
        ({"view": {"positive_when": ">= 4 and < 9"}}, "must be a comparison with a number"),
        ({"view": {}, "seen": {"window": False, "positive": True}}, "beside window = false"),
        ({"view": {}, "dislike": {"hides": True, "positive": True}}, "beside hides = true"),
        ({"view": {}, "rating": {"positive": False, "positive_when": ">= 4"}}, "absent where no event"),
        ({"dislike": {"hides": True}}, "at least one positive type"),
    ],
)
def test_an_unusable_table_is_refused_with_field_value_and_limit(table: Any, told: str) -> None:
    """One line says what must stand there."""
    with pytest.raises(TableError) as caught:
        event_types(table)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_type_that_the_artifact_lacks_counts_as_view_or_is_left_out() -> None:
    """A stream never stops: wishes count as the fallback, all others are not seen by models."""
    known = WindowTypes((WindowType("click"), WindowType("view"), WindowType("skip", positive=False)))
    served = known.beside(SHOP.window_types)
    assert served.row("加购") == served.row("gone from both tables") == 1
    assert served.is_positive("加购") and served.is_known("skip") and not served.is_positive("skip")
    assert not served.is_known("dislike") and not served.is_known(f"{NOT}rating")
    assert not known.is_known(f"{NOT}anything")


def test_the_fallback_without_view_is_the_first_positive_type() -> None:
    """A shop may have no views."""
    types: EventTypes = event_types({"dislike": {"hides": True}, "buy": {}, "like": {}})
    assert types.default_name == "buy" and types.window_types.names[types.window_types.fallback] == "buy"
