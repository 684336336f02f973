"""One recommender on a real broker.

It is killed in mid-stream and with waiting windows, and gets other output and a damaged artifact.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from models.artifact.artifact import TENSORS
from streams.contract.windows import WindowState
from streams.kafka.publisher import partition_of
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import (
    WAIT_S,
    committed_offsets,
    lag,
    newest_revisions,
    publish,
    recommender,
    uncovered,
    variables_of,
    windows_of,
)
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue")]


@pytest.mark.long
def test_kill_in_mid_stream_loses_no_users_newest_list(settings: Settings, tmp_path: Path) -> None:
    """After kill -9, committed offsets cover only delivered windows.

    The next worker delivers the rest.
    """
    small = {"HEADRACE_MICRO_BATCH_TOKENS": "1000", "HEADRACE_MAX_PENDING_WINDOWS": "100"}
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(300, 3, states))
    with recommender(settings, tmp_path, **small) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"first part: {worker.counts()['values']}")
        n_before = worker.counts()["values"]["lists"]
        rest = threading.Thread(target=publish, args=(settings, "sequences", windows_of(300, 30, states)))
        rest.start()
        wait_until(
            lambda: worker.counts()["values"]["lists"] > n_before, WAIT_S, lambda: str(worker.counts()["values"])
        )
        worker.kill()
    rest.join(WAIT_S)
    assert not rest.is_alive()
    expected = {user: state.revision for user, state in states.items() if state}
    assert newest_revisions(settings) != expected, "the kill came too late to show anything"
    committed = committed_offsets(settings)
    assert sum(committed.values()) >= 900
    assert uncovered(settings, committed) == []
    with recommender(settings, tmp_path, **small) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"after restart: {worker.counts()['values']}")
    assert newest_revisions(settings) == expected
    assert uncovered(settings, committed_offsets(settings)) == []


@pytest.mark.long
def test_windows_that_wait_for_the_model_are_not_committed(settings: Settings, tmp_path: Path) -> None:
    """A commit does not cover waiting windows.

    After a kill the next worker gives these windows their lists.
    """
    states: dict[str, WindowState | None] = {}
    first = list(windows_of(40, 2, states))
    publish(settings, "sequences", first)
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"first part: {worker.counts()['values']}")
    in_partition_0 = [r for r in first if partition_of(r.key or b"", settings.kafka.partitions) == 0]
    others = [r for r in windows_of(40, 1, states) if partition_of(r.key or b"", settings.kafka.partitions) != 0]
    expected = newest_revisions(settings) | {(r.key or b"").decode(): 4 for r in others}
    # one list a user and minute: after a list for each of these windows, the next ones wait
    others_again = [r for r in windows_of(40, 1, states) if partition_of(r.key or b"", settings.kafka.partitions) != 0]
    with recommender(settings, tmp_path, HEADRACE_LISTS_PER_MINUTE="1") as worker:
        publish(settings, "sequences", others)
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"others: {worker.counts()['values']}")
        before = committed_offsets(settings)
        publish(settings, "sequences", others_again)
        n_read = len(others) + len(others_again)
        wait_until(lambda: worker.counts()["values"].get("windows_read", 0) >= n_read, WAIT_S, lambda: "not read")
        publish(
            settings, "sequences", in_partition_0
        )  # repeats need no model, so their commit shows that the worker commits

        def has_committed() -> bool:
            return committed_offsets(settings)[0] == before[0] + len(in_partition_0)

        wait_until(has_committed, WAIT_S, lambda: str(committed_offsets(settings)))
        assert worker.counts()["values"]["pending_windows"] == len(others)
        assert uncovered(settings, committed_offsets(settings)) == []
        worker.kill()
    assert newest_revisions(settings) != expected
    with recommender(settings, tmp_path) as worker:
        wait_until(lambda: lag(settings) == 0, WAIT_S, lambda: f"after restart: {worker.counts()['values']}")
    assert newest_revisions(settings) == expected


def test_lists_are_json_by_a_setting(settings: Settings, tmp_path: Path) -> None:
    """HEADRACE_OUTPUT_FORMAT=json is for people; the list is the same record."""
    states: dict[str, WindowState | None] = {}
    publish(settings, "sequences", windows_of(5, 3, states))
    with recommender(settings, tmp_path, HEADRACE_OUTPUT_FORMAT="json"):
        wait_until(lambda: len(newest_revisions(settings)) == 5, WAIT_S, lambda: str(newest_revisions(settings)))
    records = read_all(settings, "recommendations")
    assert records and all((record.value or b"").startswith(b'{"v":1,"list_id":') for record in records)
    assert newest_revisions(settings) == {f"u{i}": 3 for i in range(5)}


@pytest.mark.parametrize(("damage", "said"), [("missing", "No such file"), ("checksum", "checksum")])
def test_an_unusable_artifact_is_one_line_in_the_log(
    settings: Settings, tmp_path: Path, damage: str, said: str
) -> None:
    """The worker ends non-zero and says what to do, not where in the code it happened."""
    artifact = tmp_path / "artifact"
    if damage == "checksum":
        shutil.copytree(tiny.artifact(), artifact)
        tensors = bytearray((artifact / TENSORS).read_bytes())
        tensors[-1] ^= 0xFF
        (artifact / TENSORS).write_bytes(tensors)
    env = variables_of(settings, tmp_path) | {"HEADRACE_ARTIFACT": str(artifact)}
    with Worker("recommender", env, free_port(), tmp_path / "recommender.log") as worker:
        wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
        assert worker.returncode == 1
    lines = (tmp_path / "recommender.log").read_text().splitlines()
    errors = [line for line in lines if "[ERROR]" in line or "[CRITICAL]" in line]
    assert len(errors) == 1 and said in errors[0] and "headrace train" in errors[0]
    assert not any("Traceback" in line for line in lines)
