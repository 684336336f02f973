"""Takes waiting windows through the model, without end, and hands their lists to delivery."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from streams.recommender.delivery import Delivery
from streams.recommender.live_counts import LiveCounts
from streams.recommender.model_loop import ModelLoop
from streams.recommender.served import Served
from streams.recommender.waiting.backpressure import Backpressure


@dataclass(kw_only=True, eq=False)
class ListMaker:
    """Runs micro-batches, and delivers each beside the next one. For one event loop.

    Parameters
    ----------
    served : what lists are made from; :meth:`swap` replaces it
    """

    loop: ModelLoop
    counts: LiveCounts
    delivery: Delivery
    pressure: Backpressure
    served: Served

    def __post_init__(self) -> None:
        self.counts.learn(self.served)
        self._is_between = asyncio.Event()  # no micro-batch is under way
        self._is_between.set()

    def swap(self, served: Served) -> None:
        """Serve another model, catalogue or rules from the next micro-batch on."""
        self.served = served
        if self.counts.learn(served):
            self.delivery.note_again()

    async def settled(self) -> None:
        """Wait until every list of what was served before the last swap is delivered."""
        await self._is_between.wait()
        await self.loop.fallback.is_idle.wait()
        await self.delivery.settle()

    async def run(self) -> None:
        """Run micro-batches until cancelled.

        Raises
        ------
        StalledError
            When the model has not answered for ``model_restart_s``.
        BrokerError
            When fallback lists were not delivered.
        """
        try:
            while True:
                self._is_between.set()
                windows = await self.loop.next_windows(lambda: self.served)
                self._is_between.clear()
                self.served = served = self.counts.refreshed(self.served)
                made = await self.loop.run(windows, served)
                if made:
                    self.counts.count((window for window, _ in made), self.served.catalogue)
                    await self.delivery.hand_over(made)
                self.pressure.update()
        finally:
            await self.delivery.stop()
