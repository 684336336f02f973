"""Asks a deployment to forget users, and waits until those who hold their data have answered.

::

    users    a tombstone; other users stop to follow them ─┐
    privacy  a request each, also for rebuild runs ────────┴─► receipts of the partitions' owners

Each step may be repeated: a command that was killed is simply run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streams.announcements.sending.answers import INPUTS, POLL_S, SERVER, answer_of, collect, look_at_groups, parties
from streams.contract.announcements import Answering, PrivacyRequest, Receipt
from streams.contract.records import VERSION, RecordDecoder, User, encode
from streams.errors import HeadraceError, RecordError, TopicError
from streams.kafka.group_watch import Group, GroupWatch
from streams.kafka.permissions import prepare
from streams.kafka.publisher import KeyHomes, Publisher
from streams.kafka.topic_reader import newest_values
from streams.settings.load import KafkaSettings
from tools.announcing.forgetting.deployments import runs_of
from tools.announcing.forgetting.people import Person
from tools.cli import progress

#: The apps of workers that hold data of users, by partition.
APPS: Final[tuple[Answering, ...]] = tuple(INPUTS)
#: And the servers, each of which may hold data of any user.
HOLDERS: Final[tuple[Answering, ...]] = (*APPS, SERVER)


@dataclass(frozen=True)
class Asked:
    """A request to forget a user, as it was published."""

    person: Person
    request_id: str
    requested_ts: int
    partition: int


@dataclass
class Outcome:
    """What became of requests.

    Parameters
    ----------
    receipts : those that came, by request
    missing : who has not answered, in words, with the number of requests
    unfollowed : other users whose record followed one of them; it no longer does
    runs : rebuild runs that were asked too
    """

    asked: list[Asked]
    receipts: dict[str, list[Receipt]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    unfollowed: int = 0
    runs: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Receipt]:
        """The receipts that say that a worker could not do it."""
        return [one for found in self.receipts.values() for one in found if one.stage == "failed"]

    @property
    def is_complete(self) -> bool:
        """Whether all who hold data have erased it."""
        return not self.missing and not self.failed

    def as_dict(self) -> dict[str, Any]:
        """Return what the file of receipts holds; no id of a user is in it."""
        return {
            "requests": [
                {
                    "user": one.person.digest,
                    "request_id": one.request_id,
                    "requested_ts": one.requested_ts,
                    "partition": one.partition,
                    "receipts": [msgspec.to_builtins(receipt) for receipt in self.receipts.get(one.request_id, [])],
                }
                for one in self.asked
            ],
            "complete": self.is_complete,
            "missing": self.missing,
            "unfollowed": self.unfollowed,
            "runs": self.runs,
            "artifact": "an artifact holds no user rows, so no artifact has to change",
        }


async def ask(kafka: KafkaSettings, people: Sequence[Person]) -> Outcome:
    """Publish the requests; return them once the broker has them.

    Raises
    ------
    BrokerError
        When the broker does not answer, or denies a right of the role ``eraser``.
    """
    await prepare(kafka, "eraser")
    homes, now_ms = KeyHomes(kafka.partitions, kafka.partitioner), int(time.time() * 1000)
    asked = [Asked(person, uuid.uuid4().hex, now_ms, homes[person.key]) for person in people]
    runs = await runs_of(kafka)
    outcome = Outcome(asked, runs=list(runs))
    for settings in (kafka, *runs.values()):
        outcome.unfollowed += await _publish(settings, asked)
    return outcome


async def _publish(kafka: KafkaSettings, asked: Sequence[Asked]) -> int:
    """Write to one deployment; return how many other users followed one of them."""
    gone = {one.person.key for one in asked}
    followers: dict[bytes, bytes] = {}
    with contextlib.suppress(TopicError):  # a run of an earlier version may lack a topic
        followers = without_follows(await newest_values(kafka, "users"), {key.decode() for key in gone})
    async with Publisher(kafka) as publisher:
        for key in gone:
            await publisher.publish(kafka.topic("users"), key, None)
        for key, value in followers.items():
            await publisher.publish(kafka.topic("users"), key, value)
        await publisher.flush()
        for one in asked:
            request = PrivacyRequest(VERSION, one.person.user_id, "forget", one.requested_ts, one.request_id)
            await publisher.publish(kafka.topic("privacy"), one.person.key, encode(request))
    return len(followers)


def without_follows(users: Mapping[bytes, bytes], gone: set[str]) -> dict[bytes, bytes]:
    """Return the records of users who follow one of those that are gone, without these follows.

    Parameters
    ----------
    users : user key to the newest record
    """
    decoder, changed = RecordDecoder(User), {}
    for key, value in users.items():
        try:
            user = decoder.decode(value)
        except RecordError:
            continue  # no reader takes it
        if user.user_id not in gone and gone.intersection(user.follows or ()):
            user.follows = [one for one in user.follows or () if one not in gone]
            changed[key] = encode(user)
    return changed


async def wait(kafka: KafkaSettings, outcome: Outcome, timeout_s: float) -> None:
    """Wait for the receipts of all requests, or until the time is over; show a bar."""
    deadline = time.monotonic() + timeout_s
    receipts: dict[str, Receipt] = {}
    async with AsyncExitStack() as opened:
        watches = {app: GroupWatch(kafka, kafka.group(app)) for app in HOLDERS}
        for watch in watches.values():
            opened.push_async_callback(watch.stop)
        reading = asyncio.ensure_future(collect(kafka, "forget/", receipts))
        opened.push_async_callback(_end, reading)
        bar = opened.enter_context(progress())
        task = bar.add_task("waiting for receipts", total=len(APPS) * len(outcome.asked), unit="receipts")
        while True:
            is_over = time.monotonic() >= deadline
            if reading.done():
                reading.result()
            open_ = _sort_in(outcome, receipts)
            bar.update(task, completed=len(APPS) * len(outcome.asked) - len(open_))
            # the workers have answered: whether their groups are rebalancing does not matter
            looked_at: Mapping[Answering, GroupWatch] = watches if open_ else {SERVER: watches[SERVER]}
            groups = await look_at_groups(looked_at) if is_over or not open_ else None
            silent = None if groups is None else _silent_servers(outcome, receipts, groups.get(SERVER))
            if is_over or (not open_ and silent is not None and not silent):
                outcome.missing = name_missing(open_, groups or {}, kafka) | (silent or {})
                return
            await asyncio.sleep(POLL_S)


def _sort_in(outcome: Outcome, receipts: Mapping[str, Receipt]) -> list[tuple[Answering, int]]:
    """Take the receipts into the outcome; return app and partition of each that is missing."""
    missing: list[tuple[Answering, int]] = []
    for one in outcome.asked:
        found = []
        for app in APPS:
            receipt = receipts.get(f"forget/{one.request_id}/{app}/{one.partition}")
            if receipt is None or receipt.stage == "begun":
                missing.append((app, one.partition))
            else:
                found.append(receipt)
        outcome.receipts[one.request_id] = found
    return missing


def _silent_servers(outcome: Outcome, receipts: Mapping[str, Receipt], group: Group | None) -> dict[str, int]:
    """Take the servers' receipts into the outcome; return the live ones that lack some, in words.

    Servers that have gone hold a copy no longer in use; the next one reads the requests first.
    """
    silent: dict[str, int] = {}
    for one in outcome.asked:
        given = [found for key, found in receipts.items() if key.startswith(f"forget/{one.request_id}/{SERVER}/")]
        outcome.receipts[one.request_id] += given
        for party in parties({SERVER: group}, {}, None):
            answer = answer_of(party, given)
            if answer is None or answer.stage == "begun":
                silent[party.text] = silent.get(party.text, 0) + 1
    return silent


def name_missing(
    missing: Sequence[tuple[Answering, int]], groups: Mapping[Answering, Group | None], kafka: KafkaSettings
) -> dict[str, int]:
    """Return who has not answered, in words, with the number of requests each."""
    topics = {app: kafka.topic(name) for app, name in INPUTS.items()}
    names: dict[str, int] = {}
    for app, partition in missing:
        known = {app: groups[app]} if app in groups else {}
        party = parties(known, topics, partition)
        text = party[0].text if party else f"{app}, partition {partition}"
        names[text] = names.get(text, 0) + 1
    return names


async def _end(reading: asyncio.Future[None]) -> None:
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, HeadraceError):
        await reading
