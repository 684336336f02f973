"""The most lists per user and minute."""

from __future__ import annotations

from streams.recommender.waiting.list_rate import ListRate
from streams.recommender.waiting.window_queue import WindowQueue
from tests.unit.streams.recommender.waiting.test_window_queue import entry


class Clock:
    """A clock that a test sets."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_interval_lies_between_two_lists_of_a_user() -> None:
    """Sixty a minute are one a second."""
    rate = ListRate(60)
    assert rate.ready_at_s(b"a") < 0
    rate.note(b"a", 10.0)
    assert rate.ready_at_s(b"a") == 11.0
    assert rate.ready_at_s(b"b") < 0
    rate.take_back(b"a")
    assert rate.ready_at_s(b"a") < 0


def test_users_who_may_have_a_list_again_are_forgotten() -> None:
    """Memory holds the users of one interval, not of the day."""
    rate = ListRate(60)
    for i in range(10_000):
        rate.note(i, i / 100)
    assert len(rate) <= 101


def test_a_user_above_the_rate_waits_and_the_others_do_not() -> None:
    """One user sends half of all events.

    The others go to the model at once, the hot user when a list is due.
    """
    clock = Clock()
    pending: WindowQueue[str] = WindowQueue(ListRate(60), clock)
    revisions: list[int] = []
    for step in range(1, 101):
        clock.now_s = 1_000.0 + step / 10
        pending.add(0, [entry("hot", step), entry(f"u{step}", 1)], f"b{step}")
        pending.release()
        taken = pending.take(1_000)
        assert f"u{step}".encode() in {w.key for w in taken}
        revisions += [w.state.revision for w in taken if w.key == b"hot"]
        pending.done(taken)
        assert len(pending) <= 1
    assert revisions == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    assert pending.n_held == 1
    assert pending.release() is not None
    clock.now_s += 1.0
    assert pending.release() is None
    last = pending.take(1_000)
    assert [w.state.revision for w in last] == [100], "the last window always gets its list"
    assert pending.done(last)[-1] == "b100"


def test_release_tells_when_the_next_user_is_due() -> None:
    """The loop sleeps until then, not longer and not in circles."""
    clock = Clock()
    pending: WindowQueue[str] = WindowQueue(ListRate(60), clock)
    pending.add(0, [entry("a", 1)], "b1")
    pending.done(pending.take(10))
    assert pending.release() is None
    clock.now_s += 0.25
    pending.add(0, [entry("a", 2)], "b2")
    assert pending.n_ready() == 0
    assert pending.release() == 0.75


def test_forgotten_users_are_not_released() -> None:
    """Their partition is another worker's."""
    clock = Clock()
    pending: WindowQueue[str] = WindowQueue(ListRate(60), clock)
    pending.add(0, [entry("a", 1)], "b1")
    pending.done(pending.take(10))
    pending.add(0, [entry("a", 2)], "b2")
    assert pending.forget([0]) == ["b2"]
    assert pending.release() is None and len(pending) == 0


def test_degraded_lists_count_too_but_the_full_one_does_not_wait() -> None:
    """A crawler gets no provisional list per event; the full list does not wait for the rate."""
    clock = Clock()
    pending: WindowQueue[str] = WindowQueue(ListRate(60), clock)
    pending.add(0, [entry("a", 1)], "b1")
    assert [w.state.revision for w in pending.without_list(10)] == [1]
    pending.add(0, [entry("a", 2)], "b2")
    assert pending.without_list(10) == []
    clock.now_s += 1.0
    assert [w.state.revision for w in pending.without_list(10)] == [2]
    assert pending.without_list(10) == []
    assert [(w.state.revision, w.has_list) for w in pending.take(10)] == [(2, True)]


def test_a_list_that_was_not_made_does_not_count() -> None:
    """After a failure of the model its user gets a provisional list at once, at any rate."""
    pending: WindowQueue[str] = WindowQueue(ListRate(1), Clock())
    pending.add(0, [entry("a", 1)], "b1")
    pending.give_back(pending.take(10))
    assert [w.key for w in pending.without_list(10)] == [b"a"]
