"""A batch that the model cannot take: who is at fault, and what the others get."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streams.recommender.model.poison_isolation import Scored, score

Run = Callable[[list[int]], Awaitable[list[str | None]]]


class FakeModel:
    """A model of numbers: some raise, some give nothing usable, and it may fail on all."""

    def __init__(
        self, raises: tuple[int, ...] = (), unusable: tuple[int, ...] = (), breaks_after: int | None = None
    ) -> None:
        self.raises, self.unusable, self.breaks_after = raises, unusable, breaks_after
        self.calls: list[list[int]] = []

    @property
    def is_broken(self) -> bool:
        """Whether it has had its calls."""
        return self.breaks_after is not None and len(self.calls) > self.breaks_after

    async def run(self, part: list[int]) -> list[str | None]:
        """Return lists."""
        self.calls.append(part)
        if self.is_broken or set(part) & set(self.raises):
            raise RuntimeError("no")
        return [None if n in self.unusable else f"list {n}" for n in part]

    async def is_alive(self) -> bool:
        """Answer the probe."""
        return not self.is_broken

    def score(self, numbers: range) -> Scored[int, str]:
        """Score numbers."""
        return asyncio.run(score(list(numbers), self.run, self.is_alive))


@pytest.mark.parametrize("fault", ["raises", "unusable"])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_poisonous_window_stands_alone_and_the_others_get_full_lists(fault: str, n: int) -> None:
    """A window that breaks a forward pass costs its neighbours neither lists nor many passes."""
    bad = (n // 2,)
    model = FakeModel(raises=bad) if fault == "raises" else FakeModel(unusable=bad)
    scored = model.score(range(n))
    assert (scored.poisoned, scored.failed) == ([n // 2], [])
    assert sorted(scored.made) == [(i, f"list {i}") for i in range(n) if i != n // 2]
    assert len(model.calls) <= 2 * n.bit_length() + 3


def test_a_model_that_fails_on_everything_poisons_nobody() -> None:
    """The windows are tried again: as poisoned ones, all users would get popular items for good."""
    model = FakeModel(breaks_after=0)
    scored = model.score(range(300))
    assert (scored.made, scored.poisoned) == ([], [])
    assert sorted(scored.failed) == list(range(300))
    assert len(model.calls) == 1, "a probe tells, not 600 passes"


def test_a_model_that_breaks_on_the_way_poisons_nobody() -> None:
    """Window 3 fails alone, but so does the model by then."""
    model = FakeModel(raises=(3,), breaks_after=4)
    scored = model.score(range(8))
    assert scored.poisoned == []
    assert sorted([*scored.failed, *(n for n, _ in scored.made)]) == list(range(8))
    assert 3 in scored.failed


def test_what_fails_by_chance_is_tried_again() -> None:
    """Out of memory on a large batch: smaller ones go through, and nobody is poisoned."""

    class Small(FakeModel):
        async def run(self, part: list[int]) -> list[str | None]:
            if len(part) > 2:
                raise MemoryError
            return await super().run(part)

    scored = Small().score(range(9))
    assert (sorted(n for n, _ in scored.made), scored.poisoned, scored.failed) == (list(range(9)), [], [])


def test_a_lone_window_gets_a_second_try() -> None:
    """One failure is no poison."""

    class Once(FakeModel):
        async def run(self, part: list[int]) -> list[str | None]:
            self.calls.append(part)
            return [None] if len(self.calls) == 1 else ["list"]

    assert Once().score(range(1)).made == [(0, "list")]
