"""``headrace up``: what it starts, and what it refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.errors import BrokerError, InputError
from streams.settings.load import KafkaSettings, RecommenderSettings, Settings
from tests.support.programs import arguments
from tools.commands.running import up
from tools.workers.process import Worker
from tools.workers.supervisor import stop_all


def test_each_worker_has_its_own_port_directory_and_log(tmp_path: Path) -> None:
    """Two workers cannot share a RocksDB directory or a port."""
    settings = Settings(kafka=KafkaSettings(broker="b:1"), recommender=RecommenderSettings(artifact="art"))
    workers = up.build_workers(settings, 2, tmp_path)
    assert [worker.name for worker in workers] == ["sequencer", "sequencer", "recommender", "recommender"]
    assert len({worker.env["HEADRACE_DATA_DIR"] for worker in workers}) == 4
    assert len({worker.web_port for worker in workers}) == 4
    assert len({worker.log_path for worker in workers}) == 4
    assert {worker.env["HEADRACE_BROKER"] for worker in workers} == {"b:1"}
    assert {worker.env["HEADRACE_ARTIFACT"] for worker in workers} == {"art"}


def test_ports_can_be_fixed(tmp_path: Path) -> None:
    """A scrape configuration can then name the ports."""
    workers = up.build_workers(Settings(), 2, tmp_path, first_port=7000)
    assert [worker.web_port for worker in workers] == [7000, 7001, 7002, 7003]


@pytest.mark.parametrize("port", ["0", "-3", "65535", "70000"])
def test_ports_that_do_not_exist_are_refused(port: str, tmp_path: Path) -> None:
    """The last worker needs a port too."""
    with pytest.raises(InputError, match="--web-port .*1 to 65534"):
        up.run(arguments(up, "--web-port", port, "--artifact", str(tmp_path), "--broker", "127.0.0.1:1"))


@pytest.mark.parametrize("n", ["0", "-1", "5"])
def test_more_workers_than_partitions_are_refused(n: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would idle. Where the number of partitions is set, the command asks no broker."""
    monkeypatch.setenv("HEADRACE_PARTITIONS", "4")
    with pytest.raises(InputError, match="--workers .*1 to 4"):
        up.run(arguments(up, "--workers", n, "--artifact", str(tmp_path), "--broker", "127.0.0.1:1"))


def test_missing_artifact_is_refused_before_a_broker_is_started(tmp_path: Path) -> None:
    """The remedy is named."""
    with pytest.raises(InputError, match="--artifact .*headrace train"):
        up.run(arguments(up, "--artifact", str(tmp_path / "none"), "--broker", "127.0.0.1:1"))


def test_all_workers_are_stopped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow worker must not delay the stop of the others."""
    stopped: list[int] = []
    monkeypatch.setattr(Worker, "stop", lambda self, timeout_s: stopped.append(self.web_port))
    stop_all([Worker("sequencer", {}, port, tmp_path / "log") for port in (1, 2, 3)])
    assert sorted(stopped) == [1, 2, 3]


@pytest.mark.model
def test_a_model_that_cannot_serve_is_refused_before_a_broker_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the user waits for a broker and the topics, and reads of the model in a worker's log."""
    monkeypatch.setattr(up, "running_broker", lambda *_, **__: pytest.fail("a broker was started"))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="tensors.safetensors is missing"):
        up.run(arguments(up, "--artifact", str(tmp_path)))


def test_a_broker_that_is_not_there_is_told_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for it takes a moment, loading a model many seconds."""
    monkeypatch.setattr(up, "_check_model", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(BrokerError, match="127.0.0.1:1: nothing listens there"):
        up.run(arguments(up, "--artifact", str(tmp_path), "--broker", "127.0.0.1:1"))
