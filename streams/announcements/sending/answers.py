"""Waits until every worker that must answer an announcement has given its receipt.

The group coordinator tells who is live. A rebalance while the command waits changes who must
answer; a group that is rebalancing has no answer yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streams.announcements.follow import follow
from streams.contract.announcements import Answering, Receipt, ReceiptKind
from streams.errors import BrokerError, HeadraceError, RunError
from streams.kafka.group_watch import Group, GroupWatch
from streams.settings.load import KafkaSettings

#: Seconds between two looks at the groups.
POLL_S: Final = 0.3
SERVER: Final = "server"
STABLE: Final = ("Stable", "Empty", "Dead")
#: What each app of workers reads, by which the owner of a partition is known.
INPUTS: Final[dict[Answering, str]] = {"sequencer": "events", "recommender": "sequences"}


@dataclass(frozen=True)
class Party:
    """Who must answer: a worker, or whichever worker of an app owns a partition.

    Parameters
    ----------
    worker : a member id; empty where any worker of the app may answer
    text : the party in words, for people
    """

    app: Answering
    worker: str = ""
    partition: int | None = None
    text: str = ""


@dataclass(frozen=True)
class Answers:
    """How the workers answered an announcement.

    Parameters
    ----------
    given : the receipts that count, ``done`` and ``failed``
    missing : who has not answered, and why not where it is known
    n_live : how many workers were live at the last look
    """

    given: tuple[Receipt, ...]
    missing: tuple[str, ...]
    n_live: int

    @property
    def failed(self) -> tuple[Receipt, ...]:
        """The receipts that say that a worker could not do it."""
        return tuple(receipt for receipt in self.given if receipt.stage == "failed")

    def as_dict(self) -> dict[str, Any]:
        """Return the answers for ``--json``."""
        return {
            "receipts": [msgspec.to_builtins(receipt) for receipt in self.given],
            "missing": list(self.missing),
            "live_workers": self.n_live,
        }

    def as_lines(self) -> list[str]:
        """Return the answers for people, a line for each worker."""
        lines = []
        for receipt in self.given:
            where = "" if receipt.partition is None else f", partition {receipt.partition}"
            told = f": {receipt.detail}" if receipt.detail else ""
            lines.append(f"{receipt.app} {receipt.worker}{where}: {receipt.stage}{told}")
        return lines

    def check(self, what: str) -> None:
        """Raise :class:`RunError` unless all who must answer have done it.

        Parameters
        ----------
        what : the announcement in words, such as ``artifact 3f2a``
        """
        stands = "the announcement stands: workers that start or come back take it"
        if self.failed:
            why = "; ".join(f"{receipt.app} {receipt.worker}: {receipt.detail}" for receipt in self.failed)
            missing = f"; no answer from {'; '.join(self.missing)}" if self.missing else ""
            raise RunError(f"{what}: not in force on {len(self.failed)} of {self.n_live} workers: {why}{missing}")
        if self.missing:
            raise RunError(f"{what}: no answer in time from {'; '.join(self.missing)}; {stands}")


def parties(groups: Mapping[Answering, Group | None], topics: Mapping[Answering, str], partition: int | None) -> list[
    Party
]:  # fmt: skip
    """Return who must answer, as the groups are now.

    Parameters
    ----------
    groups : None where the broker cannot tell a group's members: then one answer of the app counts
    topics : the full name of each app's input
    partition : where only the owner of a partition must answer; servers all must, as each may hold
        data of any user
    """
    found = []
    for app, group in groups.items():
        if app == SERVER and group is None:
            continue  # none may run: no answer can be waited for
        if partition is not None and app != SERVER:
            owners = [
                member.member_id
                for member in (group.members if group is not None else ())
                if (topics[app], partition) in member.partitions
            ]
            owner = owners[0] if owners else "no live worker" if group is not None else "its owner"
            found.append(Party(app, "", partition, f"{app}, partition {partition} ({owner})"))
        elif group is None:
            found.append(Party(app, text=f"any {app} (the broker does not tell its members)"))
        else:
            found += [
                Party(app, member.member_id, None, f"{app} {member.member_id} at {member.host.lstrip('/')}")
                for member in group.members
            ]
    return found


def answer_of(party: Party, receipts: Iterable[Receipt]) -> Receipt | None:
    """Return a party's newest receipt; None where it has given none."""
    fitting = [
        receipt
        for receipt in receipts
        if receipt.app == party.app
        and receipt.partition == (party.partition if party.app != SERVER else None)
        and (not party.worker or receipt.worker == party.worker)
    ]
    return max(fitting, key=lambda receipt: receipt.done_ts, default=None)


async def wait_for_receipts(
    kafka: KafkaSettings,
    kind: ReceiptKind,
    announcement: str,
    *,
    apps: Sequence[Answering],
    timeout_s: float,
    partition: int | None = None,
    tell: Callable[[int, int, str], None] = lambda n_wanted, n_given, note: None,
) -> Answers:
    """Wait until all who must answer an announcement have, or the time is over.

    Parameters
    ----------
    announcement : its id
    apps : whose live workers must answer
    timeout_s : how long to wait, in seconds
    partition : only the owners of this partition must answer; an answer of an earlier owner counts,
        because it wrote what the later one reads
    tell : hears at each look how many must answer, how many have, and how far the work is

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    deadline = time.monotonic() + timeout_s
    receipts: dict[str, Receipt] = {}
    topics = {app: kafka.topic(INPUTS[app]) for app in apps if app in INPUTS}
    async with AsyncExitStack() as opened:
        watches = {app: GroupWatch(kafka, kafka.group(app)) for app in apps}
        for watch in watches.values():
            opened.push_async_callback(watch.stop)
        prefix = f"{kind}/{announcement}/"
        reading = asyncio.ensure_future(collect(kafka, prefix, receipts))
        opened.push_async_callback(_end, reading)
        wanted: list[Party] = []
        missing: list[str] = [f"{app} (the broker has not told its members)" for app in apps]
        given: list[Receipt] = []
        n_live = 0
        while True:
            is_over = time.monotonic() >= deadline
            if reading.done():
                reading.result()
            groups = await look_at_groups(watches)
            if groups is not None:
                wanted = parties(groups, topics, partition)
                n_live = sum(len(group.members) for group in groups.values() if group is not None)
                answers = [(party, answer_of(party, receipts.values())) for party in wanted]
                given = [receipt for _, receipt in answers if receipt is not None and receipt.stage != "begun"]
                missing = [_missing(party, receipt) for party, receipt in answers if not _is_answer(receipt)]
                tell(len(wanted), len(given), _note(receipts.values()))
            if is_over or (groups is not None and not missing):
                return Answers(tuple(given), tuple(missing), n_live)
            await asyncio.sleep(POLL_S)


def _is_answer(receipt: Receipt | None) -> bool:
    return receipt is not None and receipt.stage != "begun"


def _missing(party: Party, receipt: Receipt | None) -> str:
    return party.text if receipt is None or not receipt.detail else f"{party.text} (so far: {receipt.detail})"


def _note(receipts: Iterable[Receipt]) -> str:
    begun = [receipt.detail for receipt in receipts if receipt.stage == "begun" and receipt.detail]
    return begun[-1] if begun else ""


async def look_at_groups(watches: Mapping[Answering, GroupWatch]) -> dict[Answering, Group | None] | None:
    """Return the groups; None while one of them is rebalancing, or the broker does not answer."""
    groups: dict[Answering, Group | None] = {}
    for app, watch in watches.items():
        try:
            group = await watch.describe()
        except BrokerError:
            return None
        if group is not None and group.state not in STABLE:
            return None
        groups[app] = group
    return groups


async def collect(kafka: KafkaSettings, prefix: str, receipts: dict[str, Receipt]) -> None:
    """Keep the receipts whose key begins with ``prefix``, by key, without end."""
    async with aclosing(follow(kafka, "receipts", Receipt)) as changes:
        async for changed in changes:
            for key, announced in changed.items():
                if key.startswith(prefix) and announced.record is not None:
                    receipts[key] = announced.record


async def _end(reading: asyncio.Future[None]) -> None:
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, HeadraceError):
        await reading
