"""What callers may ask of the model, and what it answers. This module loads no model library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from models.rules.row_rules import Rules
from streams.contract.records import Identifier, ShortText, TimestampMs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import MAX_EXCLUDED, MAX_N, ListedItem, Question, UserList
from streams.server.parts.why import WhyAnswer, WhyQuestion

#: Items of an answer whose question does not say how many.
DEFAULT_N: Final = 10
MAX_EVENTS: Final = 1_000

Count = Annotated[int, Meta(ge=1, le=MAX_N)]


class Behaved(msgspec.Struct):
    """A behaviour of a visitor; without ``ts`` it follows the one before it."""

    item_id: Identifier
    type: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    ts: TimestampMs | None = None


Events = Annotated[list[Behaved], Meta(max_length=MAX_EVENTS)]
Excluded = Annotated[list[Identifier], Meta(max_length=MAX_EXCLUDED)]
Features = Annotated[dict[ShortText, float | str | None], Meta(max_length=100)]


class SessionQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """Asks for a list of a visitor whom no topic knows.

    ``events`` are what the visitor did, oldest first; without them, and without ``features``, the
    list has popular items.
    """

    events: Events = []
    n: Count = DEFAULT_N
    category: ShortText | None = None
    exclude: Excluded = []
    features: Features | None = None
    explain: bool = False


class RankQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """Asks for the order of the caller's own candidates."""

    candidates: Annotated[list[Identifier], Meta(min_length=1, max_length=MAX_N)]
    events: Events = []
    features: Features | None = None
    explain: bool = False


class RankedAnswer(msgspec.Struct, omit_defaults=True):
    """Items that the model ranked now, best first.

    ``degraded`` says what the order was made without. ``left_out`` has the candidates that the
    answer may not hold: unknown or hidden items, items that the rules deny, and items of the events
    that must not come back.
    """

    artifact: str
    degraded: str
    items: list[ListedItem]
    rules: str = ""
    left_out: list[str] = []


class ScoredItem(msgspec.Struct, omit_defaults=True):
    """An item and how similar, or how popular, it is."""

    item_id: str
    score: float
    title: str = ""


class ScoredItems(msgspec.Struct):
    """Items, best first."""

    artifact: str
    items: list[ScoredItem]


class RulesEffect(NamedTuple):
    """What other rules would do to a list, all else equal."""

    now: RankedAnswer
    then: RankedAnswer


class MapPoint(NamedTuple):
    """An item on a map of the catalogue."""

    item_id: str
    title: str
    x: float
    y: float


class ItemMap(NamedTuple):
    """The catalogue on two axes.

    Parameters
    ----------
    shares : of the variance of the items' vectors, that along each axis
    n_items, n_measured : all items, and those from whose vectors the axes come
    points : a sample of the items
    window : the items of the user's window, the newest last
    user : where the user's own vector lies; None where the window says nothing
    """

    artifact: str
    generation: int
    shares: tuple[float, float]
    n_items: int
    n_measured: int
    points: list[MapPoint]
    window: list[MapPoint]
    user: tuple[float, float] | None


class Ranker(Protocol):
    """Answers with the model. For one event loop.

    Each method raises :class:`Problem` for what cannot be asked, and while there is no model.
    """

    async def session(self, asked: SessionQuestion) -> RankedAnswer:
        """Return a list for a visitor."""

    async def user(self, key: bytes, asked: Question, n: int) -> UserList | None:
        """Return a list of a user's newest window; None where the server has no window of the user.

        Parameters
        ----------
        key : of the user's records
        """

    async def under_rules(self, key: bytes, rules: Rules | None) -> RulesEffect | None:
        """Return a user's list under the rules in force, and as it would be under others.

        None where the server has no window of the user.

        Parameters
        ----------
        key : of the user's records
        rules : None for none
        """

    async def rank(self, asked: RankQuestion) -> RankedAnswer:
        """Return the caller's candidates in the model's order."""

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Return the items nearest to an item."""

    async def item_map(self, key: bytes | None) -> ItemMap:
        """Return the catalogue on two axes, with a user on it.

        Parameters
        ----------
        key : of the user's records; None for no user
        """

    async def places(self, item_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return where items lie on the map; unknown ones are left out."""

    async def popular(self, n: int, category: str | None, since_ms: int | None = None) -> ScoredItems:
        """Return the most popular items.

        Parameters
        ----------
        since_ms : count the events since this time; None for what is popular by training and events
        """

    async def why(self, key: bytes, asked: WhyQuestion) -> WhyAnswer:
        """Return why an item is in the list of a user's newest window, or is not.

        Parameters
        ----------
        key : of the user's records
        """


class NoRanker:
    """Stands for a model where the server has none."""

    async def session(self, asked: SessionQuestion) -> RankedAnswer:
        """Refuse."""
        raise _off()

    async def user(self, key: bytes, asked: Question, n: int) -> UserList | None:
        """Know no user."""
        return None

    async def under_rules(self, key: bytes, rules: Rules | None) -> RulesEffect | None:
        """Refuse."""
        raise _off()

    async def rank(self, asked: RankQuestion) -> RankedAnswer:
        """Refuse."""
        raise _off()

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Refuse."""
        raise _off()

    async def item_map(self, key: bytes | None) -> ItemMap:
        """Refuse."""
        raise _off()

    async def places(self, item_ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Refuse."""
        raise _off()

    async def popular(self, n: int, category: str | None, since_ms: int | None = None) -> ScoredItems:
        """Refuse."""
        raise _off()

    async def why(self, key: bytes, asked: WhyQuestion) -> WhyAnswer:
        """Refuse."""
        raise _off()


def _off() -> Problem:
    return Problem(
        501,
        "ranking-off",
        "this server has no model: serve_ranking is off",
        remedy="ask another server, or set HEADRACE_SERVE_RANKING=on and HEADRACE_ARTIFACT",
    )
