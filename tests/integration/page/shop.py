"""A made shop whose page a browser can open, without a broker."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn

from streams.contract.records import Item, RecommendedItem, SourceRank
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.rejects.redrive import Tally
from streams.rejects.reject_reader import RejectedEvent
from streams.server.lists.answers import ListedItem
from streams.server.page.flow import Delay, Look
from streams.server.page.parts import PageParts
from streams.server.page.rejects import RejectsLook
from streams.server.page.routes import page_router
from streams.server.page.windows import Found
from streams.server.parts.ranking import RankedAnswer, ScoredItem, ScoredItems, SessionQuestion
from tests.unit.streams.server.served import NOW_MS, ServedApp, a_list

USER = "shopper-17"
TITLES = (
    "Trail running shoes, blue", "Merino base layer", "折叠登山杖 碳纤维", "Head torch, 400 lm", "Down jacket, women's",
    "雨衣 男款 轻量", "Camping stove", "Titanium mug, 450 ml", "速干毛巾", "Sleeping bag, -5 °C",
)  # fmt: skip
IDS = tuple(f"sku-{1000 + place}" for place in range(len(TITLES)))
HOST = "127.0.0.1"


def window() -> WindowState:
    """Return the window of the shop's user."""
    acts = ("view", "click", "view", "purchase")
    items = [WindowItem(NOW_MS - 90_000 * (4 - n), f"e{n}", IDS[9 - n], act) for n, act in enumerate(acts)]
    return WindowState(1, 4, items[-1].ts, items, Trigger("e3", items[-1].ts, 3))


async def fill(app: ServedApp) -> None:
    """Put the shop's catalogue and the user's list into an application."""
    for item_id, title in zip(IDS, TITLES, strict=True):
        app.shown.put(item_id, Item(1, item_id, title, category="outdoor"))
    listed = [
        RecommendedItem(
            item_id,
            0.31 / (1 + place),
            {"retrieval": SourceRank(1 + place, 2.0), "mf": SourceRank(9 - place, 1.0), "popular": SourceRank(4, 1.0)},
            IDS[9 - place % 4],
        )
        for place, item_id in enumerate(IDS[:6])
    ]
    await app.put(msgspec.structs.replace(a_list(USER, 4), items=listed, artifact="5f0c21e7a9d4"))


class ShownWindow:
    """Stands for the reader of ``sequences``: it has the window of the shop's user."""

    def ask(self, key: bytes) -> Found:
        """Return the window of a user."""
        return Found("found", window()) if key == USER.encode() else Found("none")

    def recent(self, n: int) -> list[bytes]:
        """Return the shop's users."""
        return [USER.encode(), *(f"shopper-{number}".encode() for number in range(18, 18 + n // 5))]


class ShownFlow:
    """Stands for the watch of the flow: ten minutes of a steady stream with one stall."""

    problem = ""

    def looks(self) -> list[Look]:
        """Return the looks of ten minutes."""
        return [_look(n) for n in range(300)]


def _look(n: int) -> Look:
    wave, stall = 8 * math.sin(n / 9), 900 * math.exp(-abs(n - 180) / 6)
    delays = {
        "event_window": Delay(31 + wave, 58 + 2 * wave, 400),
        "window_list": Delay(96 + wave, 171 + 3 * wave + stall, 400),
        "event_list": Delay(130 + 2 * wave, 235 + 5 * wave + stall, 400),
    }
    written = {"events": 1_240.0, "sequences": 910.0, "recommendations": 908.0}
    return Look(
        NOW_MS + 2_000 * n, written, {"events": 1_240.0, "sequences": 905.0}, {"events": 0, "sequences": 37}, delays
    )


class ShownRejects:
    """Stands for the topic of rejects."""

    async def look(self, reason: str | None) -> RejectsLook:
        """Return some rejects of three kinds."""
        counts = Counter({("future", "ts"): 1_204, ("missing", "item_id"): 87, ("malformed", ""): 3})
        values = ('{"v":1,"event_id":"e9","user_id":"u7","type":"view","ts":1790000000000}', "\x85\xa1v\x01 雨衣")
        newest = [
            RejectedEvent(
                "missing", "item_id", "a required field is absent", "events", "2", str(90_114 - n), str(NOW_MS), b"u7",
                values[n % 2].encode(), (),
            )
            for n in range(6)
        ]  # fmt: skip
        return RejectsLook(counts, Counter({("future", "ts"): 1_204}), newest)

    async def redrive(self, reason: str | None, *, is_sent: bool) -> Tally:
        """Send nothing."""
        return Tally(sent=84, left=6, redriven_before=1_204)


class ShownRanker:
    """Stands for the model: it likes what is near the last behaviour."""

    async def session(self, asked: SessionQuestion) -> RankedAnswer:
        """Return a list of the items that the visitor has not had."""
        had = {event.item_id for event in asked.events}
        last = asked.events[-1].item_id
        ranked = sorted(
            (item_id for item_id in IDS if item_id not in had), key=lambda one: abs(place(one) - place(last))
        )
        listed = [ListedItem(item_id, 0.28 / (1 + n), TITLES[place(item_id)]) for n, item_id in enumerate(ranked)]
        return RankedAnswer("5f0c21e7a9d4", "none", listed[: asked.n])

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Return the items beside an item."""
        others = sorted((one for one in IDS if one != item_id), key=lambda one: abs(place(one) - place(item_id)))
        return ScoredItems(
            "5f0c21e7a9d4", [ScoredItem(one, 0.94 - 0.07 * n, TITLES[place(one)]) for n, one in enumerate(others)]
        )


def place(item_id: str) -> int:
    """Return the place of an item in the catalogue."""
    return IDS.index(item_id)


@contextlib.contextmanager
def open_shop(folder: Path) -> Iterator[str]:
    """Give the URL of the shop's page, served by a thread."""
    listening = socket.create_server((HOST, 0))
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        app = ServedApp(
            folder,
            ranker=ShownRanker(),
            routers=[page_router(lambda server: PageParts(ShownWindow(), ShownFlow(), ShownRejects()))],
        )
        await fill(app)
        config = uvicorn.Config(app.app, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
        servers.append(_Server(config))
        await servers[0].serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(30)
        listening.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal: it runs in a thread."""
        yield
