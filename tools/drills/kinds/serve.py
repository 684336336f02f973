"""``headrace drill serve``: kills servers while callers ask them, and everything changes.

::

    load      ──────────────────────────────────────────────── at rest ──────────────
    callers   ─ ask each server, all the time ───────────────────────────────────────┬─ verdict
    rounds    a change ─ receipts ─ a change ─ receipts ... again └ lists of all users
              └ a server is killed, its store deleted ┘
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from streams.catalogue.item_facts import facts_of
from streams.contract.records import Recommendation
from streams.kafka.topic_reader import newest_values
from streams.server.lists.answers import UserList
from tools.drills.acts.asking import Callers
from tools.drills.acts.http_connection import Connection
from tools.drills.acts.servers import DrillServer
from tools.drills.acts.shop_changes import N_EXTRA, READY_S, ShopChanges, prepare
from tools.drills.judging.answers import WRONG, AnswerJudge, InForce, ListLog
from tools.drills.judging.demanded import Shop, catalogue_without, compare_demanded
from tools.drills.judging.questions import N_DEMANDED, Session
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.session import Drill, roots_of, variables_of
from tools.workers.launch import deployment_variables
from tools.workers.ports import HOST

#: Which servers have a model.
RANKS: Final = (True, True, False)
#: Changes in each round.
N_CHANGES: Final = 2
N_WATCHED: Final = 40
N_SESSIONS: Final = 20
#: A server is killed after a time drawn from this range, in seconds.
HARM_S: Final = (0.0, 4.0)
#: A server has the lists of a topic at rest within so many seconds.
RIGHT_S: Final = 30.0
POLL_S: Final = 0.05
START_MS: Final = 1_700_000_000_000


async def script(drill: Drill) -> None:
    """Kill and change in rounds, check all lists at rest, and judge every answer."""
    async with _shop(drill) as shop:
        await shop.begin()
        deletes, changes = itertools.cycle((False, True)), itertools.cycle(shop.changes.all())
        for number in range(drill.plan.kills):
            await shop.round(number, [next(changes) for _ in range(N_CHANGES)], deletes_store=next(deletes))
        async with drill.load.at_rest():
            await shop.check_all_lists("at rest")
            # with a catalogue made anew: until then, reasons of lists count withdrawn items as near
            await shop.changes.publish()
            drill.items[:] = catalogue_without(shop.changes.items, shop.changes.hidden.newest)
            # a list of each user by what is in force at the end, for the verdict of all drills
            await drill.load.prefill()
            await shop.check_all_lists("after another event of each user")
            await asyncio.to_thread(shop.judge)


@asynccontextmanager
async def _shop(drill: Drill) -> AsyncIterator[Shopping]:
    """Give servers that are ready, and callers who ask them; end both."""
    env = deployment_variables(drill.settings) | variables_of(drill.settings, drill.plan)
    env |= roots_of(drill.settings, drill.folder)
    servers = [DrillServer(number, env, drill.folder, ranks=ranks) for number, ranks in enumerate(RANKS)]
    shop = Shopping(drill, servers)
    asking: asyncio.Task[None] | None = None
    try:
        for server in servers:
            server.start()
        for server in servers:
            await server.wait_ready(READY_S)
        asking = asyncio.create_task(shop.callers.run())
        yield shop
        if asking.done():
            await asking
    finally:
        if asking is not None:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        ends = await asyncio.gather(*(server.stop() for server in servers))
        drill.found += [end for end in ends if end]


class Shopping:
    """The servers, what is asked of them, and what changes meanwhile."""

    def __init__(self, drill: Drill, servers: Sequence[DrillServer]) -> None:
        self._drill = drill
        self._servers = servers
        watched = [f"u{i}" for i in range(min(N_WATCHED, drill.plan.n_users))]
        self.changes = ShopChanges(drill, servers, watched)
        self._log = ListLog()
        self._sessions = [self._session(number) for number in range(N_SESSIONS)]
        self.callers = Callers(servers, drill.plan.n_users, watched, self._sessions, drill.plan.seed)
        drill.observer.on_list = lambda record: self._log.add_list(record, time.monotonic())
        drill.observer.on_window = lambda record: self._log.add_window(record.key, record.value)
        for made in drill.observer.ledger.newest().values():
            self._log.add(made, time.monotonic())

    def _session(self, number: int) -> Session:
        rng = self._drill.rng
        ids = [item.item_id for item in rng.sample(self.changes.items[:-N_EXTRA], 1 + number % 8)]
        events = [(item_id, "view", START_MS + 60_000 * place) for place, item_id in enumerate(ids)]
        return Session.of(events, N_DEMANDED)

    async def begin(self) -> None:
        """Read the windows of before, and make the first change."""
        for key, value in (await newest_values(self._drill.settings.kafka, "sequences")).items():
            self._log.add_window(key, value)
        await self.changes.begin()

    async def round(
        self, number: int, changes: Sequence[tuple[str, Callable[[], Awaitable[None]]]], *, deletes_store: bool
    ) -> None:
        """Make changes while a server is killed; return when all servers are ready."""
        drill, victim = self._drill, self._servers[number % len(self._servers)]
        names = " and ".join(name for name, _ in changes)
        harm = f"kill of {victim.label}{' and of its store' if deletes_store else ''}"
        async with drill.fault(f"{names}; {harm}"):
            killing = asyncio.create_task(self._kill(victim, deletes_store=deletes_store))
            try:
                for name, change in changes:
                    began_s = time.monotonic()
                    await change()
                    self.changes.waits_s.setdefault(name, []).append(round(time.monotonic() - began_s, 2))
                await killing
            finally:
                killing.cancel()
            for server in self._servers:
                await server.wait_ready(READY_S)

    async def _kill(self, victim: DrillServer, *, deletes_store: bool) -> None:
        await asyncio.sleep(self._drill.rng.uniform(*HARM_S))
        victim.kill(deletes_store=deletes_store)
        await victim.wait_ready(READY_S)

    async def check_all_lists(self, when: str) -> None:
        """Wait until every server gives each user's newest list, while nothing changes."""
        drill = self._drill
        await drill.catch_up()
        newest = {key.decode(): made for key, made in drill.observer.ledger.newest().items()}
        for server in self._servers:
            deadline = time.monotonic() + RIGHT_S
            left, connection = [f"u{i}" for i in range(drill.plan.n_users)], Connection(HOST, server.port)
            while left := [user for user in left if not await self._has(server, connection, user, newest.get(user))]:
                if time.monotonic() > deadline:
                    drill.found.append(f"{when}: {server.label} has another list of {len(left)} users, as {left[0]}")
                    break
                await asyncio.sleep(POLL_S)
            connection.close()

    async def _has(self, server: DrillServer, connection: Connection, user: str, made: Recommendation | None) -> bool:
        """Whether a server answers with the user's newest list, or makes one of its window."""
        asked = await self.callers.ask(server, connection, "pushed", user)
        if made is None or asked.status != 200:
            return made is None and asked.status == 404
        found = msgspec.json.decode(asked.body, type=UserList)
        return found.revision == made.revision and (found.on_demand or found.list_id == made.list_id)

    def judge(self) -> None:
        """Judge every answer, and put the figures into the report."""
        drill, settings, changes = self._drill, self._drill.settings.recommender, self.changes
        facts = {item.item_id: facts_of(item) for item in changes.items}
        in_force = InForce(changes.models, changes.rules, changes.hidden, changes.forgotten, facts)
        judge = AnswerJudge(self._log, in_force, self._servers, settings.list_size)
        judge.judge(self.callers.answers)
        shop = Shop(settings, drill.artifacts, drill.rules, changes.items, self._sessions)
        n_compared = compare_demanded(judge, shop)
        restarts = [
            round(ready_s - kill_s, 2)
            for server in self._servers
            for kill_s, ready_s in zip(server.kills_s, server.ready_s[1:], strict=True)
        ]
        drill.extra |= {
            "servers": len(self._servers),
            "answers": len(self.callers.answers),
            "answers_by_kind": dict(judge.counts),
            "unanswered": sum(self.callers.unanswered.values()),
            "compared_on_demand": n_compared,
            "wrong_answers": sum(judge.wrong.values()),
            **{f"answers_{name}": judge.wrong[name] for name in WRONG},
            "server_kills": len(restarts),
            "ready_again_s": {"median": round(statistics.median(restarts), 2), "max": max(restarts)}
            if restarts
            else {},
            "server_receipts": changes.receipts,
            "changes_s": {name: {"n": len(each), "max": max(each)} for name, each in changes.waits_s.items()},
        }
        drill.found += judge.examples
        if judge.wrong:
            drill.found.append(", ".join(f"answers_{name} {n}" for name, n in judge.wrong.items()))


KIND: Final = Kind(script, Needs(n_users=2_000, rate_per_s=100, n_workers=1), prepare=prepare)
