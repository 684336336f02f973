"""What the policy of repeats means, and how it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules.repeats import (
    ALL_REPEATS,
    FOR_EVER,
    MAX_AFTER_MS,
    NO_REPEATS,
    NOT_AT_ALL,
    Repeats,
    policy_ms,
    read_repeats,
    repeats_of,
)

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("never", FOR_EVER),
        ("always", NOT_AT_ALL),
        ("after 7d", 7 * DAY_MS),
        ("after 36h", 36 * 3_600_000),
        ("after 90m", 90 * 60_000),
        ("after 1s", 1_000),
        ("after 3650d", MAX_AFTER_MS),
    ],
)
def test_a_policy_is_a_time(text: str, ms: int) -> None:
    assert policy_ms(text) == ms
    assert repeats_of(Repeats(ms).as_plain()) == Repeats(ms)


@pytest.mark.parametrize(
    "text",
    ["", "Never", "after", "after 0d", "after 7", "after 7 d", "after -1d", "after 3651d", "after 7d ", 7, None, []],
)
def test_anything_else_is_refused_with_the_limit(text: object) -> None:
    with pytest.raises(ValueError, match=r"^purchase=.* must be never, always, or after a time") as refused:
        repeats_of({"purchase": text})
    assert repr(text) in str(refused.value)


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the text is checked below)
        policy_ms("x" * 10_000)
    assert len(str(refused.value)) < 250


def test_types_have_policies_of_their_own() -> None:
    found = read_repeats("after 7d, view=always, purchase=after 30d")
    assert found == Repeats(7 * DAY_MS, (("purchase", 30 * DAY_MS), ("view", 0)))
    assert [found.hides_ms(name) for name in ("view", "not view", "purchase", "click")] == [
        0, 0, 30 * DAY_MS, 7 * DAY_MS
    ]  # fmt: skip
    assert read_repeats(str(found)) == found
    assert repeats_of({"view": "always"}) == Repeats(FOR_EVER, (("view", 0),))


def test_a_line_names_a_type_once() -> None:
    for text in ("never,always", "view=always, view=never"):
        with pytest.raises(ValueError, match="must be given once"):
            read_repeats(text)


def test_what_left_a_window_is_hidden_until_its_age_is_certain() -> None:
    """Its type is not known, so the longest time of all types counts."""
    mixed = read_repeats("view=always,purchase=after 30d,default=always")
    assert mixed.hides_beyond(30 * DAY_MS - 1)
    assert not mixed.hides_beyond(30 * DAY_MS)
    assert NO_REPEATS.hides_beyond(10_000 * DAY_MS)
    assert not ALL_REPEATS.hides_beyond(0)
    assert read_repeats("never,view=always").hides_beyond(10_000 * DAY_MS)


def test_never_is_recognised() -> None:
    assert NO_REPEATS.is_never
    assert read_repeats("view=never").is_never
    assert not read_repeats("view=after 3650d").is_never
    assert not ALL_REPEATS.is_never


@given(
    st.integers(1, 10**6),
    st.sampled_from("dhms"),
    st.dictionaries(st.sampled_from(["view", "加购"]), st.just("always")),
)
def test_the_words_of_a_policy_give_it_again(n: int, unit: str, named: dict[str, object]) -> None:
    text = f"after {n}{unit}"
    if n * {"d": DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1_000}[unit] > MAX_AFTER_MS:
        return
    found = repeats_of({"default": text} | named)
    assert repeats_of(found.as_plain()) == found
    assert read_repeats(str(found)) == found
