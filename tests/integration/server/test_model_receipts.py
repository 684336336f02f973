"""Servers answer for announced artifacts: in force, refused, or no model; kills at any point."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.artifact.artifact import load_artifact
from streams.announcements.sending.announce import announced
from streams.contract.announcements import ModelAnnouncement
from streams.settings.load import Settings
from tests.integration.announcements.test_killed_commands import Shell
from tests.integration.announcements.test_receipts import member
from tests.integration.lists.test_model_swap import damaged_checksum
from tests.integration.server.test_serve import PROGRAM, Running, serving
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.announcing.models import Swap, publish_artifact, roll_back
from tools.drills.acts.second_artifact import write_second_artifact

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("catalogue", "several_workers"),
]
WAIT_S = 90.0
#: A server that dies when it would give the receipt of an artifact that was announced.
DIES_BEFORE_ITS_RECEIPT = """
import os, signal, sys
from streams.announcements.receipts import Receipts
from tools.main import main

give = Receipts.give

def give_or_die(self, kind, announcement, *, stage, **more):
    if kind == "model" and stage == "done" and not announcement.endswith("@none"):
        os.kill(os.getpid(), signal.SIGKILL)
    return give(self, kind, announcement, stage=stage, **more)

Receipts.give = give_or_die
sys.exit(main(sys.argv[1:]))
"""


def variables(folder: Path) -> dict[str, str]:
    """Return the settings of a server with a model."""
    return {
        "HEADRACE_SERVE_RANKING": "on",
        "HEADRACE_ARTIFACT": str(folder / "first"),
        "HEADRACE_ARTIFACT_ROOTS": str(folder),
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "texts"),
    }


@pytest.fixture
def versions(tmp_path: Path) -> tuple[str, str]:
    """Write the folders ``first`` and ``second``; return the versions of these artifacts."""
    shutil.copytree(tiny.artifact(), first := tmp_path / "first")
    return load_artifact(first).version, write_second_artifact(first, tmp_path / "second")


def artifact_of(server: Running) -> str:
    """Return the artifact that answers on demand name."""
    status, found = server.ask("/v1/popular?n=1")
    assert status == 200, found
    return str(found["artifact"])


class Publishing:
    """Announces an artifact and waits for the receipts, beside what the test does meanwhile."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._found: list[Swap | BaseException] = []
        self._arguments = settings.kafka, folder, "live"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            swap = asyncio.run(publish_artifact(*self._arguments, refresh_days=None, timeout_s=WAIT_S))
            self._found.append(swap)
        except BaseException as exc:
            self._found.append(exc)

    def result(self) -> Swap:
        """Wait for the end."""
        self._thread.join(WAIT_S + 30)
        (found,) = self._found
        assert isinstance(found, Swap), found
        return found


def told(swap: Swap) -> list[tuple[str, str]]:
    """Return stage and detail of each server's answer."""
    assert swap.answers is not None and swap.answers.missing == (), swap.answers
    assert {receipt.app for receipt in swap.answers.given} == {"server"}
    return sorted((receipt.stage, receipt.detail) for receipt in swap.answers.given)


def held(settings: Settings) -> ModelAnnouncement:
    record = asyncio.run(announced(settings.kafka, "models", ModelAnnouncement))["live"].record
    assert record is not None
    return record


@contextlib.contextmanager
def two_servers(settings: Settings, folder: Path) -> Iterator[Running]:
    """Give a server with a model; another one, without, runs beside it."""
    (plain := folder / "plain").mkdir()
    with serving(settings, plain), serving(settings, folder, **variables(folder)) as server:
        yield server


def test_each_server_answers_for_an_artifact_and_a_bad_one_changes_nothing(
    settings: Settings, tmp_path: Path, versions: tuple[str, str]
) -> None:
    """One that has no model says so; the answer to a bad artifact says why, and what serves on."""
    first, second = versions
    no_model = ("done", "it has no model: serve_ranking is off")
    with two_servers(settings, tmp_path) as server:
        assert artifact_of(server) == first
        assert told(Publishing(settings, tmp_path / "second").result()) == sorted([("done", second), no_model])
        assert artifact_of(server) == second
        shutil.copytree(tmp_path / "first", bad := tmp_path / "bad")
        server.process.send_signal(signal.SIGSTOP)
        try:
            publishing = Publishing(settings, bad)
            wait_until(lambda: held(settings).uri == str(bad), WAIT_S, lambda: "not announced")
            damaged_checksum(bad)
        finally:
            server.process.send_signal(signal.SIGCONT)
        swap = publishing.result()
        (failed,) = swap.answers.failed if swap.answers is not None else ()
        assert (failed.app, failed.artifact) == ("server", second) and "checksum" in failed.detail
        assert artifact_of(server) == second
        swap = asyncio.run(roll_back(settings.kafka, "live", refresh_days=None, timeout_s=WAIT_S))
        assert told(swap) == sorted([("done", second), no_model])


def test_a_server_that_dies_before_its_receipt_is_replaced_and_so_is_the_command(
    settings: Settings, tmp_path: Path, versions: tuple[str, str]
) -> None:
    """The next server loads what is announced, and answers; the next command announces it again."""
    first, second = versions
    kafka, own, servers = settings.kafka, variables(tmp_path), list[Running]()

    async def serve(*program: str) -> Running:
        servers.append(await asyncio.to_thread(Running, settings, tmp_path, program or PROGRAM, **own))
        await asyncio.to_thread(servers[-1].wait_ready)
        return servers[-1]

    async def run() -> None:
        async with member(kafka) as (_, recommender):  # without it, a command waits for nobody when a server dies
            dying = await serve("-c", DIES_BEFORE_ITS_RECEIPT)
            publishing = asyncio.ensure_future(
                publish_artifact(kafka, tmp_path / "second", "live", refresh_days=None, timeout_s=WAIT_S)
            )
            assert await asyncio.to_thread(dying.process.wait, WAIT_S) == -signal.SIGKILL, "it had it in force"
            server = await serve()
            held = (await announced(kafka, "models", ModelAnnouncement))["live"]
            await recommender.give("model", held.id, stage="done")
            swap = await publishing
            assert swap.answers is not None and swap.answers.missing == ()
            assert [one.detail for one in swap.answers.given if one.app == "server"] == [second]
            assert await asyncio.to_thread(artifact_of, server) == second
            shell, argv = Shell(settings, tmp_path), ("models", "publish", str(tmp_path / "first"))
            _, killed = await shell.kill_when("models", ModelAnnouncement, "live", *argv)
        again = await shell.run(*argv)
        assert [(one["app"], one["stage"], one["detail"]) for one in again["receipts"]] == [("server", "done", first)]
        record = (await announced(kafka, "models", ModelAnnouncement))["live"].record
        assert record is not None and (record.uri, record.previous) == (killed.uri, killed.previous)
        assert (record.uri, record.previous) == (str(tmp_path / "first"), str(tmp_path / "second"))
        assert await asyncio.to_thread(artifact_of, server) == first

    try:
        asyncio.run(run())
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.stop(signal.SIGKILL)
            assert server.process.stdout is not None
            server.process.stdout.close()
