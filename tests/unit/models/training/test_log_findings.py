"""Each odd log is told by the finding of its kind alone; sound logs are told nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.interactions import Interactions
from models.training.log_findings import CHECKS, find, find_no_hits, share_of_repeats

T0, DAY = 1_700_000_000_000, 86_400_000
Row = tuple[str, str, str, int]


def sound(n_users: int = 40, n_each: int = 5) -> Iterator[Row]:
    """Yield a log without faults: users come back, items repeat, times differ."""
    for user in range(n_users):
        for step in range(n_each):
            yield f"u{user}", f"i{(user + step) % 17}", ("view", "click")[step % 2], T0 + 61_001 * (user + 40 * step)


def giant(share: float) -> Iterator[Row]:
    """Yield a sound log in which one more user has this share of all events."""
    yield from sound()
    for step in range(round(200 * share / (1 - share))):
        yield "robot", f"i{step % 17}", "view", T0 + 7_001 * step


SCENARIOS: dict[str, tuple[list[Row], dict[str, int | bool], list[str]]] = {
    "sound": (list(sound()), {}, []),
    "sound with mapped types": (list(sound()), {"n_mapped": 2}, []),
    "a busy user below the limit": (list(giant(0.04)), {}, []),
    "a giant user": (list(giant(0.3)), {}, ["giant-user", "many-repeats"]),
    "few users, all alike": (list(sound(n_users=4, n_each=16)), {}, []),
    "users who come back": (list(sound(n_users=40, n_each=30)), {}, ["many-repeats"]),
    "users who come back, and it is decided": (list(sound(n_users=40, n_each=30)), {"is_repeating": True}, []),
    "users who seldom come back": (list(sound(n_users=40, n_each=20)), {}, []),
    "every user once": ([(f"v{n}", i, t, ts) for n, (_, i, t, ts) in enumerate(sound())], {}, ["users-once"]),
    "every item once": ([(u, f"o{n}", t, ts) for n, (u, _, t, ts) in enumerate(sound())], {}, ["items-once"]),
    "one time": ([(u, i, t, T0) for u, i, t, _ in sound()], {}, ["one-time"]),
    "no times at all": ([(u, i, t, T0) for u, i, t, _ in sound()], {"has_times": False}, []),
    "days of UTC": (
        [(u, i, t, n % 9 * DAY) for n, (u, i, t, _) in enumerate(sound())], {}, ["days-only"],
    ),
    "days of China": (
        [(u, i, t, n % 9 * DAY - 8 * 3_600_000) for n, (u, i, t, _) in enumerate(sound(), 1)], {}, ["days-only"],
    ),
    "one type of two that were mapped": (
        [(u, i, "view", ts) for u, i, _, ts in sound()], {"n_mapped": 2}, ["one-type"],
    ),
    "one type, nothing mapped": ([(u, i, "view", ts) for u, i, _, ts in sound()], {}, []),
    "a column of row numbers as user and item": (
        [(f"r{n}", f"o{n}", t, ts) for n, (_, _, t, ts) in enumerate(sound())], {}, ["users-once", "items-once"],
    ),
    "too few events to say": ([(f"u{n}", f"i{n}", "view", T0) for n in range(19)], {}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_odd_log_is_told_by_its_finding(name: str) -> None:
    rows, given, expected = SCENARIOS[name]
    found = find(Interactions.from_rows(rows), **given)  # type: ignore[arg-type]
    assert [finding.name for finding in found] == expected
    for finding in found:
        assert "\n" not in finding.text and len(finding.text) < 320
        assert ":" in finding.text and ("--" in finding.text or "leave" in finding.text)


def test_every_check_has_a_scenario() -> None:
    assert {name for _, _, names in SCENARIOS.values() for name in names} == set(CHECKS)


def test_users_who_were_left_out_do_not_count() -> None:
    """A slice of a log keeps the rows of all its users."""
    log = Interactions.from_rows([*sound(), *((f"once{n}", "i1", "view", T0 + n) for n in range(900))])
    assert [finding.name for finding in find(log)] == ["users-once"]
    kept = log.where([not log.user_ids[u].startswith("once") for u in log.users])  # type: ignore[arg-type]
    assert find(kept) == []


@pytest.mark.parametrize(
    ("hit_rate", "n", "is_told"), [(0.0, 50, True), (0.01, 50, False), (None, 0, False), (0.0, 0, False)]
)
def test_no_hit_at_all_is_told(hit_rate: float | None, n: int, is_told: bool) -> None:
    assert [finding.name for finding in find_no_hits(hit_rate, n)] == ["no-hits"] * is_told


def test_the_share_of_repeats_is_that_of_events_after_the_first_one() -> None:
    rows = [("u", item, "view", T0 + n) for n, item in enumerate("abaa")] + [("v", "a", "view", T0)]
    assert share_of_repeats(Interactions.from_rows(rows)) == pytest.approx(2 / 3)
    assert share_of_repeats(Interactions.from_rows([("u", "a", "view", T0)])) == 0.0
