"""Commands that work for long find out first what would stop them.

The tests never reach the work itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.errors import BrokerError, HeadraceError, InputError
from streams.recommender.model import artifact_encoder
from streams.recommender.model.artifact_encoder import check_model
from streams.settings.load import RecommenderSettings
from tests.support import tiny
from tests.unit.models.artifact.test_artifact import change_manifest
from tools.commands.data import replay as replay_command
from tools.commands.learning import oracle as oracle_command
from tools.demo import run as demo
from tools.demo.movielens import DemoLog
from tools.drills import conduct as drill
from tools.drills.plan import Plan
from tools.main import main
from tools.replay import ready
from tools.replay.rebuild import copy_history
from tools.reports import outputs
from tools.workers.ports import free_port


def reached(*_: object, **__: object) -> Any:
    """Stand for the work."""
    pytest.fail("the work was reached")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a small log."""
    return tiny.write_log(tmp_path / "log.csv", n_users=4)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one megabyte."""
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))  # type: ignore[attr-defined]


def test_replay_asks_the_broker_before_it_reads_the_rest(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay_command, "check_live", reached)
    argv = ["replay", str(log), "--broker", f"127.0.0.1:{free_port()}", "--state-dir", str(tmp_path / "runs")]
    assert main(argv) == 1
    assert "nothing listens there" in capsys.readouterr().err


def test_replay_tries_the_folder_of_its_checkpoints(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay_command, "drive", reached)
    assert main(["replay", str(log), "--broker", "127.0.0.1:1", "--state-dir", str(log)]) == 2
    assert "--state-dir" in capsys.readouterr().err


def test_replay_checks_the_rights_of_a_producer(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def denied(*_: object) -> None:
        raise BrokerError("broker denies User:me: Write on topic events")

    async def count(*_: object) -> int:
        return 4

    monkeypatch.setattr(replay_command, "check_live", reached)
    monkeypatch.setattr(replay_command, "check_broker", lambda *_: 1)
    monkeypatch.setattr(ready, "partition_count", count)
    monkeypatch.setattr(ready, "check_rights", denied)
    assert main(["replay", str(log), "--broker", "127.0.0.1:1", "--state-dir", str(tmp_path)]) == 1
    assert "denies User:me" in capsys.readouterr().err


def test_oracle_misses_a_file_before_it_loads_the_model(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(oracle_command, "ListOracle", reached)
    monkeypatch.setattr(oracle_command, "items_of_file", reached)
    assert main(["oracle", str(log), "--items", str(tmp_path / "none.csv"), "--artifact", str(tmp_path)]) == 2
    assert "none.csv" in capsys.readouterr().err


@pytest.mark.model
def test_rebuild_loads_the_model_before_it_makes_topics(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers would find a missing encoder after the copy of the catalogue."""
    folder = shutil.copytree(tiny.artifact(), tmp_path / "a")
    change_manifest(folder, lambda m: m.update(encoder_name="no-such"))
    monkeypatch.setenv("HEADRACE_ARTIFACT", str(folder))
    monkeypatch.setattr(copy_history, "create_topics", reached)
    monkeypatch.setattr(copy_history, "running_workers", reached)
    monkeypatch.setattr(copy_history, "load_deployment", lambda broker: _settings(folder))
    rebuild = SimpleNamespace(run="r", folder=tmp_path / "runs" / "r", log=None, partitions=None, recorded=None)
    with pytest.raises(HeadraceError, match="no-such"):
        copy_history.run_into(rebuild, "127.0.0.1:1")  # type: ignore[arg-type]


def _settings(folder: Path) -> Any:
    from streams.settings.load import load_settings

    return load_settings({}, broker="127.0.0.1:1", artifact=str(folder), device="cpu")


@pytest.mark.usefixtures("full_disk")
def test_a_drill_needs_room_before_it_starts_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "_on_broker", reached)
    with pytest.raises(InputError, match="make room"):
        drill.conduct(_kind(), _plan(), drill.Stage())


@pytest.mark.model
def test_a_drill_checks_log_artifact_and_broker_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "_on_broker", reached)
    for plan, stage, said in (
        (_plan(log=tmp_path / "none.csv"), drill.Stage(), "none.csv"),
        (_plan(), drill.Stage(artifact=tmp_path / "no-artifact"), "no-artifact"),
        (_plan(), drill.Stage(broker=f"127.0.0.1:{free_port()}"), "nothing listens there"),
    ):
        with pytest.raises(HeadraceError, match=said):
            drill.conduct(_kind(), plan, stage)


def _kind() -> Any:
    return SimpleNamespace(needs=SimpleNamespace(own_broker=False))


def _plan(log: Path | None = None) -> Plan:
    return SimpleNamespace(log=log, needs=SimpleNamespace(own_broker=False))  # type: ignore[return-value]


@pytest.mark.model
def test_a_demo_checks_all_that_was_named_before_it_starts(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "running_broker", reached)
    monkeypatch.setattr(demo, "movielens_100k", reached)
    monkeypatch.setattr(demo, "split_by_time", reached)
    items = tiny.write_items(tmp_path / "items.csv")
    for options, said in (
        (demo.Options(DemoLog(log, tmp_path / "none.csv", "", "")), "none.csv"),
        (demo.Options(DemoLog(tmp_path / "gone.csv", items, "", "")), "gone.csv"),
        (demo.Options(DemoLog(log, items, "", "title=nope")), "nope"),
        (demo.Options(encoder="/no/such/model"), "/no/such/model"),
        (demo.Options(broker=f"127.0.0.1:{free_port()}"), "nothing listens there"),
    ):
        with pytest.raises(HeadraceError, match=said):
            demo.run_demo(options)


@pytest.mark.usefixtures("full_disk")
def test_a_demo_needs_room_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "movielens_100k", reached)
    with pytest.raises(InputError, match="make room"):
        demo.run_demo(demo.Options())


@pytest.mark.model
@pytest.mark.parametrize("missing", ["log", "items", "encoder"])
def test_bench_imputation_checks_its_inputs_before_it_reads_the_log(
    missing: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tools.training.inputs import TrainingSources

    monkeypatch.setattr(TrainingSources, "read_log", reached)
    items = tmp_path / "items.csv"
    items.write_text("item_id,title,price\ni1,Lamp,3\n")
    names = {"log": str(log), "items": str(items), "encoder": "fake"} | {missing: "/no/such/thing"}
    argv = ["bench", "imputation", names["log"], "--items", names["items"], "--encoder", names["encoder"]]
    assert main(argv) == 2
    assert "/no/such/thing" in capsys.readouterr().err


def test_bench_cold_start_misses_a_file_before_it_works(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cold-start", "--interactions", str(log), "--follows", "/no/such/follows.csv"]) == 2
    assert "/no/such/follows.csv" in capsys.readouterr().err


@pytest.mark.model
def test_a_model_is_checked_as_a_worker_would_load_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RecommenderSettings(artifact=str(tiny.artifact()), device="cpu", encoder_cache_dir=str(tmp_path / "c"))
    assert check_model(settings).takes_text
    monkeypatch.setattr(artifact_encoder, "open_encoder", _gone)
    with pytest.raises(InputError, match="no such model"):
        check_model(settings)


def _gone(*_: object) -> None:
    raise InputError("encoder fake: no such model")
