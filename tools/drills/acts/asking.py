"""The callers of ``headrace drill serve``: they ask every server for lists, all the time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tools.drills.acts.http_connection import Connection
from tools.drills.acts.servers import DrillServer
from tools.drills.judging.questions import N_DEMANDED, Asked, Kind, Session
from tools.workers.ports import HOST

#: Questions a second to each server, and connections over which they are asked.
RATE_PER_S: Final = 40.0
CONNECTIONS: Final = 4
#: Pause of a caller who found no server, in seconds.
REFUSED_PAUSE_S: Final = 0.1
KINDS: Final[tuple[Kind, ...]] = ("pushed", "demanded", "session")
SHARES: Final = (0.6, 0.25, 0.15)
#: This share of the questions for pushed lists is about users who are watched.
WATCHED_SHARE: Final = 0.5


class Callers:
    """Ask each server at a steady rate, and keep all answers. For one event loop.

    Parameters
    ----------
    n_users : of the drill: ``u0``, ``u1`` ...
    watched : users who are asked about more often; may grow

    Attributes
    ----------
    answers : in the order in which they came
    unanswered : questions that no server answered, by server
    """

    def __init__(
        self, servers: Sequence[DrillServer], n_users: int, watched: list[str], sessions: Sequence[Session], seed: int
    ) -> None:
        self._servers = servers
        self._n_users = n_users
        self._watched = watched
        self._sessions = sessions
        self._rng = random.Random(seed)  # noqa: S311 - reproducible questions, nothing secret
        self.answers: list[Asked] = []
        self.unanswered: Counter[int] = Counter()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                for _ in range(CONNECTIONS):
                    group.create_task(self._ask_on(server))

    async def ask(self, server: DrillServer, connection: Connection, kind: Kind, subject: str) -> Asked:
        """Ask one question, and keep the answer."""
        method, path, body = "GET", f"/v1/users/{subject}/recommendations", b""
        if kind == "demanded":
            path += f"?n={N_DEMANDED}"
        elif kind == "session":
            method, path, body = "POST", "/v1/sessions/recommendations", self._sessions[int(subject)].body
        life, begun_s = len(server.starts_s) - 1, time.monotonic()
        try:
            status, answer = await connection.ask(method, path, body)
        except (OSError, EOFError):
            status, answer = 0, b""
        asked = Asked(server.number, life, kind, subject, begun_s, time.monotonic(), status, answer)
        if status:
            self.answers.append(asked)
        else:
            self.unanswered[server.number] += 1
        return asked

    async def _ask_on(self, server: DrillServer) -> None:
        connection, due_s = Connection(HOST, server.port), time.monotonic()
        try:
            while True:
                due_s = max(due_s + CONNECTIONS / RATE_PER_S, time.monotonic())
                await asyncio.sleep(due_s - time.monotonic())
                kind = self._kind(server)
                if not (await self.ask(server, connection, kind, self._subject(kind))).status:
                    await asyncio.sleep(REFUSED_PAUSE_S)
        finally:
            connection.close()

    def _kind(self, server: DrillServer) -> Kind:
        if not server.ranks:
            return "pushed"
        return self._rng.choices(KINDS, SHARES)[0]

    def _subject(self, kind: Kind) -> str:
        if kind == "session":
            return str(self._rng.randrange(len(self._sessions)))
        if kind == "demanded" or self._rng.random() < WATCHED_SHARE:
            return self._rng.choice(self._watched)
        return f"u{self._rng.randrange(self._n_users)}"
