"""A deployment that tests of ``headrace replay --into`` rebuild, compare and promote."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import Event, encode
from streams.contract.windows import decode_window
from streams.kafka.group_watch import GroupWatch
from streams.kafka.publisher import Publisher
from streams.kafka.topic_reader import read_records
from streams.settings.load import Settings
from tests.support import tiny
from tests.support.programs import HEADRACE
from tests.support.waiting import wait_until
from tools.main import main
from tools.replay.rebuild import promote as rebuild_promote
from tools.replay.rebuild.compare_runs import Held, read_held
from tools.replay.rebuild.manifest import Manifest, load_manifest, save_manifest
from tools.replay.rebuild.run_workers import backlog, wait_until_idle
from tools.workers.apps import APP_NAMES
from tools.workers.ports import free_port
from tools.workers.process import Worker
from tools.workers.supervisor import stop_all

WAIT_S = 90.0
MAX_EVENTS = 5


@dataclass
class Live:
    """A deployment and its two workers, which run between :meth:`start` and :meth:`stop`."""

    settings: Settings
    folder: Path
    window_max_events: int = MAX_EVENTS
    workers: list[Worker] = field(default_factory=list)
    commands: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """The environment of workers and commands."""
        names = {f"HEADRACE_{name.upper()}": topic for name, topic in self.settings.kafka.named_topics().items()}
        return names | {
            "HEADRACE_BROKER": self.settings.kafka.broker,
            "HEADRACE_TOPIC_PREFIX": self.settings.kafka.topic_prefix,
            "HEADRACE_ARTIFACT": str(tiny.artifact()),
            "HEADRACE_ENCODER_CACHE_DIR": str(self.folder / "texts"),
            "HEADRACE_WINDOW_MAX_EVENTS": str(self.window_max_events),
            "HEADRACE_LIVE_POPULARITY": "off",
            "HEADRACE_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        """Start both workers and wait until they are ready."""
        self.workers = [Worker(app, self.env, free_port(), self.folder / f"{app}.log") for app in APP_NAMES]
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait_ready(WAIT_S)

    def stop(self) -> None:
        """Stop both workers and wait until their groups are empty. Repeat-safe."""
        stop_all(self.workers)
        asyncio.run(wait_until_idle(self.settings.kafka))

    def settle(self) -> None:
        """Wait until every event is sequenced and every window has its list."""
        wait_until(lambda: not any(left(self.settings)), WAIT_S, lambda: str(left(self.settings)))

    def command(self, *argv: str) -> list[str]:
        """Return the arguments of ``headrace replay`` here."""
        return ["replay", *argv, "--state-dir", str(self.folder / "runs"), "--json"]

    def replay(self, *argv: str) -> int:
        """Run ``headrace replay``; return its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            return main(self.command(*argv))

    def begin(self, *argv: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start ``headrace replay`` as a process of its own."""
        command = [*HEADRACE, *self.command(*argv)]
        env = {**os.environ, **self.env, **variables}
        self.commands.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL))
        return self.commands[-1]

    def kill_commands(self) -> None:
        """End the commands that a failed test left running; their workers end with them."""
        for command in self.commands:
            command.kill()
            command.wait()

    def manifest(self, run: str) -> Manifest:
        """Return a run's manifest."""
        return load_manifest(self.folder / "runs" / run)

    def save(self, run: str, manifest: Manifest) -> None:
        """Replace a run's manifest."""
        save_manifest(self.folder / "runs" / run, manifest)

    def publish(self, events: Iterable[Event]) -> None:
        """Publish live events."""

        async def run() -> None:
            async with Publisher(self.settings.kafka) as publisher:
                for event in events:
                    await publisher.publish(self.settings.kafka.topic("events"), event.user_id.encode(), encode(event))

        asyncio.run(run())


def left(settings: Settings) -> list[int]:
    """Return how many records each group has not committed."""

    async def run() -> list[int]:
        watches = [GroupWatch(settings.kafka, settings.kafka.group(app)) for app in APP_NAMES]
        try:
            return await backlog(settings.kafka, watches)
        finally:
            for watch in watches:
                await watch.stop()

    return asyncio.run(run())


def held(settings: Settings) -> Held:
    """Return the newest windows and lists."""
    return asyncio.run(read_held(settings.kafka))


def records(settings: Settings, topic: str) -> list[Any]:
    """Return all records of a topic of the contract."""

    async def run() -> list[Any]:
        return [record async for record in read_records(settings.kafka, settings.kafka.topic(topic))]

    return asyncio.run(run())


def last_json(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the JSON object on the last line of standard output."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def promote_until(live: Live, run: str, last_step: str) -> None:
    """Promote, and end as a crash would right after a step."""

    def on_step(step: str) -> None:
        if step == last_step:
            raise ConnectionAbortedError(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuild_promote, "_step_saver", lambda _manifest, _folder: on_step)
        with pytest.raises(ConnectionAbortedError):
            live.replay("--promote", run, "--yes")
    assert load_manifest(live.folder / "runs" / run).state == "promoting"


def without_revisions(windows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return windows with all revisions 0."""
    found = {key: decode_window(value) for key, value in windows.items()}
    for state in found.values():
        state.revision = 0
    return {key: encode(state) for key, state in found.items()}
