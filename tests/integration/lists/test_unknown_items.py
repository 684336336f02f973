"""A catalogue that names the log's items otherwise: ``100`` in the log, ``100-x`` here.

The tests show what the operator sees, and how it ends.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import sequencer
from tests.integration.lists.recommender_runs import put_items, recommender
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers"), pytest.mark.long]
N_ITEMS, N_USERS, N_EACH = tiny.N_ITEMS, 20, 6


def files(folder: Path) -> tuple[Path, Path, Path]:
    """Write a log, its catalogue, and the same catalogue with other ids."""
    log = tiny.write_log(folder / "tiny.csv", N_USERS, N_EACH).read_text()
    log = re.sub(r",i(\d+),", lambda found: f",{100 + int(found[1])},", log)
    (folder / "log.csv").write_text(log)
    for name, suffix in (("good", ""), ("bad", "-x")):
        lines = [f"{100 + i}{suffix},Item number {i}" for i in range(N_ITEMS)]
        (folder / f"{name}.csv").write_text("\n".join(["item_id,title", *lines, ""]))
    return folder / "log.csv", folder / "good.csv", folder / "bad.csv"


def test_the_operator_sees_that_the_catalogue_has_other_ids(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alarm shows with and without the workers' pages.

    It ends with the right catalogue, although no other event comes.
    """
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_BROKER", settings.kafka.broker)
    log, good, bad = files(tmp_path)
    out = tmp_path / "artifact"
    train = ["train", str(log), "--items", str(good), "--out", str(out), "--encoder", "fake", "--device", "cpu"]
    assert main(train) == 0
    asyncio.run(create_topics(settings.kafka))
    put_items(settings, bad)
    n_events, n_had = N_USERS * N_EACH, len({line.split(",")[1] for line in log.read_text().splitlines()[1:]})

    def status(worker: Worker | None = None) -> dict[str, Any]:
        pages = [] if worker is None else ["--workers", worker.page_url("")]
        code = main(["status", "--json", "--seconds", "0", *pages])
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert code == (not found["healthy"])
        return found

    def known(found: dict[str, Any]) -> dict[str, Any]:
        share: dict[str, Any] = found["flows"][1]["known_items"]
        return share

    with (
        sequencer(settings, tmp_path) as reads,
        recommender(settings, tmp_path, HEADRACE_ARTIFACT=str(out)) as serves,
    ):
        assert main(["replay", str(log), "--run", "r", "--state-dir", str(tmp_path / "runs")]) == 0
        wait_until(lambda: known(status())["events"] == n_events, 60.0, lambda: str(status()) + reads.log_tail())
        found = status(serves)
        assert known(found)["share"] == 0 and re.fullmatch(r"1\d\d", known(found)["example"])
        said = f"{n_events} of the last {n_events} events are of items that the catalogue does not have"
        # a slow machine has a lag too
        committed, from_page = [why for why in found["why"] if said in why]
        assert committed.startswith(f"recommender: {said}, for example '1")
        assert from_page.startswith(f"worker {serves.page_url('')}: {said}, most often '1")
        assert main(["status", "--seconds", "0"]) == 1
        text = capsys.readouterr().out
        assert f"the catalogue has the items of 0 of the last {n_events} events (0%)" in text
        assert "NOT healthy: " in text and committed in text

        put_items(settings, good)
        wait_until(lambda: known(status())["share"] == 1, 60.0, lambda: str(status()) + serves.log_tail())
        wait_until(lambda: status(serves)["healthy"], 30.0, lambda: str(status(serves)))
    lines = (tmp_path / "recommender.log").read_text().splitlines()
    begun = [line for line in lines if "catalogue generation" in line]
    assert f"{N_ITEMS} items; it has 0 of the {n_had} items that the model was trained on" in begun[0]
    assert "WARNING" in begun[0] and "WARNING" not in begun[-1]
    assert f"it has {n_had} of the {n_had} items" in begun[-1]
    assert f"and the items of {n_events} of the last {n_events} events" in begun[-1]
