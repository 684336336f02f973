"""A made deployment: two recommenders and a server; one refuses the newest model."""

from __future__ import annotations

from collections.abc import Sequence

from streams.announcements.follow import Announced
from streams.announcements.sending.rules import record_of
from streams.contract.announcements import Answering, ModelAnnouncement, Receipt
from streams.errors import InputError
from streams.kafka.group_watch import Group, Member
from streams.server.page.topics.announcer import Checked
from streams.server.page.topics.deployment import DeploymentLook, live
from tests.unit.streams.server.served import NOW_MS

ROOT = "/srv/models"
OLD, NEW, NEXT = "5f0c21e7a9d4", "b81d3307c2f6", "d94e0a5516b3"
SHA = "0" * 64
RULES = """# what the shop shows
deny = ["sku-1007"]

[caps]
outdoor = 8
"""
RULES_BEFORE = "list_size = 12\n"


class ShownDeployment:
    """Stands for the topics of announcements and for the groups."""

    async def look(self) -> DeploymentLook:
        """Return a model that one of two recommenders does not take."""
        record = ModelAnnouncement(
            1, NEW, f"{ROOT}/2026-11-30", SHA, NOW_MS, {"hr@10": 0.2134, "ndcg@10": 0.1187}, f"{ROOT}/2026-11-23"
        )
        trial = ModelAnnouncement(1, OLD, f"{ROOT}/2026-11-23", SHA, NOW_MS - 600_000_000, {}, None)
        held = Announced("live", record, 0, 7)
        refused = f"artifact {NEW} does not know some event types: wish counts as view; train it again"
        given = [
            Receipt(1, "model", held.id, "recommender", "r-1", "done", NOW_MS + 4_000, None, NEW, NEW, "equal"),
            Receipt(1, "model", held.id, "recommender", "r-2", "failed", NOW_MS + 5_000, None, refused, OLD, "none"),
            Receipt(
                1, "model", held.id, "server", "s-1", "begun", NOW_MS + 2_000, None, "12000 of 41203 items taken in"
            ),
            *(_obeys("recommender", worker) for worker in ("r-1", "r-2")),
            _obeys("server", "s-1"),
        ]
        groups: dict[Answering, Group | None] = {
            "recommender": Group("Stable", (_member("r-1"), _member("r-2"))),
            "server": Group("Stable", (_member("s-1"),)),
        }
        rules = {
            "default": Announced("default", record_of("default", RULES), 0, 5),
            "default@previous": Announced("default@previous", record_of("default", RULES_BEFORE), 0, 4),
        }
        return DeploymentLook(
            {"live": held, "trial": Announced("trial", trial, 0, 3)},
            rules,
            live(groups, given),
        )


def _obeys(app: Answering, worker: str) -> Receipt:
    return Receipt(1, "rules", "default@0.5", app, worker, "done", NOW_MS, None, "rules")


def _member(name: str) -> Member:
    return Member(name, "headrace", f"/10.0.0.{3 + len(name) + ord(name[-1]) % 7}", frozenset())


class ShownAnnouncer:
    """Stands for what loads and announces."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []

    async def proposed(self) -> Sequence[str]:
        """Return three artifacts."""
        return [f"{ROOT}/2026-12-01", f"{ROOT}/2026-11-30", f"{ROOT}/2026-11-23"]

    async def check(self, place: str) -> Checked:
        """Return an artifact whose lists are equal, or, under a name, unlike."""
        if not place.startswith(ROOT):
            raise InputError(f"{place}: lies outside {ROOT}; copy it there")
        metrics = {"hr@10": 0.2207, "ndcg@10": 0.1241}
        if place.endswith("unlike"):
            return Checked(place, NEXT, SHA, "unlike", "golden window 3 of 64: place 2", metrics)
        return Checked(place, NEXT, SHA, "equal", "", metrics)

    async def publish(self, place: str, newest: str, sha256: str, refresh_days: float | None) -> str:
        """Announce nothing."""
        self.sent.append(("publish", place, newest, sha256, str(refresh_days)))
        return "live@0.8"

    async def rollback(self, newest: str, refresh_days: float | None) -> str:
        """Announce nothing."""
        self.sent.append(("rollback", newest, str(refresh_days)))
        return "live@0.8"

    async def put_rules(self, text: str, expected: str) -> str:
        """Announce nothing."""
        self.sent.append(("put", text, expected))
        return "default@0.4"

    async def rollback_rules(self, expected: str) -> str:
        """Announce nothing."""
        self.sent.append(("back", expected))
        return "default@0.4"
