"""Live popularity outlives its worker.

At a start and after a rebalance the recommender counts the windows on ``sequences`` again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.artifact.artifact import load_artifact
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, encode
from streams.recommender.popularity.live_popularity import REFRESH_S
from streams.sequencer.window import absorb
from streams.settings.load import Settings
from streams.settings.record_limits import WindowBounds
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, read_lists, recommender, variables_of
from tests.support import tiny
from tests.support.builders import make_event
from tests.support.waiting import wait_until
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue"), pytest.mark.long]

#: What 40 users did, three events each; one user counts once for an item.
LIVE = {f"u{n}": ["i7"] * 2 + [f"i{n % tiny.N_ITEMS}"] for n in range(40)}
N_EVENTS = sum(len(set(items)) for items in LIVE.values())


def windows(had: Mapping[str, Sequence[str]], first_ms: int) -> Iterator[OutRecord]:
    """Yield a window for each user, with events a second apart."""
    for user, item_ids in had.items():
        events = [
            (make_event(f"{user}-{n}", first_ms + 1_000 * n, user_id=user, item_id=item_id), n)
            for n, item_id in enumerate(item_ids)
        ]
        state = absorb(None, events, WindowBounds()).state
        assert state is not None
        yield OutRecord(user.encode(), encode(state))


def counted(*workers: Worker) -> int:
    """Return how many events popularity counts, over all workers."""
    return sum(int(worker.counts()["values"].get("popularity_events", 0)) for worker in workers)


def wait_counted(n_events: int, *workers: Worker) -> None:
    """Wait until workers count so many events in all, and the next list shows it."""
    wait_until(lambda: counted(*workers) == n_events, WAIT_S, lambda: str([w.counts()["values"] for w in workers]))
    time.sleep(2 * REFRESH_S)


def cold_list(settings: Settings, user: str, ts_ms: int) -> Recommendation:
    """Return the list of a new user whose only event is of an item that the catalogue lacks."""
    publish(settings, "sequences", windows({user: ["unknown"]}, ts_ms))
    found: list[Recommendation] = []

    def is_there() -> bool:
        found[:] = [made for _, made in read_lists(settings) if made.user_id == user]
        return bool(found)

    wait_until(is_there, WAIT_S, lambda: f"no list of {user}")
    return found[-1]


def test_live_popularity_is_the_same_after_a_restart(settings: Settings, tmp_path: Path) -> None:
    """A new user gets the same items and scores as a new user before the restart.

    The scores are not those of the artifact.

    What training has seen and what users had who were removed is not in it.
    """
    now_ms = load_artifact(tiny.artifact()).manifest.trained_to_ms + 86_400_000
    publish(settings, "sequences", windows(LIVE, now_ms))
    publish(settings, "sequences", windows({"removed": ["i3"] * 5, "history": ["i3"] * 5}, now_ms - 2 * 86_400_000))
    publish(settings, "sequences", windows({"removed": ["i3"] * 5}, now_ms - 60_000))
    with recommender(settings, tmp_path) as worker:
        wait_counted(N_EVENTS + 1, worker)
        publish(settings, "sequences", [OutRecord(b"removed", None)])
        wait_counted(N_EVENTS, worker)
        before = cold_list(settings, "cold-1", now_ms)
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
    with recommender(settings, tmp_path) as worker:
        wait_counted(N_EVENTS + 1, worker)
        after = cold_list(settings, "cold-2", now_ms)
    with recommender(settings, tmp_path, HEADRACE_LIVE_POPULARITY="off") as worker:
        artifacts = cold_list(settings, "cold-3", now_ms)
        assert counted(worker) == 0
    assert before.degraded == after.degraded == "popular" and not before.provisional and not after.provisional
    assert [item.item_id for item in after.items] == [item.item_id for item in before.items]
    assert [item.score for item in after.items] == pytest.approx([item.score for item in before.items], rel=1e-6)
    assert [i.item_id for i in before.items] != [i.item_id for i in artifacts.items]
    assert before.items[0].item_id == "i7"


@pytest.mark.usefixtures("several_workers")
def test_each_worker_counts_the_users_of_its_own_partitions(settings: Settings, tmp_path: Path) -> None:
    """Two workers share the events; the worker that remains counts them all.

    It also counts the events from before its start.
    """
    now_ms = load_artifact(tiny.artifact()).manifest.trained_to_ms + 86_400_000
    publish(settings, "sequences", windows(LIVE, now_ms))
    with ExitStack() as stack:
        first = stack.enter_context(recommender(settings, tmp_path))
        wait_counted(N_EVENTS, first)
        env = variables_of(settings, tmp_path / "second")
        with Worker("recommender", env, free_port(), tmp_path / "second.log") as second:
            second.wait_ready(WAIT_S)
            wait_until(
                lambda: 0 < counted(second) < N_EVENTS and counted(first, second) == N_EVENTS,
                WAIT_S,
                lambda: str([w.counts()["values"] for w in (first, second)]),
            )
            publish(settings, "sequences", windows({f"more-{n}": ["i1"] for n in range(20)}, now_ms))
            wait_counted(N_EVENTS + 20, first, second)
        wait_counted(N_EVENTS + 20, first)
