"""Click logs that are made from a seed, in which users return to items in several ways.

Each shape is one habit; the users of a log differ in how strong it is::

    revisit   returns to an earlier item: the later and the oftener it had it, the likelier
    loop      goes round a few items in a fixed order, and strays now and then
    session   looks at few items of one topic again and again, then at those of another
    supply    buys each of its goods again after about the same time
    explore   looks at one new item after another, and seldom returns
    heavy     compares a few items in long sessions, to and fro, and takes some up again days later
    series    watches the parts of a series in order, some twice, and begins another one in between
    drift     looks at what is popular on the day, for everybody, and sometimes again at an item

``python -m tools.bench.made.clicks revisit --seed 2 > clicks.csv`` writes a log for ``headrace
train`` and ``headrace evaluate``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

#: 2020-09-13, UTC.
START_MS: Final = 1_600_000_000_000
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
N_TOPICS: Final = 20

#: Item and type of a user's events, with the ms since its event before.
Steps = Iterator[tuple[int, str, int]]


@dataclass(frozen=True)
class ClickLog:
    """The size of a log, and how its users behave.

    Parameters
    ----------
    shape : a name of :data:`SHAPES`
    events : of a user on average; users have half to twice as many
    """

    shape: str
    users: int = 100
    items: int = 500
    events: int = 40
    seed: int = 1

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return the events, ``(user_id, item_id, type, ts_ms)``, in time order."""
        rng = np.random.default_rng(self.seed)
        shop = _Shop(self.items, rng)
        rows: list[tuple[str, str, str, int]] = []
        for user in range(self.users):
            ts_ms = START_MS + int(rng.integers(0, 10 * DAY_MS))
            shop.now_ms = ts_ms
            n = int(self.events * 2 ** rng.uniform(-1, 1))
            for _, (item, kind, gap_ms) in zip(range(n), SHAPES[self.shape](shop, rng), strict=False):
                ts_ms += gap_ms
                shop.now_ms = ts_ms
                rows.append((f"u{user}", f"i{item}", kind, ts_ms))
        return sorted(rows, key=lambda row: row[3])


class _Shop:
    """Items of some topics: few are popular, and one leads to others of its topic."""

    def __init__(self, n_items: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self.now_ms = START_MS
        self.topics = rng.integers(0, min(N_TOPICS, n_items), n_items)
        weights = 1.0 / np.arange(1, n_items + 1) ** 0.8
        self._popularity = rng.permutation(weights) / weights.sum()
        self._followers = [rng.choice(self.items_of(topic), 3) for topic in self.topics]

    def items_of(self, topic: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the items of a topic."""
        return np.flatnonzero(self.topics == topic)

    def any_item(self) -> int:
        """Return an item, a popular one more often."""
        return int(self._rng.choice(len(self.topics), p=self._popularity))

    def item_of_the_day(self) -> int:
        """Return an item, one whose day is near much more often: each day has its own items."""
        day, n = (self.now_ms - START_MS) / DAY_MS, len(self.topics)
        away = np.abs(np.arange(n) * (40.0 / n) - day)  # of 40 days
        weights = self._popularity * np.exp(-away)
        return int(self._rng.choice(n, p=weights / weights.sum()))

    def after(self, item: int) -> int:
        """Return an item to which this one leads, or any other."""
        return int(self._rng.choice(self._followers[item])) if self._rng.random() < 0.5 else self.any_item()


def _gap_ms(rng: np.random.Generator) -> int:
    """Return a minute or so within a visit, and sometimes a day or so to the next one."""
    return int(rng.exponential(2 * DAY_MS if rng.random() < 0.1 else 2 * MINUTE_MS)) + 1_000


def _kind(rng: np.random.Generator) -> str:
    return str(rng.choice(["view", "click", "purchase"], p=[0.8, 0.15, 0.05]))


def _revisit(shop: _Shop, rng: np.random.Generator, share: float | None = None) -> Steps:
    share = rng.uniform(0.3, 0.7) if share is None else share
    had = [shop.any_item()]
    while True:
        yield had[-1], _kind(rng), _gap_ms(rng)
        if rng.random() < share:
            weights = 1.0 / np.arange(len(had), 0, -1)
            had.append(int(rng.choice(had, p=weights / weights.sum())))
        else:
            had.append(shop.after(had[-1]))


def _explore(shop: _Shop, rng: np.random.Generator) -> Steps:
    yield from _revisit(shop, rng, share=0.05)


def _loop(shop: _Shop, rng: np.random.Generator) -> Steps:
    round_ = [shop.any_item() for _ in range(int(rng.integers(12, 25)))]
    place, strays = 0, rng.uniform(0.05, 0.3)
    while True:
        if rng.random() < strays:
            yield shop.any_item(), "view", _gap_ms(rng)
        else:
            yield round_[place % len(round_)], _kind(rng), _gap_ms(rng)
            place += 1


def _session(shop: _Shop, rng: np.random.Generator) -> Steps:
    while True:
        items = shop.items_of(int(rng.integers(0, shop.topics.max() + 1)))
        few = rng.choice(items, int(rng.integers(2, 7))) if len(items) else [shop.any_item()]
        gap_ms = int(rng.exponential(3 * DAY_MS))
        for _ in range(int(rng.integers(3, 16))):
            yield int(rng.choice(few)), _kind(rng), gap_ms
            gap_ms = int(rng.exponential(2 * MINUTE_MS)) + 1_000


def _supply(shop: _Shop, rng: np.random.Generator) -> Steps:
    goods = [shop.any_item() for _ in range(int(rng.integers(8, 20)))]
    periods = rng.uniform(2, 20, len(goods)) * DAY_MS
    due, now = rng.uniform(0, 1, len(goods)) * periods, 0.0
    while True:
        if rng.random() < 0.3:
            yield shop.any_item(), "view", 5 * MINUTE_MS
            now += 5 * MINUTE_MS
            continue
        first = int(due.argmin())
        gap_ms = max(int(due[first] - now), MINUTE_MS)
        now += gap_ms
        due[first] = now + periods[first] * rng.uniform(0.8, 1.2)
        yield goods[first], "purchase", gap_ms


def _heavy(shop: _Shop, rng: np.random.Generator) -> Steps:
    known: list[int] = []
    while True:
        items = shop.items_of(int(rng.integers(0, shop.topics.max() + 1)))
        few = [*rng.choice(items, int(rng.integers(4, 10))).tolist()] if len(items) else [shop.any_item()]
        few += [int(item) for item in rng.choice(known, min(2, len(known)))] if known else []
        known += few
        at, gap_ms = 0, int(rng.exponential(3 * DAY_MS))
        for _ in range(int(rng.integers(15, 60))):
            yield int(few[at]), _kind(rng), gap_ms
            gap_ms = int(rng.exponential(MINUTE_MS)) + 1_000
            # on to the next one, back to the one before, or to any of them
            how = rng.random()
            at = (at + 1 if how < 0.4 else at - 1 if how < 0.75 else int(rng.integers(len(few)))) % len(few)


def _series(shop: _Shop, rng: np.random.Generator) -> Steps:
    items, (twice, leaves) = shop.items_of, rng.uniform((0.1, 0.02), (0.4, 0.15))
    open_: list[tuple[int, int]] = []
    while True:
        if not open_ or rng.random() < leaves:
            topic = int(shop.topics[shop.any_item()])
            open_ = [one for one in open_ if one[0] != topic][-2:] + [(topic, 0)]
        elif rng.random() < 0.1:
            open_.insert(0, open_.pop())
        topic, part = open_.pop()
        yield int(items(topic)[part]), _kind(rng), _gap_ms(rng)
        if rng.random() < twice:
            open_.append((topic, part))
        elif part + 1 < len(items(topic)):
            open_.append((topic, part + 1))


def _drift(shop: _Shop, rng: np.random.Generator) -> Steps:
    had = [shop.item_of_the_day()]
    share = rng.uniform(0.1, 0.4)
    while True:
        yield had[-1], _kind(rng), _gap_ms(rng)
        if rng.random() < share:
            had.append(int(rng.choice(had[-6:])))
        else:
            had.append(shop.after(had[-1]) if rng.random() < 0.3 else shop.item_of_the_day())


#: Each shape by name: an endless row of a user's steps.
SHAPES: Final[dict[str, Callable[[_Shop, np.random.Generator], Steps]]] = {
    "revisit": _revisit,
    "loop": _loop,
    "session": _session,
    "supply": _supply,
    "explore": _explore,
    "heavy": _heavy,
    "series": _series,
    "drift": _drift,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write a log as CSV to standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.made.clicks", description="write a made click log as CSV"
    )
    parser.add_argument("shape", choices=sorted(SHAPES))
    for name, default in (
        ("users", ClickLog.users),
        ("items", ClickLog.items),
        ("events", ClickLog.events),
        ("seed", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help="(default: %(default)s)")
    log = ClickLog(**vars(parser.parse_args(argv)))
    writer = csv.writer(sys.stdout)
    writer.writerow(["user_id", "item_id", "type", "ts"])
    writer.writerows(log.rows())


if __name__ == "__main__":
    main()
