"""The rules of the local broker that need no broker: its process, port, lock and disk space."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from streams.errors import BrokerError, InputError
from tools.broker import engine_kafka, local_broker
from tools.broker import probe as broker_probe
from tools.broker import state as broker_state
from tools.broker.local_broker import broker_status, start_broker, stop_broker
from tools.broker.state import BrokerState, read_state, write_state
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.processes import end_process, process_identity, started


class FakeEngine:
    """An engine that starts a sleeping process, or says why it cannot."""

    def __init__(self, name: str, trouble: str | None = None) -> None:
        self.NAME = name
        self.trouble = trouble

    def problem(self) -> str | None:
        return self.trouble

    def launch(self, data: Path, port: int, progress: object = None) -> BrokerState:
        argv = [sys.executable, "-c", "import time; time.sleep(600)"]
        return broker_state.spawn(data, self.NAME, "0", port, argv, dict(os.environ))

    def is_own(self, data: Path, state: BrokerState) -> bool:
        return True


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Give the id of a process that headrace did not start."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def listener() -> Iterator[int]:
    """Give a port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def use_engines(monkeypatch: pytest.MonkeyPatch, *engines: FakeEngine, answers: bool = True) -> None:
    async def answer(*_: object) -> broker_probe.Answer:
        if not answers:
            raise ConnectionError
        return broker_probe.Answer(1, "theirs")

    monkeypatch.setattr(local_broker, "ENGINES", {engine.NAME: engine for engine in engines})
    monkeypatch.setattr(local_broker, "port_taken", lambda _port: True)
    monkeypatch.setattr(local_broker, "answer", answer)


def as_kafka(data: Path) -> list[str]:
    """Return the part of a node's command line that headrace checks."""
    return ["java", engine_kafka.MAIN_CLASS, str(data / engine_kafka.PROPERTIES)]


def test_a_record_of_a_dead_process_is_passed_over_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_state(tmp_path, BrokerState("kafka", "1", 1, gone.pid, "whatever", [], as_kafka(tmp_path)))
    assert broker_status(tmp_path) is None
    use_engines(monkeypatch, FakeEngine("kafka"))
    info = start_broker("kafka", 0, tmp_path)
    assert info.started and info.pid != gone.pid
    assert stop_broker(tmp_path)


def test_a_process_id_used_again_by_another_process_is_left_alone(tmp_path: Path, sleeper: int) -> None:
    before = "the identity of a process that had this id before"
    write_state(tmp_path, BrokerState("kafka", "1", 1, sleeper, before, [], as_kafka(tmp_path)))
    assert broker_status(tmp_path) is None
    assert not stop_broker(tmp_path)
    assert process_identity(sleeper) is not None
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"engine": "kafka"}', '"x"'])
def test_an_unreadable_record_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / broker_state.STATE_FILE).write_text(content)
    assert broker_status(tmp_path) is None
    assert not stop_broker(tmp_path)


def test_stop_where_nothing_was_ever_started_says_no_and_creates_nothing(tmp_path: Path) -> None:
    assert not stop_broker(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        assert end_process(started(process), patience_s=0.2)
    assert process.wait() == -signal.SIGKILL


def test_a_zombie_counts_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.read()  # ends with the process, which stays a zombie until it is waited for
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_identity(process.pid) is None
    process.wait()


def test_an_explicit_port_that_is_taken_is_refused_by_name(tmp_path: Path, listener: int) -> None:
    with pytest.raises(BrokerError, match=f"--port {listener}: is taken.*name another"):
        start_broker("auto", listener, tmp_path)


def test_without_a_port_9092_is_taken_if_free_and_another_if_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_state, "port_taken", lambda _port: False)
    assert broker_state.choose_port(None) == 9092
    monkeypatch.setattr(broker_state, "port_taken", lambda port: port == 9092)
    assert broker_state.choose_port(None) not in (0, 9092)


def test_too_little_space_is_said_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(0, 0, 499_000_000))
    with pytest.raises(BrokerError, match="499 MB are free, at least 500 MB are needed; free some space"):
        start_broker("auto", 0, tmp_path)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match="file: cannot be written"):
        start_broker("auto", 0, tmp_path / "file")


def test_the_lock_admits_one_and_names_what_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with broker_state.exclusive(path, what="the first"):
        with (
            pytest.raises(BrokerError, match="the first holds it"),
            broker_state.exclusive(path, what="the first", timeout_s=0.1),
        ):
            pass
    with broker_state.exclusive(path, what="nobody", timeout_s=0.1):
        pass


def test_two_starts_at_once_give_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engines(monkeypatch, FakeEngine("kafka"))
    found = []
    threads = [threading.Thread(target=lambda: found.append(start_broker("kafka", 0, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({info.pid for info in found}) == 1
    assert sorted(info.started for info in found) == [False, False, False, True]
    assert stop_broker(tmp_path)


def test_auto_takes_the_first_that_works_and_says_why_not_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_engines(monkeypatch, FakeEngine("docker", "no engine"), FakeEngine("kafka"), FakeEngine("noida"))
    info = start_broker("auto", 0, tmp_path)
    stop_broker(tmp_path)
    assert (info.engine, info.notes) == ("kafka", ["not docker: no engine"])


def test_auto_without_any_engine_names_them_all_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engines(monkeypatch, FakeEngine("docker", "no engine"), FakeEngine("kafka", "no jars"))
    with pytest.raises(BrokerError, match="not docker: no engine; not kafka: no jars.*--broker HOST:PORT"):
        start_broker("auto", 0, tmp_path)


@pytest.mark.parametrize(("engine", "port"), [("noida", None), ("auto", 1)])
def test_a_running_broker_of_another_kind_is_not_passed_off_as_the_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, port: int | None
) -> None:
    use_engines(monkeypatch, FakeEngine("kafka"), FakeEngine("noida"))
    start_broker("kafka", 0, tmp_path)
    try:
        with pytest.raises(BrokerError, match="run headrace broker stop first"):
            start_broker(engine, port, tmp_path)
    finally:
        stop_broker(tmp_path)


def test_a_start_that_gets_no_answer_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engines(monkeypatch, FakeEngine("kafka"), answers=False)
    monkeypatch.setattr(local_broker, "START_TIMEOUT_S", 0.2)
    started: list[BrokerState] = []

    def record(data: Path, state: BrokerState) -> None:
        started.append(state)
        write_state(data, state)

    monkeypatch.setattr(broker_state, "write_state", record)
    with pytest.raises(BrokerError, match=r"no answer on 127.0.0.1:\d+ within.*broker\.log, then headrace broker stop"):
        start_broker("kafka", 0, tmp_path)
    assert read_state(tmp_path) is None
    assert started and process_identity(started[0].pid or 0) is None


def test_a_broker_that_another_program_started_on_the_port_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cluster has another id; without a given port the next try listens elsewhere."""
    use_engines(monkeypatch, FakeEngine("kafka"))
    monkeypatch.setattr(local_broker, "START_TIMEOUT_S", 0.2)
    (tmp_path / "kafka").mkdir(parents=True)
    (tmp_path / "kafka" / "meta.properties").write_text("cluster.id=ours\n")
    ports: list[int] = []
    monkeypatch.setattr(broker_state, "port_taken", lambda _port: bool(ports))
    launch = FakeEngine.launch

    def record(engine: FakeEngine, data: Path, port: int, progress: object = None) -> BrokerState:
        ports.append(port)
        return launch(engine, data, port, progress)

    monkeypatch.setattr(FakeEngine, "launch", record)
    with pytest.raises(BrokerError, match="no answer on"):
        start_broker("kafka", None, tmp_path)
    assert ports[0] == 9092 and len(ports) == 2 and ports[1] != 9092
    (tmp_path / "kafka" / "meta.properties").write_text("cluster.id=theirs\n")
    assert start_broker("kafka", 0, tmp_path).started
    assert stop_broker(tmp_path)


@pytest.mark.parametrize(
    ("since", "quoted"),
    [
        ("WARN a\nERROR the disk is on fire\nINFO fine\n", "ERROR the disk is on fire"),
        (
            "ERROR Exiting\njava.lang.RuntimeException: no leader\n\tat kafka.Kafka.main\n",
            "java.lang.RuntimeException: no leader",
        ),
        ("error: port 1 in use\n", "error: port 1 in use"),
        ("starting\n", "starting"),
        ("", "kafka"),
    ],
)
def test_the_telling_line_of_this_start_is_quoted_from_the_log(tmp_path: Path, since: str, quoted: str) -> None:
    log = f"ERROR of the last start\n{broker_state.START_MARK}kafka\n{since}"
    (tmp_path / broker_state.LOG_FILE).write_text(log)
    assert local_broker.quote(tmp_path) == quoted


def test_what_listens_but_is_no_kafka_is_said_to_be_none() -> None:
    def hang_up(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, args=(server,))
        thread.start()
        try:
            with pytest.raises(BrokerError, match="it listens but gives no Kafka answer"):
                broker_probe.check_broker(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=2.0)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_interrupt_during_the_start_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_engines(monkeypatch, FakeEngine("kafka"))
    pids = []

    def interrupt(_data: Path, state: BrokerState) -> None:
        pids.append(state.pid or 0)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_broker, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start_broker("kafka", 0, tmp_path)
    assert process_identity(pids[0]) is None
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("bad", ["", "host", "host:", "host:0", "host:65536", ":9092", "host:9a", "a:1,,b:2"])
def test_a_malformed_bootstrap_is_bad_input(bad: str) -> None:
    with pytest.raises(InputError, match=r"must be HOST:PORT"):
        broker_probe.parse_bootstrap(bad)


def test_a_named_broker_where_nothing_listens_is_said_with_the_remedy() -> None:
    port = free_port()
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}: nothing listens there; run headrace broker start"):
        broker_probe.check_broker(f"127.0.0.1:{port}")


def test_a_path_is_escaped_as_java_reads_it_and_a_comma_refused() -> None:
    assert engine_kafka.escape_property("/a b/日\\😀") == "/a b/\\u65e5\\\\\\ud83d\\ude00"
    with pytest.raises(BrokerError, match="may hold no comma"):
        engine_kafka.escape_property("/a,b")


def test_the_local_broker_listens_on_this_machine_alone(tmp_path: Path) -> None:
    """It has no TLS and no login. Engine docker runs the compose file."""
    properties = engine_kafka.variable_properties(tmp_path, 9092, ())
    listed = re.findall(r"(?m)^(?:advertised\.)?listeners=(.*)$", properties)
    assert len(listed) == 2
    assert {address.split("//")[1].split(":")[0] for line in listed for address in line.split(",")} == {"127.0.0.1"}
    services = yaml.safe_load((Path(__file__).parents[4] / "docker-compose.yml").read_text("utf-8"))["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_bad_usage_exits_2_and_no_broker_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["broker", "start", "--port", "70000"]) == 2
    assert "--port 70000: must be 0 to 65535" in capsys.readouterr().err
    assert main(["broker", "status"]) == 1
    assert "no broker runs there" in capsys.readouterr().err
    assert main(["broker", "stop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stopped"] is False


def test_a_read_only_lock_error_other_than_held_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="no locks"), broker_state.exclusive(tmp_path / "lock", what="nobody"):
        pass
