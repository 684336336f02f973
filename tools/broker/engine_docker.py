"""Engine ``docker``: the Apache Kafka of ``docker-compose.yml``, where a Docker engine answers.

Each data directory has a compose project of its own, and so a volume of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from streams.errors import BrokerError
from tools.broker.kafka_jars import Progress
from tools.broker.state import LOG_FILE, BrokerState, write_state

NAME = "docker"
IMAGE_VERSION = "4.1.2"
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
#: Of the file's services this profile has the broker alone.
PROFILE = "one-broker"
ANSWER_TIMEOUT_S = 5
UP_TIMEOUT_S = 600  # the first start pulls the image
STOP_TIMEOUT_S = 60


def problem() -> str | None:
    """Return why this engine cannot work here, or ``None``; wait up to 5 s for Docker's answer."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if not COMPOSE_FILE.is_file():
        return f"{COMPOSE_FILE.name} is missing; run from a checkout"
    for command, what in (
        (["info", "--format", "{{.ServerVersion}}"], "its engine"),
        (["compose", "version"], "compose"),
    ):
        try:
            done = subprocess.run(
                ["docker", *command],
                capture_output=True,
                timeout=ANSWER_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return f"{what} does not answer within {ANSWER_TIMEOUT_S} s"
        if done.returncode != 0:
            return f"{what} does not answer"
    return None


def launch(data: Path, port: int, progress: Progress | None = None) -> BrokerState:
    """Start the container on ``port`` and wait until it is healthy.

    The record is written before the start, so that the container can be stopped in any case.

    Raises
    ------
    BrokerError : the image cannot be pulled or the container does not become healthy
    """
    state = BrokerState(NAME, IMAGE_VERSION, port, None, project_name(data))
    write_state(data, state)
    if progress is not None:
        progress("starting the container (the first start pulls its image)", 0, 1)
    done = _compose(state, ["up", "-d", "--wait"], UP_TIMEOUT_S)
    with (data / LOG_FILE).open("ab") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BrokerError(
            f"engine docker: the container did not start ({lines[-1].strip() if lines else 'no output'}); "
            f"see {data / LOG_FILE}, or use --engine kafka"
        )
    return state


def alive(state: BrokerState) -> bool:
    """Return whether the recorded container runs."""
    try:
        done = _compose(state, ["ps", "-q", "--status", "running"], STOP_TIMEOUT_S)
    except BrokerError:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def is_own(data: Path, state: BrokerState) -> bool:
    """Return whether a record names the compose project of that data directory."""
    return state.pid is None and state.identity == project_name(data)


def stop(state: BrokerState) -> None:
    """Stop and remove the container; its volume stays.

    Raises
    ------
    BrokerError : the docker engine refuses
    """
    done = _compose(state, ["down"], STOP_TIMEOUT_S)
    if done.returncode != 0:
        raise BrokerError(f"engine docker: project {state.identity} cannot be stopped; end it with docker compose -p")


def project_name(data: Path) -> str:
    """Return the compose project of a data directory."""
    return f"headrace-{hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:8]}"


def _compose(state: BrokerState, command: list[str], timeout_s: int) -> subprocess.CompletedProcess[bytes]:
    argv = ["docker", "compose", "-p", state.identity, "-f", str(COMPOSE_FILE), "--profile", PROFILE, *command]
    env = {**os.environ, "KAFKA_PORT": str(state.port)}
    try:
        return subprocess.run(
            argv, env=env, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BrokerError(f"engine docker: {' '.join(command)} did not end within {timeout_s} s; run it again") from exc
