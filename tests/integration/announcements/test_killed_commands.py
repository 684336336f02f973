"""A command that is killed while it waits for receipts is run again, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from models.artifact.artifact import load_artifact
from streams.announcements.follow import follow
from streams.announcements.receipts import Receipts
from streams.announcements.sending.announce import announced
from streams.announcements.sending.rules import PREVIOUS, put_rules, rollback_rules
from streams.contract.announcements import ModelAnnouncement, PrivacyRequest, RulesRecord
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings
from tests.integration.announcements.test_receipts import member
from tests.integration.lists.recommender_runs import variables_of
from tests.support import tiny
from tools.announcing.models import publish_artifact
from tools.drills.acts.second_artifact import write_second_artifact

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers"), pytest.mark.timeout(290)]

WITHIN_S = 100.0
POLL_S = 0.2


class Shell:
    """Runs commands of headrace against one deployment, as processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._env = os.environ | variables_of(settings, folder)
        self._kafka = settings.kafka

    async def start(self, *argv: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tools.main", *argv, "--json", env=self._env, stdout=pipe, stderr=pipe
        )

    async def kill_when(self, topic: str, struct: Any, key: str, *argv: str) -> tuple[int, Any]:
        """Run a command, and kill it when what it announces is there; return offset and record."""
        before = (await announced(self._kafka, topic, struct)).get(key)
        process = await self.start(*argv)
        try:
            async with asyncio.timeout(WITHIN_S):
                while (found := (await announced(self._kafka, topic, struct)).get(key)) == before:
                    assert process.returncode is None, await process.communicate()
                    await asyncio.sleep(POLL_S)
            assert process.returncode is None, "it waits for receipts"
        finally:
            process.kill()
            await process.communicate()
        assert found is not None
        return found.offset, found.record

    async def run(self, *argv: str) -> dict[str, Any]:
        """Run a command to its end, which must be a good one; return its JSON."""
        process = await self.start(*argv)
        out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert process.returncode == 0, err.decode()
        found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
        return found


@asynccontextmanager
async def answered(kafka: KafkaSettings, worker: Receipts) -> AsyncIterator[None]:
    """Let a worker say of every announcement that it is in force."""

    async def answer(topic: str, struct: Any, kind: Any) -> None:
        async with aclosing(follow(kafka, topic, struct)) as changes:
            async for changed in changes:
                for one in changed.values():
                    worker.give(kind, one.id, stage="done")

    jobs = [("models", ModelAnnouncement, "model"), ("rules", RulesRecord, "rules")]
    tasks = [asyncio.ensure_future(answer(*job)) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_publish_and_put_again_keep_what_a_rollback_goes_back_to(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(tiny.artifact(), first := tmp_path / "first")
    write_second_artifact(first, second := tmp_path / "second")
    old, new = (load_artifact(folder).version for folder in (first, second))
    (rules := tmp_path / "rules.toml").write_text("deny = ['b']\n")

    async def run() -> None:
        kafka, shell = settings.kafka, Shell(settings, tmp_path)
        await create_topics(kafka)
        await publish_artifact(kafka, first, "live", refresh_days=None, timeout_s=None)
        await put_rules(kafka, "default", "deny = ['a']\n")
        async with member(kafka) as (_, worker):
            killed_at, killed = await shell.kill_when(
                "models", ModelAnnouncement, "live", "models", "publish", str(second)
            )
            put_at, put = await shell.kill_when(
                "rules", RulesRecord, "default", "rules", "put", str(rules), "--scenario", "default"
            )
            assert (killed.artifact, killed.previous) == (new, str(first))
            async with answered(kafka, worker):
                told = await shell.run("models", "publish", str(second))
                assert [one["stage"] for one in told["receipts"]] == ["done"] and not told["missing"]
                told = await shell.run("rules", "put", str(rules), "--scenario", "default")
                assert [one["stage"] for one in told["receipts"]] == ["done"] and not told["missing"]
                model = (await announced(kafka, "models", ModelAnnouncement))["live"]
                assert model.record is not None and model.offset > killed_at
                assert (model.record.artifact, model.record.previous) == (new, str(first))
                held = await announced(kafka, "rules", RulesRecord)
                before = held["default" + PREVIOUS].record
                again = held["default"].record
                assert again is not None and held["default"].offset > put_at and again.rules == put.rules
                assert before is not None and before.rules == "deny = ['a']\n"
                assert (await shell.run("models", "rollback"))["artifact"] == old
                await rollback_rules(kafka, "default")
                record = (await announced(kafka, "rules", RulesRecord))["default"].record
                assert record is not None and record.rules == "deny = ['a']\n"

    asyncio.run(asyncio.wait_for(run(), 280))


def test_forget_again_asks_again_and_the_later_request_counts(settings: Settings, tmp_path: Path) -> None:
    async def run() -> None:
        kafka, shell = settings.kafka, Shell(settings, tmp_path)
        await create_topics(kafka)
        argv = ("forget", "user-1", "--yes", "--state-dir", str(tmp_path / "state"))
        _, killed = await shell.kill_when("privacy", PrivacyRequest, "user-1", *argv)
        assert not list((tmp_path / "state").rglob("*.json")), "nobody has answered"
        workers = [Receipts(kafka, app, lambda: "worker") for app in ("sequencer", "recommender")]
        writing = [asyncio.ensure_future(worker.run()) for worker in workers]

        async def answer() -> None:
            async with aclosing(follow(kafka, "privacy", PrivacyRequest)) as changes:
                async for changed in changes:
                    for one in changed.values():
                        assert one.record is not None
                        for worker in workers:
                            worker.give("forget", str(one.record.request_id), stage="done", partition=one.partition)

        writing.append(asyncio.ensure_future(answer()))
        told = await shell.run(*argv)
        assert told["complete"] and [len(one["receipts"]) for one in told["requests"]] == [2]
        last = (await announced(kafka, "privacy", PrivacyRequest))["user-1"]
        assert last.record is not None and last.record.requested_ts > killed.requested_ts
        assert told["requests"][0]["request_id"] == last.record.request_id
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 280))
