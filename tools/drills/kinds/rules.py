"""``headrace drill rules``: changes the rules under load; every list after a receipt obeys."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec

from models.rules.facts import ItemFacts
from models.rules.row_rules import Rules
from streams.announcements.sending.rules import put_rules
from streams.catalogue.item_facts import facts_of
from streams.contract.records import Item, Recommendation, RecordDecoder
from streams.errors import RunError
from streams.kafka.readers import start_reader
from tools.announcing.receipts import wait_with_bar
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.session import Drill
from tools.oracle.rules_kept import breaches

#: How often the rules change, and how long a change may take until all workers have answered.
N_CHANGES: Final = 10
RECEIPTS_WITHIN_S: Final = 60.0
#: Longest time in seconds for which lists of one version are waited for.
LISTS_WITHIN_S: Final = 600.0
POLL_S: Final = 0.1
EXAMPLES: Final = 5
DAY_MS: Final = 86_400_000
CATEGORIES: Final = tuple(f"category {i}" for i in range(7))


@dataclass
class Watch:
    """Judges each list as it comes.

    A list must obey the rules that it names. From the offset on at which the topic ended when the
    receipts of a version were complete, a list must name that version or a later one.

    Parameters
    ----------
    facts : what rules ask of the items of the catalogue
    list_size : of the deployment
    """

    facts: Mapping[str, ItemFacts]
    list_size: int
    versions: list[Rules] = field(default_factory=list)
    complete: list[dict[int, int]] = field(default_factory=list)
    n_checked: int = 0
    n_before: int = 0
    n_broken: int = 0
    n_stale: int = 0
    n_short: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    _decoder: RecordDecoder[Recommendation] = field(default_factory=lambda: RecordDecoder(Recommendation))

    def add(self, record: Any) -> None:
        """Judge a record of ``recommendations``."""
        if record.value is None:
            return
        made = self._decoder.decode(record.value)
        named = "" if made.rules is msgspec.UNSET else str(made.rules)
        least = self._in_force(record.partition, record.offset)
        place = next((i for i, one in enumerate(self.versions) if one.version == named), -1)
        if named and place < 0:
            self._note(made, f"names rules {named!r}, which nobody has put")
            self.n_broken += 1
            return
        if place < least:
            self.n_stale += 1
            self._note(made, f"names rules {named!r} after the receipts of {self.versions[least].version!r}")
        self.n_checked += least >= 0
        self.n_before += least < 0
        if place < 0:
            return
        self.by_version[named] += 1
        self.n_short += made.missing is not msgspec.UNSET
        listed = [item.item_id for item in made.items]
        found = list(breaches(self.versions[place].document, listed, self.facts, made.produced_ts, self.list_size))
        size = self.versions[place].list_size(self.list_size)
        missing = 0 if made.missing is msgspec.UNSET else made.missing
        if len(listed) + missing != size:
            found.append(f"{len(listed)} items and {missing} missing, list_size {size}")
        if found:
            self.n_broken += 1
            self._note(made, "; ".join(found))

    def _in_force(self, partition: int, offset: int) -> int:
        """Return the newest version whose receipts were complete at this offset, -1 for none."""
        reached = (i for i, ends in reversed(list(enumerate(self.complete))) if offset >= ends.get(partition, 0))
        return next(reached, -1)

    def _note(self, made: Recommendation, why: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"list of {made.user_id}, revision {made.revision}: {why}")


def prepare(drill: Drill) -> None:
    """Give the catalogue what rules ask about: category, tags, price, age, availability."""
    now_ms = int(time.time() * 1_000)
    for i, item in enumerate(drill.items):
        item.category = CATEGORIES[i % len(CATEGORIES)]
        item.tags = [name for name, every in (("new", 3), ("sale", 5)) if i % every == 0]
        item.price = float(i % 50)
        item.published_ts = now_ms - (1 + i % 200) * DAY_MS
        item.available = None if i % 11 == 0 else True


def document_of(number: int, items: Sequence[Item], seed: int) -> str:
    """Return the ``number``-th rules document: each kind of rule takes its turn."""
    rng = Random(seed * 1_000 + number)  # noqa: S311 - reproducible documents, nothing secret
    ids = [item.item_id for item in items]
    denied = rng.sample(ids, min(20, len(ids) // 5))
    free = [item_id for item_id in ids if item_id not in set(denied)]
    parts = [f"# change {number}", f"deny = {denied!r}".replace("'", '"')]
    if number % 3 == 1:
        parts.insert(1, f"exploration = {rng.choice([0.1, 0.3])}")
    if number % 4 == 2:
        parts.insert(1, f"list_size = {rng.choice([5, 20])}")
    kinds = (
        f'not_categories = ["{rng.choice(CATEGORIES)}"]\nprice_min = {rng.randrange(1, 10)}',
        f'tags = ["{rng.choice(["new", "sale"])}"]',
        f'age_max = "{rng.randrange(90, 180)}d"\navailable = true',
        f"price_max = {rng.randrange(25, 45)}",
    )
    parts.append(f"[filters]\n{kinds[number % len(kinds)]}")
    for place, item_id in zip((1, 4), rng.sample(free, 2), strict=True):
        parts.append(f'[[pins]]\nitem = "{item_id}"\nplace = {place}')
    parts.append(f'[[boosts]]\ncategories = ["{rng.choice(CATEGORIES)}"]\nfactor = {rng.choice([1.5, 20.0])}')
    parts.append(f'[[buries]]\ntags = ["{rng.choice(["new", "sale"])}"]\nfactor = 0.3')
    parts.append(f'[caps]\n"*" = {rng.choice([1, 2, 3])}')
    if number % 2:
        parts.append("[diversity]\nstrength = 0.3")
    return "\n".join(parts) + "\n"


async def script(drill: Drill) -> None:
    """Change the rules, and judge every list meanwhile."""
    watch = Watch({item.item_id: facts_of(item) for item in drill.items}, drill.settings.recommender.list_size)
    drill.observer.on_list = watch.add
    waits: list[float] = []
    for number in range(1, N_CHANGES + 1):
        text = document_of(number, drill.items, drill.plan.seed)
        rules = Rules.of(text, drill.settings.recommender.list_size)
        watch.versions.append(rules)
        drill.rules[rules.version] = rules
        async with drill.fault(f"rules {number}"):
            waits.append(await _put(drill, watch, text))
        await _checked(watch, drill.plan.n_lists * number // N_CHANGES)
    drill.extra["receipts_s"] = {"median": sorted(waits)[len(waits) // 2], "most": max(waits)}
    await drill.observer.catch_up(LISTS_WITHIN_S)
    drill.extra |= {
        "checked_lists": watch.n_checked,
        "lists_before_receipts": watch.n_before,
        "broken_lists": watch.n_broken,
        "stale_rules": watch.n_stale,
        "short_lists": watch.n_short,
        "lists_by_rules": dict(watch.by_version),
    }
    drill.found += watch.examples
    if watch.n_broken or watch.n_stale:
        drill.found.append(f"broken_lists {watch.n_broken}, stale_rules {watch.n_stale}")


async def _put(drill: Drill, watch: Watch, text: str) -> float:
    """Put rules, wait for all receipts and note where the topic ends; return the seconds."""
    kafka = drill.settings.kafka
    began_s = time.monotonic()
    announcement = await put_rules(kafka, drill.settings.recommender.scenario, text)
    answers = await wait_with_bar(kafka, "rules", announcement, apps=["recommender"], timeout_s=RECEIPTS_WITHIN_S)
    answers.check("rules")
    took_s = round(time.monotonic() - began_s, 2)
    if answers.n_live < drill.plan.n_workers:
        raise RunError(f"rules: {answers.n_live} recommenders answered, must be {drill.plan.n_workers}")
    watch.complete.append(await _ends(drill))
    return took_s


async def _ends(drill: Drill) -> dict[int, int]:
    """Return where each partition of ``recommendations`` ends."""
    from aiokafka import TopicPartition

    kafka = drill.settings.kafka
    tps = [TopicPartition(kafka.topic("recommendations"), p) for p in range(kafka.partitions)]
    consumer = await start_reader(kafka)
    try:
        ends = await consumer.end_offsets(tps)
    finally:
        await consumer.stop()
    return {tp.partition: end for tp, end in ends.items()}


async def _checked(watch: Watch, n: int) -> None:
    """Wait until so many lists are judged that came after a receipt."""
    deadline = time.monotonic() + LISTS_WITHIN_S
    while watch.n_checked < n:
        if time.monotonic() > deadline:
            raise RunError(f"rules: {watch.n_checked} lists within {LISTS_WITHIN_S:g} s, wanted {n}; lower --lists")
        await asyncio.sleep(POLL_S)


KIND: Final = Kind(script, Needs(n_users=20_000, rate_per_s=1_500), prepare=prepare)
