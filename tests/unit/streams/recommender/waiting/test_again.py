"""Windows that have a list of the model before wait behind all others, and hold up nothing."""

from __future__ import annotations

from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.recommender.waiting.again import MAX_AGAIN
from streams.recommender.waiting.window_queue import WindowQueue


def window(revision: int = 1, n: int = 1) -> ListWindow:
    items = [WindowItem(i, f"e{i}", f"i{i}", "view") for i in range(n)]
    return ListWindow(1, revision, n, items, Trigger("e", n, revision))


def test_live_windows_go_before_and_commits_do_not_wait() -> None:
    queue: WindowQueue[str] = WindowQueue()
    assert queue.add_again(0, b"old", window(), 5)
    assert queue.add(0, [(b"new", window(), 6)], "batch") == []
    (live,) = queue.take(1_000)
    assert live.key == b"new" and not live.is_again
    assert queue.done([live]) == ["batch"], "a user to be served again does not hold it up"
    (again,) = queue.take(1_000)
    assert again.key == b"old" and again.is_again and again.has_list
    assert queue.done([again]) == [] and not queue.n_ready()


def test_a_user_with_a_newer_window_needs_no_other_list() -> None:
    queue: WindowQueue[str] = WindowQueue()
    assert queue.add_again(0, b"u", window(1), 5)
    queue.add(0, [(b"u", window(2), 6)], "batch")
    assert not queue.n_again
    assert not queue.add_again(0, b"u", window(1), 5), "it waits"
    (live,) = queue.take(1_000)
    assert not queue.add_again(0, b"u", window(1), 5), "the model has it in hand"
    assert live.state.revision == 2 and queue.done([live]) == ["batch"]
    assert queue.add_again(0, b"u", window(2), 6)


def test_a_micro_batch_of_them_is_small_and_keeps_the_token_bound() -> None:
    queue: WindowQueue[str] = WindowQueue()
    for number in range(2 * MAX_AGAIN):
        queue.add_again(0, b"%d" % number, window(n=10), 5)
    assert len(queue.take(100_000)) == MAX_AGAIN
    assert len(queue.take(45)) == 4
    assert len(queue.take(1)) == 1, "one at least"


def test_given_back_removed_and_taken_away() -> None:
    queue: WindowQueue[str] = WindowQueue()
    for user in (b"a", b"b", b"c"):
        queue.add_again(0, user, window(), 5)
    queue.add_again(1, b"d", window(), 5)
    first = queue.take(1)
    queue.give_back(first)
    assert queue.n_again == 4, "the model failed: it comes again"
    queue.remove(0, [b"b"])
    assert queue.n_again == 3
    taken = queue.take(1)
    assert queue.forget([0]) == [] and queue.n_again == 1
    assert taken[0].owner.is_forgotten, "delivery drops its list"
    queue.forget()
    assert queue.n_again == 0
