"""A recommender on a real broker takes an announced artifact, refuses bad ones, and goes back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import safetensors.torch
import torch

from models.artifact.artifact import MANIFEST, TENSORS
from models.artifact.golden import GOLDEN
from models.base.event_types import DEFAULT_TYPES, WindowType
from streams.announcements.sending.announce import announce
from streams.announcements.sending.answers import Answers, wait_for_receipts
from streams.announcements.sending.models import checked_artifact
from streams.contract.announcements import ModelAnnouncement
from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation
from streams.contract.windows import WindowState
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, read_lists, recommender, windows_of
from tests.support import tiny
from tests.support.waiting import wait_until
from tools.drills.acts.second_artifact import write_second_artifact
from tools.main import main
from tools.workers.process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("catalogue", "several_workers")]
N_USERS = 30
Screen = pytest.CaptureFixture[str]


def with_manifest(folder: Path, **changes: object) -> None:
    """Change fields of a manifest."""
    found = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(found | changes))


def with_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change tensors; the manifest's checksum is that of the changed file."""
    tensors = safetensors.torch.load((folder / TENSORS).read_bytes())
    change(tensors)
    data = safetensors.torch.save(tensors)
    (folder / TENSORS).write_bytes(data)
    shapes = {name: {"dtype": str(t.dtype), "shape": list(t.shape)} for name, t in tensors.items()}
    with_manifest(folder, sha256=hashlib.sha256(data).hexdigest(), tensors=shapes)


def damaged_checksum(folder: Path) -> None:
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 0xFF
    (folder / TENSORS).write_bytes(data)


def not_a_number(folder: Path) -> None:
    with_tensors(folder, lambda tensors: tensors["mf.factors"].fill_(float("nan")))


def other_scores(folder: Path) -> None:
    with_tensors(folder, lambda tensors: tensors["mf.biases"].add_(3.0))


def wrong_dimension(folder: Path) -> None:
    with_tensors(folder, lambda tensors: tensors.update({"whitening.mean": torch.zeros(7)}))


def other_text_version(folder: Path) -> None:
    with_manifest(folder, text_version="clean-0")


def no_such_encoder(folder: Path) -> None:
    with_manifest(folder, encoder_name="some/model-that-nobody-has")


def other_types(folder: Path) -> None:
    given = DEFAULT_TYPES.window_types.types
    types = [WindowType(f"type {number}", one.weight, one.positive) for number, one in enumerate(given)]
    with_manifest(folder, format=3, event_types=msgspec.to_builtins(types))


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def no_golden_file(folder: Path) -> None:
    (folder / GOLDEN).unlink()


def other_manifest(folder: Path) -> None:
    with_manifest(folder, created_ms=5)


#: How an artifact is damaged after it was announced or before, and what the receipt says.
BAD: dict[str, tuple[Callable[[Path], None], bool, str]] = {
    "checksum": (damaged_checksum, False, "checksum"),
    "NaN": (not_a_number, True, "not finite"),
    "golden": (other_scores, True, "golden window"),
    "dimension": (wrong_dimension, True, "whitening.m"),
    "text": (other_text_version, True, "text cleaning"),
    "encoder": (no_such_encoder, True, "encoder"),
    "types": (other_types, True, "does not know some event types"),
    "missing": (gone, False, "No such file"),
    "golden file": (no_golden_file, False, "golden.json"),
    "manifest": (other_manifest, False, "announced was"),
}


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """Give the URI of a web server that shows a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class QuietFiles(SimpleHTTPRequestHandler):
    """Files of a folder, without ranges; requests are not logged."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


async def announced_answers(
    settings: Settings, folder: Path, damage: Callable[[Path], None], is_before: bool
) -> Answers:
    """Announce a damaged artifact, as a program that checks nothing would; return the answers."""
    record = ModelAnnouncement(1, "bad", str(folder), "", 5, {})
    if is_before:
        damage(folder)
    record.sha256 = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    if not is_before:
        damage(folder)
    announcement = await announce(settings.kafka, "models", "live", record)
    return await wait_for_receipts(settings.kafka, "model", announcement, apps=["recommender"], timeout_s=WAIT_S)


def newest(settings: Settings) -> dict[str, Recommendation]:
    """Return each user's newest list, as a consumer that keeps the rule has it."""
    latest, found = LatestLists(), {}
    for _, made in read_lists(settings):
        if latest.accept(made):
            found[made.user_id] = made
    return found


def artifacts_of(settings: Settings) -> set[str]:
    return {made.artifact for made in newest(settings).values()}


def serve_again(settings: Settings, worker: Worker, states: dict[str, WindowState | None]) -> None:
    """Publish a newer window of each user, and wait for the lists."""
    publish(settings, "sequences", windows_of(N_USERS, 1, states))
    wait_until(lambda: lag(settings) == 0, WAIT_S, worker.log_tail)


def test_a_published_artifact_is_in_force_and_a_rollback_takes_it_back(
    settings: Settings, tmp_path: Path, capsys: Screen
) -> None:
    shutil.copytree(tiny.artifact(), first := tmp_path / "models" / "first")
    other = write_second_artifact(first, second := tmp_path / "models" / "second")
    own, _ = checked_artifact(first)
    states: dict[str, WindowState | None] = {}
    broker = ["--broker", settings.kafka.broker, "--json"]
    with pytest.MonkeyPatch.context() as patch, store(first.parent) as uri:
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        variables = {"HEADRACE_ARTIFACT": str(first), "HEADRACE_ARTIFACT_ROOTS": f"{first.parent},{uri}"}
        with recommender(settings, tmp_path, **variables) as worker:
            serve_again(settings, worker, states)
            assert artifacts_of(settings) == {own.version} and worker.counts()["artifact"] == own.version
            assert main(["models", "publish", str(second), "--refresh", "3650", *broker]) == 0
            told = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert [(r["stage"], r["detail"]) for r in told["receipts"]] == [("done", other)]
            assert worker.counts()["artifact"] == other
            wait_until(lambda: artifacts_of(settings) == {other}, WAIT_S, worker.log_tail)
            made = newest(settings)
            assert {user: each.revision for user, each in made.items()} == {f"u{i}": 1 for i in range(N_USERS)}, (
                "the lists of the present windows, without a new event"
            )
            assert worker.counts()["values"]["lists_refreshed"] == N_USERS
            began_s = time.monotonic()
            assert main(["models", "rollback", *broker]) == 0
            assert time.monotonic() - began_s < 20
            serve_again(settings, worker, states)
            assert artifacts_of(settings) == {own.version} and worker.counts()["artifact"] == own.version
            assert main(["models", "rollback", *broker]) == 2, "nothing is announced any more"
            capsys.readouterr()
            assert main(["models", "publish", f"{uri}/second", "--no-wait", *broker]) == 0
            wait_until(lambda: worker.counts()["artifact"] == other, WAIT_S, worker.log_tail)
        with recommender(settings, tmp_path, **variables) as worker:
            assert worker.counts()["artifact"] == other, "a worker that starts later takes the announced artifact"
            serve_again(settings, worker, states)
            assert artifacts_of(settings) == {other}
    ids = [made.list_id for _, made in read_lists(settings)]
    assert len(ids) == len(set(ids))


def test_a_bad_artifact_changes_nothing_and_the_receipt_says_why(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(tiny.artifact(), first := tmp_path / "models" / "first")
    own, _ = checked_artifact(first)
    states: dict[str, WindowState | None] = {}
    with recommender(settings, tmp_path, HEADRACE_ARTIFACT=str(first)) as worker:
        for name, (damage, is_before, said) in BAD.items():
            shutil.copytree(first, folder := tmp_path / "models" / name)
            answers = asyncio.run(announced_answers(settings, folder, damage, is_before))
            assert [receipt.stage for receipt in answers.given] == ["failed"], name
            assert said in answers.given[0].detail, (name, answers.given[0].detail)
        for uri, said in (
            (str(tmp_path / "elsewhere"), "ARTIFACT_ROOTS"),
            ("s3://bucket/model", "artifact_roots"),
            ("models/first", "absolute path"),
        ):
            record = ModelAnnouncement(1, "bad", uri, "0" * 64, 5, {})
            announcement = asyncio.run(announce(settings.kafka, "models", "live", record))
            waiting = wait_for_receipts(settings.kafka, "model", announcement, apps=["recommender"], timeout_s=WAIT_S)
            (receipt,) = asyncio.run(waiting).given
            assert receipt.stage == "failed" and said in receipt.detail
        assert worker.counts()["artifact"] == own.version and worker.is_running
        assert worker.counts()["values"]["model_swaps_failed"] == len(BAD) + 3
        serve_again(settings, worker, states)
        assert artifacts_of(settings) == {own.version}
    with recommender(settings, tmp_path, HEADRACE_ARTIFACT=str(first)) as worker:
        assert worker.counts()["artifact"] == own.version, "a worker starts with the settings' artifact instead"
