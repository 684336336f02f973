"""What the processes of one test run share: a folder, and in it the broker and the artifact that the first asker makes.

::

    make test ── pytest ── makes the folder, names it in the environment, at the end stops the broker and removes it
                   ├── worker 1 ─┐
                   └── worker 2 ─┴── broker(), once(): the first one starts or makes it, the others wait for it
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from streams.errors import BrokerError
from tools.broker import engine_kafka, kafka_jars
from tools.broker.local_broker import BrokerInfo, named_broker, start_broker, stop_broker

VARIABLE = "TEST_RUN_FOLDER"
#: Names a broker that runs already; the tests then start none.
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
    """Return a folder of the run that ``make`` has filled; the process that asks first makes it."""
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
    return named_broker(named) if named else start_broker(best_engine(), 0, Path(os.environ[VARIABLE]) / "broker")


@cache
def best_engine() -> str:
    """Return the engine ``kafka`` where it works or can be fetched, else ``auto``; quick, as the jars are cached."""
    if engine_kafka.problem() is not None:
        return "auto"
    try:
        kafka_jars.classpath()
    except BrokerError:
        return "auto"
    return "kafka"
