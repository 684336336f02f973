"""``train --publish``: what it trained, with another text encoder, takes over under a worker."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifact.artifact import load_artifact
from models.text.encoder import FAKE_ENCODER
from models.text.encoder_use import USE_ENCODER
from streams.announcements.sending.announce import announced
from streams.contract.announcements import ModelAnnouncement
from streams.contract.records import encode
from streams.contract.windows import WindowState
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, recommender, variables_of, windows_of
from tests.integration.lists.test_model_swap import newest
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.catalogue.items_topic import items_of_file
from tools.files.entries.sources import CatalogueSource
from tools.main import main
from tools.oracle.compare import compare_lists
from tools.oracle.expected import ListOracle

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue", "several_workers"), pytest.mark.timeout(290)]
N_USERS = 20


@pytest.mark.long
def test_an_artifact_of_another_encoder_takes_over_when_it_is_trained(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors are made anew: each list is the one that the new artifact alone would make."""
    log, items = tiny.write_log(tmp_path / "log.csv"), tiny.write_items(tmp_path / "items.csv")
    out = tmp_path / "models" / "second"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    assert load_artifact(tiny.artifact()).encoder_name == FAKE_ENCODER
    roots = f"{tiny.artifact().parent},{out.parent}"
    states: dict[str, WindowState | None] = {}
    with recommender(settings, tmp_path, HEADRACE_LIVE_POPULARITY="off", HEADRACE_ARTIFACT_ROOTS=roots) as worker:
        publish(settings, "sequences", windows_of(N_USERS, 1, states))
        wait_until(lambda: lag(settings) == 0, WAIT_S, worker.log_tail)
        argv = ["train", str(log), "--items", str(items), "--out", str(out), "--encoder", USE_ENCODER]
        argv += ["--device", "cpu", "--minutes", "0.1", "--publish", "--broker", settings.kafka.broker, "--json"]
        assert main(argv) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [(one["stage"], one["detail"]) for one in told["published"]["receipts"]] == [("done", told["artifact"])]
        publish(settings, "sequences", windows_of(N_USERS, 2, states))
        wait_until(lambda: lag(settings) == 0, WAIT_S, worker.log_tail)
    record = asyncio.run(announced(settings.kafka, "models", ModelAnnouncement))["live"].record
    assert record is not None and (record.artifact, record.uri) == (told["artifact"], str(out))
    windows = {user.encode(): encode(state) for user, state in states.items() if state is not None}
    # the worker's own embeddings: an encoder rounds a text in another way beside other texts, and
    # forty titles that are nearly alike make much of the last bit
    texts = variables_of(settings, tmp_path)["HEADRACE_ENCODER_CACHE_DIR"]
    wanted = replace(settings.recommender, artifact=str(out), live_popularity="off", encoder_cache_dir=texts)
    expected = ListOracle(out, list(items_of_file(CatalogueSource((items,)))), wanted).lists(windows)
    lists = {user.encode(): made for user, made in newest(settings).items()}
    assert {made.artifact for made in lists.values()} == {told["artifact"]}
    assert compare_lists(lists, expected) == []


def test_a_broker_that_cannot_be_asked_is_told_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tiny.write_log(tmp_path / "log.csv")
    argv = ["train", str(log), "--out", str(tmp_path / "out"), "--encoder", "fake", "--publish"]
    assert main([*argv, "--broker", "127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err and not (tmp_path / "out").exists()
