"""A made shop whose page a browser can open, without a broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import uvicorn

from models.rules.row_rules import Rules
from streams.contract.records import Item, RecommendedItem, SourceRank
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.rejects.redrive import Tally
from streams.rejects.reject_reader import RejectedEvent
from streams.server.lists.answers import ListedItem
from streams.server.lists.listeners import Listeners
from streams.server.page.parts import PageParts
from streams.server.page.routes import page_router
from streams.server.page.topics.flow import Delay, Look
from streams.server.page.topics.rejects import RejectsLook
from streams.server.page.topics.windows import Found
from streams.server.parts.ranking import (
    ItemMap,
    MapPoint,
    RankedAnswer,
    RulesEffect,
    ScoredItem,
    ScoredItems,
    SessionQuestion,
)
from streams.settings.apps import RecommenderSettings
from streams.settings.server import ServerSettings
from tests.unit.streams.server.page.deployed import ROOT, ShownAnnouncer, ShownDeployment
from tests.unit.streams.server.served import NOW_MS, ServedApp, a_list

USER = "shopper-17"
TITLES = (
    "Trail running shoes, blue", "Merino base layer", "折叠登山杖 碳纤维", "Head torch, 400 lm", "Down jacket, women's",
    "雨衣 男款 轻量", "Camping stove", "Titanium mug, 450 ml", "速干毛巾", "Sleeping bag, -5 °C",
)  # fmt: skip
IDS = tuple(f"sku-{1000 + place}" for place in range(len(TITLES)))
HOST = "127.0.0.1"


def window_of_shop() -> WindowState:
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

    def __init__(self) -> None:
        self.listeners = Listeners()

    def ask(self, key: bytes) -> Found:
        """Return the window of a user."""
        return Found("found", window_of_shop()) if key == USER.encode() else Found("none")

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

    async def under_rules(self, key: bytes, rules: Rules | None) -> RulesEffect | None:
        """Return the user's list, and without what the rules deny and with what they pin."""
        if key != USER.encode() or rules is None:
            return None
        ids = list(IDS[:6])
        then = [one for one in (*IDS[:6], *IDS[6:9]) if one not in rules.document.deny][:6]
        for pin in rules.document.pins:
            then = [pin.item, *(one for one in then if one != pin.item)][:6]
        now, later = (
            RankedAnswer(
                "5f0c21e7a9d4",
                "none",
                [ListedItem(one, 0.3 / (1 + n), TITLES[place(one)]) for n, one in enumerate(each)],
            )
            for each in (ids, then)
        )
        return RulesEffect(now, later)

    async def item_map(self, key: bytes | None) -> ItemMap:
        """Return some hundred made items in three clouds, and the shop's own in the first."""
        chance = random.Random(7)
        clouds = ((-0.5, -0.2), (0.4, 0.4), (0.3, -0.5))
        points = [
            MapPoint(f"made-{n}", f"Item {n}", *(chance.gauss(middle, 0.16) for middle in clouds[n % 3]))
            for n in range(900)
        ]
        own = {one: MapPoint(one, TITLES[place(one)], *where) for one, where in (await self.places(IDS)).items()}
        has_user = key == USER.encode()
        window = [own[one.item_id] for one in window_of_shop().items] if has_user else []
        user = (-0.42, -0.05) if has_user else None
        return ItemMap("5f0c21e7a9d4", 3, (0.31, 0.17), 41_203, 20_000, [*points, *own.values()], window, user)

    async def places(self, item_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return the places of the shop's items on the map."""
        return {one: (-0.8 + 0.08 * place(one), -0.4 + 0.06 * (place(one) * 7 % 10)) for one in item_ids if one in IDS}

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Return the items beside an item."""
        others = sorted((one for one in IDS if one != item_id), key=lambda one: abs(place(one) - place(item_id)))
        return ScoredItems(
            "5f0c21e7a9d4", [ScoredItem(one, 0.94 - 0.07 * n, TITLES[place(one)]) for n, one in enumerate(others)]
        )


def place(item_id: str) -> int:
    """Return the place of an item in the catalogue."""
    return IDS.index(item_id)


def write_runs(folder: Path) -> Path:
    """Write made reports of each kind into a folder."""
    folder.mkdir(parents=True)
    evaluation = {
        "data": {"log": "events.csv"}, "protocol": "loo", "targets": "last", "ties": "file", "policy": "never",
        "cases": 6_040, "preset": "demo", "encoder": None, "epochs": 3,
    }  # fmt: skip
    drill = {"seed": 1, "workers": 2, "rate": 200.0, "events": 12_000, "wrong_windows": 0, "wrong_lists": 0}
    replay = {"read": 100_000, "skipped": 0, "bad": 3, "seconds": 9.4, "first_ts": NOW_MS, "last_ts": NOW_MS}
    models = {
        "2026-11-23": {
            "pipeline": {"hr@10": 0.3191, "ndcg@10": 0.1908},
            "popularity": {"hr@10": 0.0801, "ndcg@10": 0.04},
        },
        "2026-11-30": {
            "pipeline": {"hr@10": 0.3391, "ndcg@10": 0.2032},
            "popularity": {"hr@10": 0.0801, "ndcg@10": 0.04},
        },
    }
    reports = {
        f"shop-{day}": evaluation | {"artifact": f"{n}f0c21e7a9d4", "date": day, "models": found}
        for n, (day, found) in enumerate(models.items())
    }
    reports |= {
        f"drill-{kind}": drill | {"kind": kind, "lost": lost, "downtime_s": {"max": pause}, "problems": ["lost"] * lost}
        for kind, lost, pause in (("kill", 0, 6.2), ("rebalance", 0, 2.4), ("zombie", 1, 8.9))
    }
    reports |= {f"replay-{n}": replay | {"run": f"history-{n}", "sent": 100_000 - 3 * n} for n in range(2)}
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(f"a line of progress\n{json.dumps(report)}\n")
    (folder / "notes.json").write_text("[]")
    return folder


@contextlib.contextmanager
def open_shop(folder: Path) -> Iterator[str]:
    """Give the URL of the shop's page, served by a thread."""
    listening = socket.create_server((HOST, 0))
    servers: list[uvicorn.Server] = []
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        app = ServedApp(
            folder,
            ranker=ShownRanker(),
            recommender=RecommenderSettings(artifact=f"{ROOT}/2026-11-23", artifact_roots=ROOT),
            server=ServerSettings(serve_ranking="on", serve_runs_dir=str(write_runs(folder / "runs"))),
            routers=[page_router(lambda server: _parts())],
        )
        await fill(app)
        loop, stopping = asyncio.get_running_loop(), app.server.ready.stopping
        stops.append(lambda: loop.call_soon_threadsafe(stopping.set))
        config = uvicorn.Config(app.app, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
        servers.append(_Server(config))
        await servers[0].serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        for stop in stops:
            stop()
        for server in servers:
            server.should_exit = True
        thread.join(30)
        listening.close()


def _parts() -> PageParts:
    return PageParts(ShownWindow(), ShownFlow(), ShownRejects(), ShownDeployment(), ShownAnnouncer())


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal: it runs in a thread."""
        yield
