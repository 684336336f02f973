"""Engine docker with a fake docker command: its choice, its calls, and its stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.errors import BrokerError
from tools.broker import engine_docker, local_broker
from tools.broker.local_broker import broker_status, start_broker, stop_broker
from tools.broker.probe import Answer
from tools.broker.state import BrokerState, read_state

# Answers by the files beside it: `down` no engine, `fails` no image, `up` is there while the
# container runs.
FAKE = """\
#!/bin/sh
here=$(dirname "$0")
echo "$KAFKA_PORT $*" >>"$here/calls"
case "$*" in
    info*) [ ! -f "$here/down" ];;
    *" up "*) [ ! -f "$here/fails" ] || { echo "pull access denied" >&2; exit 1; }; touch "$here/up";;
    *" ps "*) if [ -f "$here/up" ]; then echo 0123; fi;;
    *" down") rm -f "$here/up";;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of a fake docker command, and a broker that answers at once."""

    async def answer(*_: object) -> Answer:
        return Answer(1, None)

    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(local_broker, "port_taken", lambda _port: True)
    monkeypatch.setattr(local_broker, "answer", answer)
    return folder


def test_an_engine_that_answers_is_taken_first_and_stop_ends_its_project_only(docker: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    info = start_broker("auto", 0, data)
    assert (info.engine, info.pid, info.started, info.notes) == ("docker", None, True, [])
    assert broker_status(data) is not None
    assert start_broker("docker", 0, data).started is False
    assert stop_broker(data)
    assert broker_status(data) is None
    calls = (docker / "calls").read_text().splitlines()
    project = engine_docker.project_name(data)
    port = info.bootstrap.partition(":")[2]
    assert all(call.startswith(f"{port} compose -p {project} -f ") for call in calls if " compose -p" in call)
    assert any(call.endswith(" --profile one-broker up -d --wait") for call in calls) and calls[-1].endswith(" down")
    assert "--volumes" not in " ".join(calls)


def test_an_engine_that_does_not_answer_is_said(docker: Path, tmp_path: Path) -> None:
    (docker / "down").touch()
    assert engine_docker.problem() == "its engine does not answer"
    with pytest.raises(BrokerError, match="--engine docker: its engine does not answer; or use --engine auto"):
        start_broker("docker", 0, tmp_path / "data")


def test_an_image_that_cannot_be_pulled_is_said_and_nothing_stays_behind(docker: Path, tmp_path: Path) -> None:
    (docker / "fails").touch()
    with pytest.raises(BrokerError, match=r"did not start \(pull access denied\); see .*broker\.log, or use"):
        start_broker("docker", 0, tmp_path / "data")
    assert read_state(tmp_path / "data") is None


def test_a_container_that_is_gone_counts_as_stopped(docker: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    start_broker("docker", 0, data)
    (docker / "up").unlink()
    assert broker_status(data) is None
    assert not stop_broker(data)


def test_two_data_folders_are_two_projects(tmp_path: Path) -> None:
    assert engine_docker.project_name(tmp_path / "a") != engine_docker.project_name(tmp_path / "b")


def test_without_the_command_a_recorded_container_counts_as_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert engine_docker.problem() == "there is no docker command"
    assert not engine_docker.alive(BrokerState("docker", "1", 1, None, "p"))
