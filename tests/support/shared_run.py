"""The folder that the processes of one test run share, with its broker and its artifact.

::

    make test ── pytest ── makes the folder; at the end stops the broker and removes the folder
                   ├── worker 1 ─┐
                   └── worker 2 ─┴── broker(), once(): the first one makes it, the others wait
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from streams.errors import BrokerError
from tools.broker import engine_kafka, kafka_jars
from tools.broker.local_broker import BrokerInfo, named_broker, start_broker, stop_broker

VARIABLE = "TEST_RUN_FOLDER"
#: Names a running broker, which the tests then use instead of starting one.
NAMED_BROKER = "HEADRACE_TEST_BROKER"


def begin() -> Path:
    """Make the folder of this run, which other processes find by the environment."""
    folder = Path(mkdtemp(prefix="headrace-tests-"))
    os.environ[VARIABLE] = str(folder)
    return folder


def end(folder: Path) -> None:
    """Stop the broker of the run and remove its folder."""
    os.environ.pop(VARIABLE, None)
    stop_broker(folder / "broker")
    shutil.rmtree(folder, ignore_errors=True)


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the run that ``make`` has filled.

    The first process that asks calls ``make``.
    """
    shared = Path(os.environ[VARIABLE])
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, done = shared / name, shared / f"{name}.done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@cache
def broker() -> BrokerInfo:
    """Return a broker that answers: the named one, or the one of this run."""
    named = os.environ.get(NAMED_BROKER)
    if named:
        return named_broker(named)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # many tests at once need more than one deployment: the last option wins
        patch.setattr(engine_kafka, "JVM_OPTIONS", (*engine_kafka.JVM_OPTIONS, "-Xmx512m"))
        return start_broker(best_engine(), 0, Path(os.environ[VARIABLE]) / "broker")


@cache
def best_engine() -> str:
    """Return the engine ``kafka`` where it works or its jars can be fetched, else ``auto``."""
    if engine_kafka.problem() is not None:
        return "auto"
    try:
        kafka_jars.classpath()
    except BrokerError:
        return "auto"
    return "kafka"
