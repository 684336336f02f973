"""What the page keeps beside the server's own parts: readers that begin when somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from litestar.di import NamedDependency

from streams.server.lists.listeners import Listeners
from streams.server.page.topics.announcer import Announcer, TopicAnnouncer
from streams.server.page.topics.deployment import Deployment, TopicDeployment
from streams.server.page.topics.flow import FlowWatch, Look
from streams.server.page.topics.rejects import Rejects, TopicRejects
from streams.server.page.topics.tails import BrokerFlow
from streams.server.page.topics.windows import Found, WindowReader
from streams.server.parts.server import Server


class Windows(Protocol):
    """Gives users' newest windows, and wakes those who wait for a user's next one."""

    @property
    def listeners(self) -> Listeners:
        """Who waits for which user."""
        ...

    def ask(self, key: bytes) -> Found:
        """Return what is known of a user's window."""
        ...

    def recent(self, n: int) -> list[bytes]:
        """Return the keys of the users whose windows changed last, the newest first."""
        ...


class Flow(Protocol):
    """Gives looks at the flow, oldest first, and why there is none."""

    problem: str

    def looks(self) -> list[Look]:
        """Return the looks so far."""
        ...


@dataclass(frozen=True, eq=False)
class PageParts:
    """The page's parts of one server. For one event loop.

    A handler takes it as its argument ``parts: ThePage``.
    """

    windows: Windows
    flow: Flow
    rejects: Rejects
    deployment: Deployment
    announcer: Announcer

    @classmethod
    def of(cls, server: Server) -> PageParts:
        """Return the parts of a server; they connect to nothing yet."""
        settings, kafka = server.settings, server.settings.kafka
        return cls(
            WindowReader(kafka),
            FlowWatch(lambda: BrokerFlow.open(kafka)),
            TopicRejects(settings),
            TopicDeployment(kafka),
            TopicAnnouncer(settings),
        )


#: The type of a handler's argument ``parts``.
ThePage: TypeAlias = NamedDependency[PageParts]
