"""What a deployment serves: announced models and rules, who is live, and how they answered.

::

    models, rules, receipts ──► the newest record of each key ─┐
    groups of recommenders and servers ──► who is live ────────┴─► a look

Nothing is read while nobody looks: the readers end after :data:`IDLE_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from streams.announcements.follow import Announced, follow
from streams.contract.announcements import Answering, ModelAnnouncement, Receipt, ReceiptKind, RulesRecord
from streams.errors import BrokerError, HeadraceError
from streams.kafka.group_watch import Group, GroupWatch
from streams.server.gate.problems import not_ready
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

RecordT = TypeVar("RecordT")
IDLE_S: Final = 60.0
RETRY_S: Final = 2.0
#: Longest wait of a visitor for the first reading.
FIRST_S: Final = 10.0
#: For how long what the broker told of the groups serves further visitors.
FRESH_S: Final = 1.5
#: Whose answers are shown.
APPS: Final[tuple[Answering, ...]] = ("recommender", "server")


class Live(NamedTuple):
    """A live worker or server, and its newest answers.

    Parameters
    ----------
    worker : member id in its group
    receipts : the newest answer of each kind
    in_force : the newest answer that names an artifact
    """

    app: Answering
    worker: str
    host: str
    receipts: Mapping[ReceiptKind, Receipt]
    in_force: Receipt | None


class DeploymentLook(NamedTuple):
    """What was announced, and how the live answered.

    Parameters
    ----------
    models, rules : the newest record of each key
    live : None where the broker does not tell the members of groups
    """

    models: Mapping[str, Announced[ModelAnnouncement]]
    rules: Mapping[str, Announced[RulesRecord]]
    live: Sequence[Live] | None


class Deployment(Protocol):
    """Looks at what a deployment serves."""

    async def look(self) -> DeploymentLook:
        """Return what is announced and served now."""
        ...


class Followed(Generic[RecordT]):
    """The newest record of each key of a topic, read while somebody asks. For one event loop.

    Parameters
    ----------
    keep : whether records of a key are kept
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, struct: type[RecordT], keep: Callable[[str], bool] = lambda key: True
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._struct = struct
        self._keep = keep
        self._found: dict[str, Announced[RecordT]] = {}
        self._following: asyncio.Task[None] | None = None
        self._asked_s = 0.0
        self._caught_up = asyncio.Event()

    async def now(self) -> dict[str, Announced[RecordT]]:
        """Return the newest record of each key; raise :class:`Problem` where none can be read."""
        self._asked_s = time.monotonic()
        if self._following is None or self._following.done():
            self._following = asyncio.ensure_future(self._follow_while_asked())
        try:
            await asyncio.wait_for(self._caught_up.wait(), FIRST_S)
        except TimeoutError:
            raise not_ready(self._topic) from None
        return dict(self._found)

    async def _follow_while_asked(self) -> None:
        while time.monotonic() - self._asked_s < IDLE_S:
            reading = asyncio.ensure_future(self._follow())
            try:
                while not reading.done() and time.monotonic() - self._asked_s < IDLE_S:
                    await asyncio.wait([reading], timeout=RETRY_S)
                if reading.done():
                    reading.result()
            except (HeadraceError, OSError) as exc:
                log.warning("%s: not read, trying again: %s", self._topic, exc)
                await asyncio.sleep(RETRY_S)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        self._caught_up.clear()
        self._found.clear()

    async def _follow(self) -> None:
        async with aclosing(follow(self._kafka, self._topic, self._struct)) as changes:
            is_first = True
            async for changed in changes:
                kept = {key: announced for key, announced in changed.items() if self._keep(key)}
                self._found = kept if is_first else self._found | kept
                is_first = False
                self._caught_up.set()


class TopicDeployment:
    """Looks at the topics of announcements and at the groups. For one event loop."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._models = Followed(kafka, "models", ModelAnnouncement)
        self._rules = Followed(kafka, "rules", RulesRecord)
        self._receipts = Followed(kafka, "receipts", Receipt, lambda key: key.startswith(("model/", "rules/")))
        self._one = asyncio.Lock()
        self._groups: tuple[float, dict[Answering, Group | None]] = 0.0, {}

    async def look(self) -> DeploymentLook:
        """Return what is announced and served now."""
        models, rules, receipts, groups = await asyncio.gather(
            self._models.now(), self._rules.now(), self._receipts.now(), self._live_groups()
        )
        given = [announced.record for announced in receipts.values() if announced.record is not None]
        return DeploymentLook(models, rules, live(groups, given))

    async def _live_groups(self) -> dict[Answering, Group | None]:
        async with self._one:
            until_s, found = self._groups
            if time.monotonic() > until_s:
                found = dict(zip(APPS, await asyncio.gather(*map(self._described, APPS)), strict=True))
                self._groups = time.monotonic() + FRESH_S, found
            return found

    async def _described(self, app: Answering) -> Group | None:
        watch = GroupWatch(self._kafka, self._kafka.group(app))
        try:
            return await watch.describe()
        except BrokerError as exc:
            log.warning("group of %ss: not described: %s", app, exc)
            return None
        finally:
            await watch.stop()


def live(groups: Mapping[Answering, Group | None], given: Sequence[Receipt]) -> list[Live] | None:
    """Return groups' members with their newest answers; None where no group can be described."""
    if all(group is None for group in groups.values()):
        return None
    newest: dict[tuple[str, str, ReceiptKind], Receipt] = {}
    in_force: dict[tuple[str, str], Receipt] = {}
    for receipt in sorted(given, key=lambda one: one.done_ts):
        who = receipt.app, receipt.worker
        newest[*who, receipt.kind] = receipt
        if receipt.artifact is not None:
            in_force[who] = receipt
    kinds: tuple[ReceiptKind, ...] = ("model", "rules")
    return [
        Live(
            app, member.member_id, member.host.lstrip("/"),
            {kind: newest[app, member.member_id, kind] for kind in kinds if (app, member.member_id, kind) in newest},
            in_force.get((app, member.member_id)),
        )
        for app, group in groups.items()
        for member in sorted(group.members if group is not None else (), key=lambda one: one.member_id)
    ]  # fmt: skip
