"""A broker on this machine: start, status and stop.

::

    start_broker ── lock ── already running? ── port, disk ── engine.launch ── answer ── BrokerInfo
                                                   auto: docker, kafka, noida: the first that works

The broker outlives the process that started it. The next process finds it by ``broker.json`` in the
data directory.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from streams.errors import BrokerError
from tools.broker import engine_docker, engine_kafka, engine_noida
from tools.broker.kafka_jars import Progress
from tools.broker.probe import answer, check_broker, run_async
from tools.broker.state import (
    LOG_FILE,
    START_LOCK,
    START_MARK,
    STATE_FILE,
    BrokerState,
    check_folder,
    check_space,
    choose_port,
    clear_state,
    exclusive,
    not_believed,
    port_taken,
    prepare_data_dir,
    read_state,
    write_state,
)
from tools.workers.processes import Process, end_process

DEFAULT_DATA = Path(".headrace") / "broker"
START_TIMEOUT_S = 60.0
# first and longest: a node that starts may accept a connection and not answer
ATTEMPT_TIMEOUT_S = (1.0, 5.0)
POLL_S = 0.05


class Engine(Protocol):
    """What each module ``engine_*`` defines."""

    NAME: str

    def problem(self) -> str | None:
        """Return why the engine cannot work here, or ``None``."""

    def launch(self, data: Path, port: int, progress: Progress | None = None) -> BrokerState:
        """Start a broker and record it in the data directory."""

    def is_own(self, data: Path, state: BrokerState) -> bool:
        """Return whether a record is of a broker that this engine started for a data directory."""


ENGINES: dict[str, Engine] = {
    "docker": engine_docker,
    "kafka": engine_kafka,
    "noida": engine_noida,
}  # in the order in which auto tries them


@dataclass(frozen=True)
class BrokerInfo:
    """A broker that answers.

    Attributes
    ----------
    engine : ``docker``, ``kafka``, ``noida``, or ``named`` for a broker that a person named
    version : version of the engine; ``""`` for a named broker
    bootstrap : ``HOST:PORT`` for clients
    pid : id of the broker's process; ``None`` where headrace started no process
    data : its data directory; ``None`` for a named broker
    started : whether this call started it, so that this caller may stop it
    notes : why better engines were not used, and the limits of the engine
    """

    engine: str
    version: str
    bootstrap: str
    pid: int | None
    data: Path | None
    started: bool
    notes: list[str]


def start_broker(
    engine: str = "auto", port: int | None = None, data_dir: Path = DEFAULT_DATA, progress: Progress | None = None
) -> BrokerInfo:
    """Return the running broker of a data directory; start one if none runs. Repeat-safe.

    Parameters
    ----------
    engine
        ``auto``, ``docker``, ``kafka`` or ``noida``
    port
        port to listen on; 0 for any free port, ``None`` for 9092, or a free port where 9092 is
        taken
    data_dir
        its records and its log; they outlive stop and start
    progress
        called during a download, with a description, the steps done and the number of steps

    Raises
    ------
    BrokerError : no engine works, the port is taken, the disk is full, or no answer within 60 s
    """
    if engine != "auto" and engine not in ENGINES:
        raise BrokerError(f"--engine {engine!r}: must be one of auto, {', '.join(ENGINES)}")
    data = prepare_data_dir(data_dir)
    with exclusive(data / START_LOCK, what="another start or stop"):
        running = _running(data, engine, port)
        if running is not None:
            return running
        check_space(data)
        if engine != "auto":
            trouble = ENGINES[engine].problem()
            if trouble is not None:
                raise BrokerError(f"--engine {engine}: {trouble}; or use --engine auto or --broker HOST:PORT")
            return _start(ENGINES[engine], port, data, [], progress)
        return _start_best(port, data, progress)


def broker_status(data_dir: Path = DEFAULT_DATA) -> BrokerInfo | None:
    """Return the running broker of a data directory, or ``None``."""
    data = data_dir.expanduser().absolute()
    state = _recorded(data)
    return _info(data, state, started=False) if state is not None and _alive(state) else None


def broker_process(info: BrokerInfo) -> Process | None:
    """Return the process of a broker, or ``None`` where headrace started no process for it."""
    state = None if info.data is None else _recorded(info.data)
    return None if state is None else state.process


def stop_broker(data_dir: Path = DEFAULT_DATA) -> bool:
    """Stop the broker that was started for a data directory; return whether one was running.

    It ends no broker that another program started, and no process that got the id of a dead broker.
    """
    data = data_dir.expanduser().absolute()
    if not data.is_dir():
        return False
    check_folder(data)
    with exclusive(data / START_LOCK, what="another start or stop"):
        state = _recorded(data)
        stopped = state is not None and _end(state)
        clear_state(data)
        return stopped


@contextlib.contextmanager
def running_broker(
    bootstrap: str | None = None,
    *,
    client: Mapping[str, Any] | None = None,
    engine: str = "auto",
    port: int | None = None,
    data_dir: Path = DEFAULT_DATA,
    progress: Progress | None = None,
) -> Iterator[BrokerInfo]:
    """Give the named broker, the running broker, or a new broker that ends with the block."""
    if bootstrap:
        yield named_broker(bootstrap, client)
        return
    info = start_broker(engine, port, data_dir, progress)
    try:
        yield info
    finally:
        if info.started:
            stop_broker(data_dir)


def named_broker(bootstrap: str, client: Mapping[str, Any] | None = None) -> BrokerInfo:
    """Return the named broker after it answered; ``client`` has TLS and SASL settings."""
    check_broker(bootstrap, client)
    return BrokerInfo("named", "", bootstrap, None, None, False, [])


def _info(data: Path, state: BrokerState, *, started: bool) -> BrokerInfo:
    return BrokerInfo(state.engine, state.version, state.bootstrap, state.pid, data, started, list(state.notes))


def _recorded(data: Path) -> BrokerState | None:
    """Return the recorded broker, or ``None``.

    Raises
    ------
    BrokerError : the record cannot be trusted, or names no broker that its engine starts for this
        directory
    """
    state = read_state(data)
    if state is not None and (state.engine not in ENGINES or not ENGINES[state.engine].is_own(data, state)):
        raise not_believed(data / STATE_FILE, "names nothing that headrace starts for this folder")
    return state


def _alive(state: BrokerState) -> bool:
    return engine_docker.alive(state) if state.process is None else state.process.is_alive()


def _end(state: BrokerState, patience_s: float = 15.0) -> bool:
    """End a recorded broker; return whether it was running."""
    if state.process is not None:
        return end_process(state.process, patience_s)
    running = engine_docker.alive(state)
    engine_docker.stop(state)
    return running


def _running(data: Path, engine: str, port: int | None) -> BrokerInfo | None:
    """Return the broker that runs already, when it answers; clear the record of a dead one."""
    state = _recorded(data)
    if state is None or not _alive(state):
        clear_state(data)
        return None
    if engine not in ("auto", state.engine):
        raise BrokerError(f"--engine {engine}: {state.engine} runs on {data} already; run headrace broker stop first")
    if port not in (None, 0, state.port):
        raise BrokerError(
            f"--port {port}: the broker of {data} listens on {state.port}; run headrace broker stop first"
        )
    _wait(data, state)
    return _info(data, state, started=False)


def _start_best(port: int | None, data: Path, progress: Progress | None) -> BrokerInfo:
    """Start the first engine that works; the reasons against the others become notes."""
    choose_port(port)  # a taken port is no engine's fault
    notes: list[str] = []
    for name, engine in ENGINES.items():
        trouble = engine.problem()
        if trouble is None:
            try:
                return _start(engine, port, data, notes, progress)
            except BrokerError as exc:
                trouble = str(exc)
        notes.append(f"not {name}: {trouble}")
    raise BrokerError(f"--engine auto: no engine works ({'; '.join(notes)}); name a broker with --broker HOST:PORT")


def _start(engine: Engine, port: int | None, data: Path, notes: list[str], progress: Progress | None) -> BrokerInfo:
    """Start one engine, on another port where another program takes the chosen port meanwhile."""
    chosen = choose_port(port)
    try:
        return _start_on(engine, chosen, data, notes, progress)
    except BrokerError:
        if port is not None or not port_taken(chosen):
            raise
        return _start_on(engine, choose_port(0), data, notes, progress)


def _start_on(engine: Engine, port: int, data: Path, notes: list[str], progress: Progress | None) -> BrokerInfo:
    """Start one engine and wait for its answer; a failed start leaves no process and no record."""
    try:
        state = engine.launch(data, port, progress)
        limits = [engine_noida.LIMITS] if engine is engine_noida else []
        state = replace(state, notes=[*notes, *limits])
        write_state(data, state)
        _wait(data, state)
    except BaseException:
        left = read_state(data)
        if left is not None:
            with contextlib.suppress(BrokerError):
                _end(left, patience_s=2.0)
            clear_state(data)
        raise
    return _info(data, state, started=True)


def _wait(data: Path, state: BrokerState) -> None:
    """Wait until the broker answers a metadata request with itself in it.

    Raises
    ------
    BrokerError : the broker ended, or gave no answer within 60 s; the message quotes its log
    """
    # A broker that another program started at the same moment may have the port, and answer on it.
    own_id = engine_kafka.cluster_id(data) if state.engine == engine_kafka.NAME else None
    deadline = time.monotonic() + START_TIMEOUT_S
    attempt_s, longest_s = ATTEMPT_TIMEOUT_S
    while time.monotonic() < deadline:
        if state.process is not None and not state.process.is_alive():
            raise BrokerError(f"engine {state.engine}: ended while starting ({quote(data)}); see {data / LOG_FILE}")
        if port_taken(state.port):
            with contextlib.suppress(Exception):
                found = run_async(answer(state.bootstrap, None, attempt_s))
                if found.n_nodes > 0 and own_id in (None, found.cluster_id):
                    return
            attempt_s = min(2 * attempt_s, longest_s)
        time.sleep(POLL_S)
    raise BrokerError(
        f"engine {state.engine}: no answer on {state.bootstrap} within {START_TIMEOUT_S:.0f} s ({quote(data)}); "
        f"see {data / LOG_FILE}, then headrace broker stop and start again"
    )


def quote(data: Path) -> str:
    """Return the last exception in the log since the start, else the last error or line."""
    try:
        with (data / LOG_FILE).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - 50_000))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.rpartition(START_MARK)[2].splitlines() if line.strip()]
    exceptions = [x for x in lines if re.match(r"(Caused by: )?[\w.$]+(Exception|Error): ", x)]
    errors = [x for x in lines if re.search(r"\b(ERROR|FATAL|[Ee]rror:)", x)]
    return (exceptions or errors or lines or ["its log is empty"])[-1][:300]
