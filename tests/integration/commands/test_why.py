"""``headrace why`` on a real broker: the lists of two models, recomputed from the topics."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from models.artifact.artifact import load_artifact, make_artifact, save_artifact
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, RecordDecoder, encode
from streams.settings.load import Settings, load_settings
from tests.conftest import delete_topics
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, put_items, variables_of
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.announcing.models import publish_artifact
from tools.broker.local_broker import BrokerInfo
from tools.main import main
from tools.oracle.why.case import open_cases
from tools.oracle.why.explain import TOLERANCE, compared, explain
from tools.oracle.why.published import Published
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka

Screen = pytest.CaptureFixture[str]
PREFIX: Final = "why-"
N_USERS, LIST_SIZE = 110, 10


def write_second(folder: Path) -> None:
    """Write an artifact that makes other lists than the tiny one: its fusion has other weights."""
    first = load_artifact(tiny.artifact())
    tensors = {name: t * 0.8 if name.startswith("fusion.body") else t for name, t in first.tensors.items()}
    info = msgspec.structs.asdict(first.manifest)
    for made in ("format", "sha256", "sequence", "tensors", "golden_sha256"):
        del info[made]
    save_artifact(make_artifact(tensors, first.sequence.config, info), folder)


@dataclass(frozen=True)
class Live:
    """A deployment whose recommender took a second artifact while it ran.

    Parameters
    ----------
    first, second : the lists of each, the newest of each user
    """

    settings: Settings
    folder: Path
    first: list[Published]
    second: list[Published]

    def run(self, capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
        """Run the command, which must end with this code; return its output, or its error."""
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables().items():
                patch.setenv(name, value)
            assert main(["why", *argv]) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    def answer(self, capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
        """Return the command's JSON."""
        found: dict[str, Any] = json.loads(self.run(capsys, *argv, "--json").splitlines()[-1])
        return found

    def variables(self) -> dict[str, str]:
        """Return the environment of the command, which has the workers' settings."""
        return variables_of(self.settings, self.folder) | {
            "HEADRACE_ARTIFACT": str(self.folder / "artifacts" / "first"),
            "HEADRACE_LIVE_POPULARITY": "off",
        }


def events(n_each: int, from_step: int) -> Iterator[OutRecord]:
    """Yield events of all users in turn."""
    for step in range(from_step, from_step + n_each):
        for user in range(N_USERS):
            item = f"i{(3 * user + 2 * step) % tiny.N_ITEMS}"
            event = make_event(f"u{user}-{step}", T0 + 60_000 * step + user, user_id=f"u{user}", item_id=item)
            yield OutRecord(event.user_id.encode(), encode(event))


@contextmanager
def workers(settings: Settings, folder: Path) -> Iterator[Worker]:
    """Run a sequencer and a recommender that are ready; give the sequencer."""
    variables = variables_of(settings, folder) | {
        "HEADRACE_ARTIFACT": str(folder / "artifacts" / "first"),
        "HEADRACE_LIVE_POPULARITY": "off",
    }
    with (
        Worker("sequencer", variables, free_port(), folder / "sequencer.log") as sequencer,
        Worker("recommender", variables, free_port(), folder / "recommender.log") as recommender,
    ):
        sequencer.wait_ready(WAIT_S)
        recommender.wait_ready(WAIT_S)
        yield sequencer


def lists_of(settings: Settings, artifact: str | None = None) -> list[Published]:
    """Return the newest full list of each user, of one artifact or of any other."""
    decoder, newest = RecordDecoder(Recommendation), dict[str, Published]()
    for record in read_all(settings, "recommendations"):
        made = decoder.decode(record.value)
        if not made.provisional and artifact in (None, made.artifact):
            newest[made.user_id] = Published(record.partition, record.offset, made)
    return list(newest.values())


def settle(settings: Settings, sequencer: Worker, n_events: int) -> None:
    """Wait until every event is sequenced and every window has its list."""
    wait_until(
        lambda: sequencer.counts()["total"]["read"] >= n_events and lag(settings) == 0,
        WAIT_S,
        lambda: str(sequencer.counts()),
    )


@pytest.fixture
def live(broker: BrokerInfo, tmp_path: Path) -> Iterator[Live]:
    """Give a deployment with lists of two artifacts."""
    folder = tmp_path
    shutil.copytree(tiny.artifact(), folder / "artifacts" / "first")
    write_second(folder / "artifacts" / "second")
    settings = load_settings({}, broker=broker.bootstrap, topic_prefix=PREFIX)
    try:
        publish(settings, "events", events(4, 0))
        put_items(settings, tiny.write_items(folder / "items.csv"))
        with workers(settings, folder) as sequencer:
            settle(settings, sequencer, 4 * N_USERS)
            first = lists_of(settings)
            second_folder = folder / "artifacts" / "second"
            swap = publish_artifact(settings.kafka, second_folder, "live", refresh_days=None, timeout_s=WAIT_S)
            answers = asyncio.run(swap).answers
            assert answers is not None
            answers.check("the second artifact")
            publish(settings, "events", events(1, 4))
            settle(settings, sequencer, 5 * N_USERS)
        second = [one for one in lists_of(settings) if one.record.artifact != first[0].record.artifact]
        yield Live(settings, folder, first, second)
    finally:
        delete_topics(broker.bootstrap, PREFIX)


def check_a_thousand_items(live: Live, which: str) -> None:
    """Also those of the model before: the list names its artifact, which lies beside the other."""
    lists = live.first if which == "first" else live.second
    assert sum(len(one.record.items) for one in lists) >= 1_000

    async def differences() -> list[float]:
        found = []
        async with open_cases(load_settings(live.variables())) as cases:
            for published in lists:
                case = await cases.open(published)
                assert case.window.is_of_then
                assert case.opened.folder.name == which
                whole = compared(case)
                assert whole is not None
                assert whole.equal, whole
                for rank, item in enumerate(published.record.items, 1):
                    answer = explain(case, item.item_id)
                    assert answer.recomputed is not None
                    assert answer.recomputed.score is not None
                    found.append(abs(answer.recomputed.score - item.score))
                    assert answer.published is not None
                    assert answer.published.rank == rank
        return found

    found = asyncio.run(differences())
    assert len(found) >= 1_000
    assert max(found) <= TOLERANCE


def check_both_kinds_of_readers(live: Live, capsys: Screen) -> None:
    """JSON has everything; an engineer reads every number, a user of the shop none."""
    record = live.second[0].record
    item = record.items[0]
    answer = live.answer(capsys, record.user_id, item.item_id)
    assert (answer["listed"], answer["step"], answer["list"]["list_id"]) == (True, "listed", record.list_id)
    assert answer["recomputed"]["equal"]
    assert answer["versions"]["artifact"] == record.artifact
    assert answer["window"]["origin"] == "sequences"
    text = live.run(capsys, record.user_id, item.item_id)
    assert f"{item.item_id} (Item number {item.item_id[1:]}) is number 1 of {LIST_SIZE}" in text
    assert "sources of candidates" in text
    assert "made again, the list is the published one" in text
    english = live.run(capsys, record.user_id, item.item_id, "--for", "user")
    chinese = live.run(capsys, record.user_id, item.item_id, "--for", "user", "--language", "zh")
    assert english.startswith(f"We suggest “Item number {item.item_id[1:]}” because")
    assert chinese.startswith(f"为您推荐“Item number {item.item_id[1:]}”，因为")
    had = live.answer(capsys, record.user_id, answer["window"]["behaviours"][0]["item_id"])
    assert had["step"] == "had"


def check_ids_and_places(live: Live, capsys: Screen) -> None:
    """The newest, one of the model before, and the list that an event brought."""
    one = live.first[0]
    user = one.record.user_id
    item = one.record.items[0].item_id
    by_id = live.answer(capsys, user, item, "--list", one.record.list_id)
    by_place = live.answer(capsys, user, item, "--at", f"recommendations:{one.partition}:{one.offset}")
    by_event = live.answer(capsys, user, item, "--at", f"events:{one.partition}:{one.record.offset}")
    assert by_id["versions"]["artifact_folder"].endswith("first")
    assert by_id["list"] == by_place["list"] == by_event["list"]
    assert by_id["list"]["list_id"] == one.record.list_id
    newest = live.answer(capsys, user, item)
    assert newest["list"]["revision"] > by_id["list"]["revision"]


def check_refusals(live: Live, capsys: Screen) -> None:
    """What is not there is refused with a remedy."""
    record, partition = live.second[0].record, live.second[0].partition
    user, item = record.user_id, record.items[0].item_id
    wrong = [
        (("nobody", item), "neither a list nor a window"),
        ((user, item, "--list", "x"), "has no such list"),
        ((user, item, "--at", "x"), "must be PARTITION:OFFSET"),
        ((user, item, "--at", f"{partition + 1}:0"), f"are in partition {partition}"),
        ((user, item, "--at", f"{partition}:999999"), f"recommendations-{partition} holds offsets 0 to"),
        ((user, item, "--artifact", "/nowhere"), "--artifact /nowhere"),
        ((user, item, "--artifact", str(live.folder / "artifacts" / "first")), "the list was made by"),
        ((user, item, "--language", "zh"), "--for user"),
    ]
    for argv, expected in wrong:
        error = live.run(capsys, *argv, code=2)
        assert expected in error, error
    second = live.folder / "artifacts" / "second"
    second.rename(gone := live.folder / "gone")
    error = live.run(capsys, user, item, code=2)
    gone.rename(second)
    assert f"artifact {record.artifact}: made the list" in error
    assert "--artifact DIR" in error


def test_published_lists_are_explained_from_the_topics(live: Live, capsys: Screen) -> None:
    """One deployment answers all questions, because it takes half a minute to make its lists."""
    for which in ("first", "second"):
        check_a_thousand_items(live, which)
    check_both_kinds_of_readers(live, capsys)
    check_ids_and_places(live, capsys)
    check_refusals(live, capsys)
