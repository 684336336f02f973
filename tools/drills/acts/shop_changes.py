"""What changes in ``headrace drill serve``, and until when callers may still see what was before.

::

    asked ─► the topic has it ─► receipts of every live server: it holds
                                 (an item: each server is asked whether it knows)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from models.artifact.artifact import load_artifact
from models.rules.row_rules import Rules
from streams.announcements.sending.answers import Answers, wait_for_receipts
from streams.announcements.sending.rules import put_rules
from streams.contract.records import VERSION, Item
from streams.errors import RunError
from tools.announcing.forgetting.ask import ask, wait
from tools.announcing.forgetting.people import Person
from tools.announcing.models import publish_artifact, roll_back
from tools.drills.acts.http_connection import Connection
from tools.drills.acts.second_artifact import write_second_artifact
from tools.drills.acts.servers import DrillServer
from tools.drills.judging.history import Change, Forgotten, Hidden, History
from tools.drills.session import Drill
from tools.workers.ports import HOST

#: Items that no event is of, and no model was trained with; rules pin them until they are deleted.
N_EXTRA: Final = 40
N_FORGOTTEN: Final = 20
READY_S: Final = 120.0
RECEIPTS_S: Final = 120.0
#: Every server has a change of an item within so many seconds.
ITEM_S: Final = 15.0
CATEGORIES: Final = tuple(f"category {i}" for i in range(7))
POLL_S: Final = 0.05


def prepare(drill: Drill) -> None:
    """Give the catalogue what rules ask about, and items that can be withdrawn."""
    for i, item in enumerate(drill.items):
        item.category = CATEGORIES[i % len(CATEGORIES)]
    drill.items += [Item(VERSION, f"extra-{i}", f"Extra item {i}", category="extra") for i in range(N_EXTRA)]


class ShopChanges:
    """Changes everything that answers depend on, and notes when. For one event loop.

    Parameters
    ----------
    watched : users of whom half of those who are forgotten are drawn; takes the others in

    Attributes
    ----------
    items : the whole catalogue, before anything was withdrawn
    waits_s : how long each change took, by name
    receipts : how many receipts of servers each change brought
    """

    def __init__(self, drill: Drill, servers: Sequence[DrillServer], watched: list[str]) -> None:
        self._drill = drill
        self._servers = servers
        self._watched = watched
        self._pinned = iter(range(N_EXTRA))
        self._second = drill.folder / "second-artifact"
        self.items = list(drill.items)
        first = Path(drill.settings.recommender.artifact)
        self.models = History(load_artifact(first).version)
        self.rules: History[Rules | None] = History(None)
        self.hidden = History(Hidden())
        self.forgotten = Forgotten()
        self.waits_s: dict[str, list[float]] = {}
        self.receipts: list[int] = []

    async def begin(self) -> None:
        """Put the first rules, and write the second artifact."""
        drill = self._drill
        await asyncio.to_thread(write_second_artifact, Path(drill.settings.recommender.artifact), self._second)
        drill.artifacts.append(self._second)
        await self.change_rules()

    def all(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Return the changes in their order, with their names."""
        return [
            ("forget", self.forget),
            ("delete an item", self.delete_item),
            ("rules", self.change_rules),
            ("publish", self.publish),
            ("forget", self.forget),
            ("hide an item", self.hide_item),
            ("rules", self.change_rules),
            ("rollback", self.roll_back),
        ]

    async def forget(self) -> None:
        """Forget users, half of them watched; the load soon brings most of them back as new."""
        drill, rng, kafka = self._drill, self._drill.rng, self._drill.settings.kafka
        n = min(N_FORGOTTEN, drill.plan.n_users // 4)
        anyone = (f"u{i}" for i in rng.sample(range(drill.plan.n_users), n // 2))
        users = sorted({*rng.sample(self._watched, n // 2), *anyone})
        self._watched += [user for user in users if user not in self._watched]
        asked_s = time.monotonic()
        outcome = await ask(kafka, [Person(user, user) for user in users])
        marks = {one.person.user_id: one.requested_ts for one in outcome.asked}
        changes = self.forgotten.add(marks, asked_s, done_s=time.monotonic())
        await wait(kafka, outcome, RECEIPTS_S)
        if not outcome.is_complete:
            raise RunError(f"forget: missing {outcome.missing}, failed {[one.detail for one in outcome.failed]}")
        for change in changes:
            change.held_s = time.monotonic()
        servers = [one for found in outcome.receipts.values() for one in found if one.app == "server"]
        self.receipts.append(len(servers))
        drill.extra["forgotten_users"] = drill.extra.get("forgotten_users", 0) + len(users)

    async def delete_item(self) -> None:
        """Delete the item that the rules pin at the first place of every list."""
        pins = () if self.rules.newest is None else self.rules.newest.document.pins
        item_id, before = pins[0].item, self.hidden.newest
        now = Hidden(before.deleted | {item_id}, before.unavailable)
        await self._withdraw("DELETE", f"/v1/items/{item_id}", b"", now, lambda status, _: status == 404)

    async def hide_item(self) -> None:
        """Mark a popular item as not available."""
        before = self.hidden.newest
        shown = [item.item_id for item in self.items[:20] if item.item_id not in before]
        item_id = self._drill.rng.choice(shown)
        now = Hidden(before.deleted, before.unavailable | {item_id})
        await self._withdraw(
            "PATCH", f"/v1/items/{item_id}", b'{"available":false}', now,
            lambda status, body: status == 200 and b'"available":false' in body,
        )  # fmt: skip

    async def _withdraw(
        self, method: str, path: str, body: bytes, hidden: Hidden, is_known: Callable[[int, bytes], bool]
    ) -> None:
        """Ask one server to withdraw an item; wait until all servers know."""
        change = self.hidden.ask(hidden, time.monotonic())
        while change.done_s == float("inf"):
            server = self._drill.rng.choice(self._servers)
            status, answer = await _answer(server, method, path, body)
            if status == 204:
                change.done_s = change.held_on_s[server.number] = time.monotonic()
            elif status not in (0, 503):
                raise RunError(f"{method} {path}: {server.label} answers {status}: {answer[:200]!r}")
            await asyncio.sleep(POLL_S)
        await asyncio.gather(*(self._until_known(server, path, change, is_known) for server in self._servers))
        change.held_s = time.monotonic()

    async def _until_known(
        self, server: DrillServer, path: str, change: Change[Hidden], is_known: Callable[[int, bytes], bool]
    ) -> None:
        deadline = time.monotonic() + ITEM_S + READY_S
        while not is_known(*await _answer(server, "GET", path)):
            if time.monotonic() > deadline:
                raise RunError(f"{path}: {server.label} does not know of the change after {ITEM_S + READY_S:g} s")
            await asyncio.sleep(POLL_S)
        now_s = time.monotonic()
        change.held_on_s.setdefault(server.number, now_s)
        if server.ready_s[-1] < change.done_s:  # it was not about to start
            self.waits_s.setdefault("known to a server", []).append(round(now_s - change.done_s, 3))
            if now_s - change.done_s > ITEM_S:
                self._drill.found.append(
                    f"{path}: {server.label} knew of the change after {now_s - change.done_s:.1f} s"
                )

    async def change_rules(self) -> None:
        """Deny some items and a category, and pin an item that is not denied."""
        drill, kafka = self._drill, self._drill.settings.kafka
        rng, scenario = drill.rng, drill.settings.recommender.scenario
        denied = ", ".join(f'"{item.item_id}"' for item in rng.sample(self.items[:100], 20))
        text = f'deny = [{denied}]\n[filters]\nnot_categories = ["{rng.choice(CATEGORIES)}"]\n'
        text += f'[[pins]]\nitem = "extra-{next(self._pinned)}"\nplace = 1\n'
        rules = Rules.of(text, drill.settings.recommender.list_size)
        drill.rules[rules.version] = rules
        change = self.rules.ask(rules, time.monotonic())
        announcement = await put_rules(kafka, scenario, text)
        change.done_s = time.monotonic()
        answers = await wait_for_receipts(
            kafka, "rules", announcement, apps=["recommender", "server"], timeout_s=RECEIPTS_S
        )
        self._note(answers, "rules")
        change.held_s = time.monotonic()

    async def publish(self) -> None:
        """Publish the second artifact."""
        change = self.models.ask(load_artifact(self._second).version, time.monotonic())
        swap = await publish_artifact(
            self._drill.settings.kafka, self._second, "live", refresh_days=None, timeout_s=RECEIPTS_S
        )
        self._note(swap.answers, swap.what)
        change.held_s = change.done_s = time.monotonic()

    async def roll_back(self) -> None:
        """Go back to the first artifact."""
        change = self.models.ask(self.models.changes[0].value, time.monotonic())
        swap = await roll_back(self._drill.settings.kafka, "live", refresh_days=None, timeout_s=RECEIPTS_S)
        self._note(swap.answers, swap.what)
        change.held_s = change.done_s = time.monotonic()

    def _note(self, answers: Answers | None, what: str) -> None:
        assert answers is not None
        answers.check(what)
        self.receipts.append(sum(receipt.app == "server" for receipt in answers.given))


async def _answer(server: DrillServer, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Return status and body of an answer; status 0 where no server answers."""
    connection = Connection(HOST, server.port)
    try:
        return await connection.ask(method, path, body)
    except (OSError, EOFError):
        return 0, b""
    finally:
        connection.close()
