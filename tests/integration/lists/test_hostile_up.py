"""Hostile artifacts at ``headrace up``, and at a recommender that an operator starts alone.

Each ends with one line, opens nothing outside, asks no hub, and takes little memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from streams.settings.load import Settings
from tests.support import hostile
from tests.support.programs import HEADRACE
from tests.support.watched import Watch
from tools.workers.ports import free_port

MAX_PEAK_KIB = 1 << 20
ROOT = Path(__file__).parents[3]
#: Two of the cases, and the words of their line; the other cases reach the same checks.
TOLD = {"encoder by an absolute path": "outside of", "a column where a vector belongs": "tensor mf.biases"}
#: Each start takes ten seconds, so only .ci/long tries all cases.
NAMES = list(
    hostile.CASES if os.environ.pop("HEADRACE_TEST_HOSTILE", "") == "all" else TOLD
)  # a command would read the variable as a setting
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="inotify watches what is opened"),
    pytest.mark.usefixtures("catalogue"),
    pytest.mark.long,
]


def run(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> tuple[int, str, int]:
    """Run a program; return its code, its output, and its peak memory in KiB.

    The peak is that of the largest of its processes.
    """
    with (folder / "printed").open("w+") as out:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return process.returncode, out.read(), used.ru_maxrss


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with an artifact and its text model."""
    return hostile.good(tmp_path_factory.mktemp("shop"))


@pytest.mark.parametrize("program", ["up", "worker"])
@pytest.mark.parametrize("name", NAMES)
def test_it_ends_with_one_line(settings: Settings, shop: Path, tmp_path: Path, name: str, program: str) -> None:
    """The recommender opens the text model before it is ready, because the catalogue has texts.

    The command ``up`` checks the model before it starts a worker.
    """
    artifact = hostile.make(shop / "models", tmp_path)[name]
    watch, hub = Watch([tmp_path / hostile.OUTSIDE]), hostile.Hub()
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "HF_"))}
    environ |= {
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HF_ENDPOINT": hub.address,
        "PYTHONPATH": str(ROOT),
    }
    environ |= {"HF_HOME": str(tmp_path / "hub"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [*HEADRACE, "up", "--broker", settings.kafka.broker, "--artifact", str(artifact)]
    begins = "headrace up: "
    if program == "worker":
        environ |= {"HEADRACE_BROKER": settings.kafka.broker, "HEADRACE_ARTIFACT": str(artifact)}
        command = [sys.executable, "-m", "faust", "-A", "streams.recommender", "worker", "--web-port", str(free_port())]
        begins = "cannot start: "
    idle = [
        sys.executable,
        "-c",
        "import streams.recommender.agent, transformers, models.text.encoder, models.ranking.pipeline",
    ]
    try:
        code, printed, peak_kib = run(command, environ, tmp_path)
        assert hub.n_connections == 0
    finally:
        hub.close()
    assert code in (1, 2), printed
    told = [line for line in printed.splitlines() if begins in line]
    assert len(told) == 1 and TOLD.get(name, "") in told[0], printed
    assert "Traceback" not in printed
    assert watch.opened() == []
    assert not list(tmp_path.rglob("mark"))
    assert peak_kib - run(idle, environ, tmp_path)[2] < MAX_PEAK_KIB
