"""Feedback types onto event types: the same name, the setting, the usual words, in this order."""

from __future__ import annotations

import pytest

from models.base.event_types import DEFAULT_TYPES, event_types
from streams.errors import SettingsError
from streams.server.gate.problems import Problem
from streams.server.gorse.feedback_types import FeedbackTypes
from streams.server.gorse.recommended import duration_ms

OWN = event_types({"view": {}, "like": {}, "impression": {"window": False, "shown": True}, "seen": {"window": False}})


@pytest.mark.parametrize(
    ("name", "usual", "own"),
    [("view", "view", "view"), ("read", "view", "view"), ("like", "click", "like"), ("star", "click", "like")],
)
def test_a_type_of_the_deployment_wins_over_the_usual_words(name: str, usual: str, own: str) -> None:
    """With a type ``like`` of its own, a like is no click."""
    assert FeedbackTypes(DEFAULT_TYPES, "").event_type(name) == usual
    assert FeedbackTypes(OWN, "").event_type(name) == own


def test_the_setting_wins_over_both() -> None:
    """It also says what a write-back is."""
    types = FeedbackTypes(OWN, " read=seen, like = view ")
    assert (types.event_type("read"), types.event_type("like")) == ("seen", "view")
    assert (types.shown_type("read"), types.shown_type("like")) == ("seen", "impression")


def test_a_type_that_nothing_maps_is_refused() -> None:
    """A purchase is no view: without such a type there is nothing to map it to."""
    with pytest.raises(Problem, match="'buy' is none of view, like, impression, seen"):
        FeedbackTypes(OWN, "").event_type("buy")


@pytest.mark.parametrize("given", ["star", "star=", "=view", "star=view,star=click"])
def test_a_setting_that_is_no_list_of_pairs_is_refused(given: str) -> None:
    """The message has the value, the form and the variable."""
    with pytest.raises(SettingsError, match="must be a pair FEEDBACK_TYPE=EVENT_TYPE.*HEADRACE_SERVE_GORSE_TYPES"):
        FeedbackTypes(DEFAULT_TYPES, given)


def test_a_setting_with_an_unknown_event_type_is_refused() -> None:
    """At the start, and not with the first feedback."""
    with pytest.raises(SettingsError, match=r"star=fav: must be one of click, view, purchase; add fav to"):
        FeedbackTypes(DEFAULT_TYPES, "star=fav")


@pytest.mark.parametrize(
    ("text", "ms"), [("", 0), ("0h10m0s", 600_000), ("1h", 3_600_000), ("1.5s", 1_500), ("2m1s", 121_000)]
)
def test_durations_are_as_gorse_documents_them(text: str, ms: int) -> None:
    """Hours, minutes and seconds, each of which may be left out."""
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["soon", "10", "-1s", "1d", "1s1h"])
def test_another_text_is_no_duration(text: str) -> None:
    """The answer says how to write one."""
    with pytest.raises(Problem, match="is no duration"):
        duration_ms(text)
