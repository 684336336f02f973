"""Every block of ``headrace`` commands in README and ``docs`` runs as it is written.

The commands run in order on a fresh deployment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import tiny
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo

pytestmark = pytest.mark.kafka
ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 240.0
_BLOCK: Final = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_IS_OURS: Final = re.compile(r"^([A-Z_]+=\S+ )*headrace ")
#: Commands that other tests run: a broker of this test stands in for the first; drills have short
#: forms.
ELSEWHERE: Final = {"headrace broker start": "test_broker.py", "headrace drill": "test_drill.py, test_drill_kinds.py"}
#: Programs in blocks of other people's tools, and make, which CI itself and test_demo.py run.
FOREIGN: Final = ("make ", "echo ", "kcat ")
#: An event without an id and a time: each one is new.
NEW_EVENT: Final = {"user_id": "u1", "item_id": "i3", "type": "view"}
STOP, START = "# stop the live workers", "# start the live workers"


def blocks(document: Path) -> list[list[str]]:
    """Return the lines of each shell block of a document.

    A line that a backslash continues is joined with the next one.
    """
    found = [m.group(1).replace("\\\n", " ").splitlines() for m in _BLOCK.finditer(document.read_text("utf-8"))]
    return [[line for line in lines if line.strip()] for lines in found]


def recipes(document: Path) -> list[list[str]]:
    """Return the blocks whose commands are headrace's."""
    return [lines for lines in blocks(document) if not lines[0].startswith(FOREIGN)]


class Shell:
    """Runs lines of a recipe in one folder, against one broker."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # Comparing runs needs lists that depend on windows, catalogue and artifact alone:
        # docs/data/replaying.md, Compare.
        own = {"HEADRACE_BROKER": broker, "HEADRACE_ARTIFACT": "artifact", "HEADRACE_LIVE_POPULARITY": "off"}
        self.env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **own}
        self.live: subprocess.Popen[str] | None = None

    def run(self, line: str) -> None:
        """Run one line of a block to its end.

        A command that runs until Ctrl-C is ended once it has shown that it works.
        """
        if line.startswith(STOP):
            self.stop_live()
        elif line.startswith(START) or " up" in line.split("#")[0]:
            self.start_live("headrace up" if line.startswith(START) else line)
        elif any(line.startswith(skipped) for skipped in ELSEWHERE):
            return
        elif "--follow" in line:
            self.follow(line)
        else:
            self.finish(line)

    def finish(self, line: str) -> str:
        """Run a command to its end; it must exit 0."""
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"{line}\nexit {done.returncode}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"
        return done.stdout

    def follow(self, line: str) -> None:
        """Run a command that follows a topic until it prints a list of a new event.

        Then press Ctrl-C.
        """
        printed = self.folder / "followed.txt"
        with printed.open("w") as output:
            process = self._start(line, output)
        try:
            wait_until(lambda: "waiting for new lists" in printed.read_text(), 60, lambda: f"no output: {line}")
            user = re.search(r"--user (\S+)", line)
            event = NEW_EVENT | ({"user_id": user[1]} if user else {})
            self.finish(f"echo '{json.dumps(event)}' | headrace produce -")
            wait_until(lambda: "revision" in printed.read_text(), 60, lambda: f"no list: {line}")
        finally:
            end(process)

    def start_live(self, line: str) -> None:
        """Start ``headrace up`` and wait until both apps run."""
        self.stop_live()
        with (self.folder / "up.log").open("w") as log:
            self.live = self._start(line, log)
        told = (self.folder / "up.log").read_text
        wait_until(lambda: "running; Ctrl-C stops" in told() or self.live.poll() is not None, 180, told)  # type: ignore[union-attr]
        assert self.live.poll() is None, told()

    def stop_live(self) -> None:
        """Stop it, as Ctrl-C does."""
        if self.live is not None:
            end(self.live)
            self.live = None

    def _start(self, line: str, output: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            f"exec {line}",
            shell=True,
            cwd=self.folder,
            env=self.env,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def end(process: subprocess.Popen[str]) -> None:
    """Send Ctrl-C to one process and wait for its end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    finally:
        process.kill()


@contextmanager
def deployment(folder: Path, broker: BrokerInfo) -> Iterator[Shell]:
    """Give a shell in a folder that holds the files which the recipes name."""
    tiny.write_named_files(folder)
    shell = Shell(folder, broker.bootstrap)
    try:
        yield shell
    finally:
        shell.stop_live()


def run_all(shell: Shell, document: str) -> None:
    for lines in recipes(ROOT / document):
        for line in lines:
            shell.run(line)


def test_every_shell_block_is_run_here_or_named_as_somebody_elses() -> None:
    """A new document with commands must come into this test."""
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_recipes = {str(d.relative_to(ROOT)) for d in documents if recipes(d)}
    assert with_recipes == {"README.md", "docs/data/replaying.md", "docs/contract/README.md"}
    lines = [line for document in documents for block in recipes(document) for line in block]
    assert [line for line in lines if not _IS_OURS.match(line) and not line.startswith((STOP, START))] == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_readme(tmp_path: Path, own_broker: BrokerInfo) -> None:
    """From a catalogue and a history to lists, by the commands of README."""
    with deployment(tmp_path, own_broker) as shell:
        run_all(shell, "README.md")
        assert "healthy" in shell.finish("headrace status")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_contract(tmp_path: Path, own_broker: BrokerInfo) -> None:
    """What the contract tells producers and subscribers to run, beside workers that run."""
    with deployment(tmp_path, own_broker) as shell:
        shell.start_live(f"headrace up --artifact {tiny.artifact()}")
        run_all(shell, "docs/contract/README.md")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_replaying(tmp_path: Path, own_broker: BrokerInfo) -> None:
    """A new deployment is back-filled on a cluster without any group.

    Then the window bounds change, and then the partition count.
    """
    backfill, *changes = recipes(ROOT / "docs/data/replaying.md")
    (tmp_path / "artifact").symlink_to(tiny.artifact())
    for number, lines in enumerate([backfill, *changes]):
        with deployment(tmp_path, own_broker) as shell:
            roots, prefix = str(tiny.artifact().parent), f"d{number}-"
            shell.env |= {"HEADRACE_ARTIFACT_ROOTS": roots, "HEADRACE_TOPIC_PREFIX": prefix}
            if lines is not backfill:
                shell.finish("headrace produce events.jsonl")
                shell.start_live("headrace up")
            for line in lines:
                shell.run(line)
