"""The model hangs, crashes or returns NaN.

The recommender still makes lists, loses nothing and recovers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, RecordDecoder, UserVector, encode
from streams.contract.windows import WindowState
from streams.sequencer.window import absorb
from streams.settings.load import Settings
from streams.settings.record_limits import WindowBounds
from tests.integration.lists.recommender_runs import (
    WAIT_S,
    committed_offsets,
    lag,
    newest_revisions,
    publish,
    read_lists,
    variables_of,
    windows_of,
)
from tests.integration.reading import read_all
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.drills.faulty_model import Fault, write_fault
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue")]
QUICK = {"HEADRACE_MODEL_TIMEOUT_MS": "300", "HEADRACE_MAX_PENDING_WINDOWS": "100"}


class FaultyWorker(Worker):
    """A recommender whose model a file governs."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "faust", "-A", "tools.drills.faulty_model", *super().command()[5:]]


@contextmanager
def recommender(settings: Settings, folder: Path, fault: Fault, **variables: str) -> Iterator[Worker]:
    """Run a recommender with a fault, ready."""
    write_fault(folder / "fault.json", fault)
    env = variables_of(settings, folder) | QUICK | {"HEADRACE_DRILL_FAULTS": str(folder / "fault.json")} | variables
    with FaultyWorker("recommender", env, free_port(), folder / "recommender.log") as worker:
        worker.wait_ready(WAIT_S)
        yield worker
        worker.kill()  # a hanging worker ignores SIGTERM


def value_of(worker: Worker, name: str) -> int:
    """Return one of a worker's values."""
    return int(worker.counts()["values"].get(name, 0))


def finals(settings: Settings) -> dict[str, Recommendation]:
    """Return each user's newest list that no other one of its revision follows."""
    newest: dict[str, Recommendation] = {}
    for _, made in read_lists(settings):
        if not made.provisional and made.revision >= (newest[made.user_id].revision if made.user_id in newest else 0):
            newest[made.user_id] = made
    return newest


def vectors(settings: Settings) -> dict[str, int]:
    """Return the revision of each stored vector."""
    decoder = RecordDecoder(UserVector)
    found = [decoder.decode(r.value) for r in read_all(settings, "user-vectors") if r.value]
    return {vector.user_id: vector.revision for vector in found}


@pytest.mark.parametrize("mode", ["hang", "crash"])
def test_lists_go_on_without_the_model_and_full_ones_follow(settings: Settings, tmp_path: Path, mode: str) -> None:
    """Degraded lists say that they are degraded; nothing is stored or committed for them.

    When the model answers, each user gets the full list.
    """
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(40, 2, states))
    with recommender(settings, tmp_path, Fault()) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        before, vectors_before = committed_offsets(settings), vectors(settings)
        write_fault(tmp_path / "fault.json", Fault(mode))  # type: ignore[arg-type]
        publish(settings, "sequences", windows_of(50, 1, states))
        expected = {user: state.revision for user, state in states.items() if state}
        wait_until(lambda: newest_revisions(settings) == expected, WAIT_S, lambda: str(worker.counts()["values"]))
        provisional = {made.user_id: made for _, made in read_lists(settings) if made.provisional}
        assert provisional.keys() == states.keys()
        assert {made.degraded for user, made in provisional.items() if int(user[1:]) < 40} == {"stale-vector"}
        assert {made.degraded for user, made in provisional.items() if int(user[1:]) >= 40} == {"mf-only"}
        for user, made in provisional.items():
            state = states[user]
            assert state is not None and len(made.items) == 10
            assert not {item.item_id for item in made.items} & {item.item_id for item in state.items}
        publish(settings, "sequences", windows_of(50, 1, states))
        expected = {user: state.revision for user, state in states.items() if state}
        wait_until(lambda: newest_revisions(settings) == expected, WAIT_S, lambda: "lists do not go on")
        assert (committed_offsets(settings), vectors(settings)) == (before, vectors_before)
        assert value_of(worker, "pending_windows") + value_of(worker, "lists_degraded") >= 50
        write_fault(tmp_path / "fault.json", Fault())
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        full = finals(settings)
        assert {user: made.revision for user, made in full.items()} == expected == vectors(settings)
        assert {made.degraded for made in full.values()} == {"none"}


@pytest.mark.long
def test_kill_while_degraded_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    """A degraded list finishes no window, so the next worker makes the full lists.

    A stream that exceeds the queue's room is paused.
    """
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(150, 2, states))
    with recommender(settings, tmp_path, Fault("crash")) as worker:
        wait_until(lambda: value_of(worker, "lists_degraded") >= 100, WAIT_S, lambda: str(worker.counts()["values"]))
        publish(settings, "sequences", windows_of(150, 3, states))
        assert value_of(worker, "pending_windows") <= 100 + 150, (
            "bounded: no more than one record batch beyond the limit"
        )
        worker.kill()
    assert finals(settings) == {}
    with recommender(settings, tmp_path, Fault()) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
    expected = {user: state.revision for user, state in states.items() if state}
    assert {user: made.revision for user, made in finals(settings).items()} == expected


def test_a_poisonous_window_costs_only_its_own_user(settings: Settings, tmp_path: Path) -> None:
    """The model's scores are not finite for users of one item.

    These users keep popular items; the others get full lists.
    """
    had = {f"u{i}": [f"i{i % 20 + 10}", "i1" if i % 7 == 0 else "i2"] for i in range(60)}
    publish(settings, "sequences", newest_windows(had))
    with recommender(settings, tmp_path, Fault("nan", item_id="i1")) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        assert value_of(worker, "windows_poisoned") == 9
    full = finals(settings)
    assert {user: made.revision for user, made in full.items()} == dict.fromkeys(had, 2) == vectors(settings)
    assert {user for user, made in full.items() if made.degraded == "popular"} == {u for u in had if "i1" in had[u]}
    log = (tmp_path / "recommender.log").read_text()
    assert "nothing usable for" in log and "u0 " not in log


def test_a_model_that_hangs_too_long_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    """The worker exits with an error.

    Nothing can kill a thread, but a supervisor can restart a process.
    """
    states: dict[str, WindowState | None] = {}
    with recommender(settings, tmp_path, Fault("hang"), HEADRACE_MODEL_RESTART_S="1") as worker:
        publish(settings, "sequences", windows_of(5, 1, states))
        wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
        assert worker.returncode not in (0, None)
    errors = [line for line in (tmp_path / "recommender.log").read_text().splitlines() if "model_restart_s=1" in line]
    assert errors and "HEADRACE_MODEL_RESTART_S" in errors[0]


def test_a_hot_user_is_held_to_the_rate_and_gets_a_list_for_the_last_window(settings: Settings, tmp_path: Path) -> None:
    """A user's lists are two seconds apart; other users do not wait.

    The first window's list comes at once, the newest window's list when it is due.
    """
    states: dict[str, WindowState | None] = {}
    with recommender(settings, tmp_path, Fault(), HEADRACE_LISTS_PER_MINUTE="30") as worker:
        for _ in range(5):
            publish(settings, "sequences", windows_of(1, 4, states))
        others: dict[str, WindowState | None] = {}
        publish(settings, "sequences", (r for r in windows_of(20, 1, others) if r.key != b"u0"))
        wait_until(lambda: len(newest_revisions(settings)) == 20, WAIT_S, lambda: str(worker.counts()["values"]))
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
    hot = [made.revision for _, made in read_lists(settings) if made.user_id == "u0"]
    assert hot[-1] == 20 and len(hot) < 10


def test_popularity_stays_as_the_artifact_has_it_by_a_setting(settings: Settings, tmp_path: Path) -> None:
    """Without live popularity two runs over different events give a new user the same list."""
    lists = []
    for item in ("i1", "i2"):
        buyers = {f"{item}-{n}": [item] for n in range(80)}
        publish(settings, "sequences", newest_windows(buyers | {f"cold-{item}": ["unknown"]}))
        with recommender(settings, tmp_path, Fault(), HEADRACE_LIVE_POPULARITY="off") as worker:
            wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: str(worker.counts()["values"]))
        lists.append([i.item_id for i in finals(settings)[f"cold-{item}"].items])
    assert lists[0] == lists[1]


def newest_windows(had: Mapping[str, Sequence[str]]) -> Iterator[OutRecord]:
    """Yield the window of each user who has had these items."""
    for user, item_ids in had.items():
        events = [
            (make_event(f"{user}-{n}", T0 + n, user_id=user, item_id=item_id), n) for n, item_id in enumerate(item_ids)
        ]
        state = absorb(None, events, WindowBounds()).state
        assert state is not None
        yield OutRecord(user.encode(), encode(state))
