"""A shop with a log and no catalogue.

Its model serves, and a catalogue may come, go and come again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import sequencer
from tests.integration.lists.recommender_runs import WAIT_S, put_items, read_lists, recommender
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.main import main

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]
N_USERS, N_EACH = 12, 6


def test_a_model_without_texts_serves_known_ids_and_then_what_the_catalogue_has(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model needs no text model: ``encoder`` names one that does not exist.

    The worker outlives each change of ``items``.
    """
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_BROKER", settings.kafka.broker)
    log, out = tiny.write_log(tmp_path / "log.csv", 20, 8), tmp_path / "artifact"
    assert main(["train", str(log), "--out", str(out), "--encoder", "no-such-model", "--device", "cpu"]) == 0
    known = {line.split(",")[1] for line in log.read_text().splitlines()[1:]}
    later = tiny.write_log(tmp_path / "later.csv", N_USERS, N_EACH)
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n" + "".join(f"i{i},thing {i}\n" for i in range(15)))

    with (
        sequencer(settings, tmp_path),
        recommender(settings, tmp_path, HEADRACE_ARTIFACT=str(out), HEADRACE_ENCODER="no-such-model") as worker,
    ):

        def has(n_items: int) -> bool:
            return bool(worker.counts()["values"].get("catalogue_items") == n_items)

        assert has(len(known))
        assert main(["replay", str(later), "--state-dir", str(tmp_path / "runs")]) == 0
        wait_until(lambda: len({made.user_id for _, made in read_lists(settings)}) == N_USERS, WAIT_S, worker.log_tail)
        lists = [[item.item_id for item in made.items] for _, made in read_lists(settings)]
        assert all(len(listed) == 10 and set(listed) <= known for listed in lists)
        put_items(settings, items)
        wait_until(lambda: has(15), WAIT_S, worker.log_tail)
        assert main(["items", "delete", *(f"i{i}" for i in range(15)), "--yes"]) == 0
        wait_until(lambda: has(len(known)), WAIT_S, worker.log_tail)
        put_items(settings, items)
        wait_until(lambda: has(15), WAIT_S, worker.log_tail)
        assert worker.is_running
