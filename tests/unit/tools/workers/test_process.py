"""Worker processes: started, watched, asked and stopped. A small script stands in for Faust."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.settings.load import HealthSettings
from tools.workers.ports import HOST, free_port
from tools.workers.process import Worker, WorkerError
from tools.workers.supervisor import Supervisor

#: Serves /health and /counts on the port given; the pages and the end follow from the mode.
SCRIPT = """
import http.server, json, os, signal, sys
mode, port = sys.argv[1], int(sys.argv[2])
if mode == "dies":
    sys.exit("ValueError: no artifact here")
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if mode == "busy" and self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"total": {"read": 3}, "broker": os.environ.get("HEADRACE_BROKER")}).encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Pages).serve_forever()
"""


class ScriptWorker(Worker):
    """A worker whose process is the script above."""

    def __init__(self, mode: str, folder: Path) -> None:
        super().__init__("sequencer", {"HEADRACE_BROKER": "named:1"}, free_port(), folder / "logs" / "worker.log")
        self.mode = mode

    def command(self) -> list[str]:
        return [sys.executable, "-c", SCRIPT, self.mode, str(self.web_port)]


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("127.0.0.9", "127.0.0.9"),
        ("fe80::1", "[fe80::1]"),
    ],  # noqa: S104
)
def test_pages_are_asked_for_where_they_are_bound(bind: str, host: str) -> None:
    """A worker bound to one address does not answer at another."""
    assert HealthSettings(web_bind=bind).page_host() == host


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


def test_command_is_the_one_of_the_documentation(tmp_path: Path) -> None:
    """A person can start a worker by the same command."""
    command = Worker("recommender", {}, 6066, tmp_path / "log").command()
    assert command[1:] == [
        "-m",
        "faust",
        "-A",
        "streams.recommender",
        "worker",
        "--loglevel",
        "info",
        "--web-port",
        "6066",
    ]


def test_worker_lives_as_long_as_the_block(tmp_path: Path) -> None:
    """Ready means that the health page says so; leaving the block ends the process."""
    with ScriptWorker("good", tmp_path) as worker:
        worker.wait_ready(10)
        assert worker.counts() == {"total": {"read": 3}, "broker": "named:1"}
        assert worker.is_running and worker.returncode is None
    assert not worker.is_running
    assert worker.returncode == -15


def test_proxy_of_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy cannot reach our loopback."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ScriptWorker("good", tmp_path) as worker:
        worker.wait_ready(10)


def test_death_before_ready_quotes_the_log(tmp_path: Path) -> None:
    """The error comes at once and says why in one line."""
    with ScriptWorker("dies", tmp_path) as worker, pytest.raises(WorkerError) as caught:
        worker.wait_ready(30)
    assert "code 1" in str(caught.value) and "no artifact here" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.model
def test_never_ready_ends_in_time(tmp_path: Path) -> None:
    """The wait for a worker that always answers 503 has an end."""
    with ScriptWorker("busy", tmp_path) as worker, pytest.raises(WorkerError, match="not ready after 1 s"):
        worker.wait_ready(1)


def test_counts_of_a_dead_worker_are_an_error(tmp_path: Path) -> None:
    """No answer is not a count of zero."""
    worker = ScriptWorker("good", tmp_path)
    with pytest.raises(WorkerError, match="no counts"):
        worker.counts()


def test_stubborn_worker_is_killed(tmp_path: Path) -> None:
    """Stop ends the process, also one that ignores SIGTERM."""
    worker = ScriptWorker("stubborn", tmp_path)
    worker.start()
    worker.wait_ready(10)
    assert worker.stop(timeout_s=0.3) == -9
    assert worker.stop() == -9, "stopping twice is harmless"


def test_kill_is_at_once_and_start_works_again(tmp_path: Path) -> None:
    """A drill kills and restarts; the log keeps both lives."""
    worker = ScriptWorker("stubborn", tmp_path)
    worker.start()
    first = worker.pid
    worker.kill()
    assert worker.returncode == -9
    worker.start()
    worker.wait_ready(10)
    assert worker.pid != first
    worker.kill()


def test_second_start_is_refused(tmp_path: Path) -> None:
    """Two processes with one port and one directory would damage each other's state."""
    with ScriptWorker("good", tmp_path) as worker, pytest.raises(WorkerError, match="runs already"):
        worker.start()


def test_log_tail_prefers_errors(tmp_path: Path) -> None:
    """The last lines of a log are of services that stop; the cause comes before them."""
    worker = ScriptWorker("good", tmp_path)
    assert worker.log_tail().endswith("empty")
    worker.log_path.parent.mkdir()
    worker.log_path.write_text("fine\nstreams.errors.BrokerError: gone\n" + "[INFO] Stopping...\n" * 50)
    assert worker.log_tail().endswith("streams.errors.BrokerError: gone")


def test_a_supervised_log_is_bounded_and_still_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that runs for months must not fill the disk; errors still quote its last lines."""
    monkeypatch.setattr(ScriptWorker, "bound_log", lambda self: Worker.bound_log(self, 1_000))
    before = ScriptWorker("good", tmp_path)
    before.log_path.parent.mkdir()
    before.log_path.write_bytes(b"x" * 5_000)  # as after restarts
    with ScriptWorker("good", tmp_path) as worker:
        with worker.log_path.open("ab") as log:
            log.write(b"x" * 6_000)
        assert Supervisor([worker]).check(time.monotonic()) == []
        assert worker.log_path.stat().st_size == 0
        with worker.log_path.open("ab") as log:
            log.write(b"ValueError: last words\n")
        assert worker.log_tail().endswith("ValueError: last words")


def test_log_tail_quotes_the_first_cause_of_a_crash(tmp_path: Path) -> None:
    """Errors of the shutdown are not the cause, however many lines they write."""
    worker = ScriptWorker("good", tmp_path)
    worker.log_path.parent.mkdir()
    later = "[ERROR] the worker ends: StalledError: second\nstreams.errors.StalledError: second\n"
    trace = "  File app.py, line 1\n" * 3_000
    worker.log_path.write_text("[ERROR] the worker ends: BrokerError: first\n" + trace + later)
    assert worker.log_tail().endswith("[ERROR] the worker ends: BrokerError: first")


def test_free_ports_differ() -> None:
    """Each worker needs a port of its own."""
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == 500 and all(1_024 <= port < 65_536 for port in ports)
    with socket.create_server((HOST, ports[0])):
        pass


def test_supervisor_restarts_with_growing_pauses_and_gives_up(tmp_path: Path) -> None:
    """The pauses between restarts grow, and the number of restarts has a limit."""
    worker = ScriptWorker("dies", tmp_path)
    worker.start()
    supervisor = Supervisor([worker], max_restarts=2, window_s=100)
    wait_until(lambda: not worker.is_running)
    first = worker.pid
    assert "restart in 0 s" in supervisor.check(0.0)[0]
    assert supervisor.check(0.0) == [] and worker.pid != first, "the first time at once"
    wait_until(lambda: not worker.is_running)
    second = worker.pid
    assert "restart in 1 s" in supervisor.check(1.0)[0]
    assert supervisor.check(1.9) == [] and worker.pid == second, "too early"
    supervisor.check(2.0)
    assert worker.pid != second
    wait_until(lambda: not worker.is_running)
    with pytest.raises(WorkerError, match="ended 3 times within 100 s.*no artifact here"):
        supervisor.check(4.0)


def test_supervisor_forgets_old_restarts(tmp_path: Path) -> None:
    """One crash a day does not count as a crash loop."""
    worker = ScriptWorker("dies", tmp_path)
    supervisor = Supervisor([worker], max_restarts=1, window_s=10)
    for now in (0.0, 100.0, 200.0):
        worker.start()
        wait_until(lambda: not worker.is_running)
        assert "restart in 0 s" in supervisor.check(now)[0]
        supervisor.check(now + 1.0)
        wait_until(lambda: not worker.is_running)


def test_supervisor_leaves_living_workers_alone(tmp_path: Path) -> None:
    """The supervisor does nothing while all workers run."""
    with ScriptWorker("good", tmp_path) as worker:
        assert Supervisor([worker]).check(time.monotonic()) == []


@pytest.mark.model
def test_children_of_the_worker_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of a worker must not outlive the worker."""

    class ShellWorker(ScriptWorker):
        def command(self) -> list[str]:
            return ["sh", "-c", "sleep 300 & echo $! > child; wait"]

    monkeypatch.chdir(tmp_path)
    worker = ShellWorker("good", tmp_path)
    worker.start()
    child = tmp_path / "child"
    wait_until(lambda: child.exists() and child.read_text().strip() != "")
    worker.kill()
    pid = child.read_text().strip()
    wait_until(lambda: subprocess.run(["kill", "-0", pid], capture_output=True, check=False).returncode != 0)
