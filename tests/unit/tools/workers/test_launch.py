"""What a worker gets at its start; the table of apps agrees with the table of rights."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from streams.contract.roles import READS, WRITES
from streams.settings.load import KafkaSettings, RecommenderSettings, Settings, load_settings
from tools.workers.apps import APP_NAMES, APPS, App
from tools.workers.launch import Launch, make_worker
from tools.workers.process import Worker

SETTINGS = Settings(
    kafka=KafkaSettings(broker="b:1", topic_prefix="p."), recommender=RecommenderSettings(artifact="art")
)


@pytest.mark.parametrize("app", APPS)
def test_an_app_uses_its_topics_as_its_rights_allow(app: App) -> None:
    """An app reads its input and its state, and writes its output and its state."""
    assert {app.input, app.changelog} <= set(READS[app.name])
    assert {app.output, app.changelog} <= set(WRITES[app.name])
    assert find_spec(app.module) is not None


def test_every_app_is_in_the_table() -> None:
    """The table has the order of the flow: the second app reads what the first one writes."""
    assert tuple(app.name for app in APPS) == APP_NAMES
    assert APPS[0].output == APPS[1].input


def test_a_worker_gets_its_deployment_and_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable in the command's own environment cannot lead the worker to another topic."""
    monkeypatch.setenv("HEADRACE_TOPIC_EVENTS", "live.events")
    launch = Launch("sequencer", tmp_path / "state", tmp_path / "log", 7000, variables={"HEADRACE_PARTITIONS": "3"})
    worker = make_worker(Worker, SETTINGS, launch)
    told = load_settings(os.environ | worker.env)
    assert told.kafka == replace(SETTINGS.kafka, partitions=3)
    assert told.recommender.artifact == "art"
    assert worker.env["HEADRACE_DATA_DIR"] == str(tmp_path / "state")
    assert (worker.web_port, worker.log_path) == (7000, tmp_path / "log")


def test_a_worker_runs_its_apps_module_unless_another_is_named(tmp_path: Path) -> None:
    """A drill puts the recommender with faults in the recommender's place."""
    own, other = (
        make_worker(Worker, SETTINGS, Launch("recommender", tmp_path, tmp_path / "log", module=module))
        for module in ("", "tools.drills.faulty_model")
    )
    assert "streams.recommender" in own.command() and "tools.drills.faulty_model" in other.command()
    assert own.web_port != other.web_port
