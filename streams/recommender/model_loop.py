"""Micro-batches through the model, and fallback lists while it does not answer.

========================  =========================================================================
the model                 users
========================  =========================================================================
answers in time           get full lists
is late or hangs          get fallback lists; the windows wait on; full lists follow as it answers
hangs for too long        the process ends, non-zero, for its supervisor to restart it: a thread
                          cannot be killed
raises whatever it gets   get fallback lists; it is asked again every second; after too long the
                          process ends as above
fails on some windows     those users get popular items, which is final; the others get full lists
========================  =========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from faust.types import EventT

from streams.contract.log_coordinates import about_events
from streams.errors import StalledError
from streams.health.counters import Metrics
from streams.recommender.delivery import Window
from streams.recommender.fallback_lists import FallbackLists, describe
from streams.recommender.list_encoding import ListEncoder, MadeList
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model.poison_isolation import Scored, score
from streams.recommender.model_job import Answer, answers, make_lists
from streams.recommender.served import Served
from streams.recommender.users.records import UserFacts
from streams.recommender.waiting.window_queue import MAX_WINDOWS, WindowQueue
from streams.settings.load import RecommenderSettings

log = logging.getLogger(__name__)

#: The first forward pass loads kernels and wakes threads; it may take this many times as long.
WARM_UP: Final = 10
#: Seconds between two tries of a model that fails, and between two looks for its answer.
RETRY_S: Final = 1.0
POLL_S: Final = 0.02


def nothing_known(_users: Sequence[tuple[int, bytes]]) -> None:
    """Know nothing of users beside their windows."""


@dataclass(kw_only=True, eq=False)
class ModelLoop:
    """Takes windows from the queue and returns their full lists; nobody waits long for a list.

    Its owner calls :meth:`next_windows` and :meth:`run` in turn. For one event loop.

    Parameters
    ----------
    thread : runs the pipeline
    encoder : encodes its lists, on the thread too
    facts : returns what is known of users beside their windows, by partition and key
    events_topic : the topic of the events that the windows are made of
    """

    queue: WindowQueue[EventT]
    thread: ModelThread
    fallback: FallbackLists
    encoder: ListEncoder
    settings: RecommenderSettings
    metrics: Metrics
    facts: Callable[[Sequence[tuple[int, bytes]]], Sequence[UserFacts | None] | None] = nothing_known
    events_topic: str = "events"

    def __post_init__(self) -> None:
        self.has_answered = self._is_late = False
        self.max_windows = MAX_WINDOWS
        self._failing_since_s: float | None = None
        self._failed_s = 0.0

    async def next_windows(self, served: Callable[[], Served]) -> list[Window]:
        """Return the next micro-batch: all that is ready, up to the limits, as soon as anything is.

        No window waits for others. Under load batches grow all the same, because windows gather
        while the model works on the batch before.

        After a failure of the model this first serves fallback lists for a second.

        Parameters
        ----------
        served : what fallback lists are made of at the moment

        Raises
        ------
        StalledError
            When the model has failed for ``model_restart_s``.
        """
        if self._failing_since_s is not None:
            await self._sit_out(self._failing_since_s, served)
        while True:
            self.queue.arrived.clear()
            next_due_s = self.queue.release()
            if self.queue.n_ready():
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.queue.arrived.wait(), next_due_s)
        return self.queue.take(self.settings.micro_batch_tokens, self.max_windows)

    async def run(self, windows: list[Window], served: Served) -> list[tuple[Window, MadeList]]:
        """Return the final lists of a micro-batch; serve fallback lists while the model is late.

        Windows for which the model had no answer are in the queue again.

        Raises
        ------
        StalledError
            When the model has not answered for ``model_restart_s``.
        BrokerError
            When fallback lists were not delivered.
        """
        scored = await self._score(windows, served)
        if scored.poisoned:
            self.metrics.add("windows_poisoned", len(scored.poisoned))
            triggers = [(w.partition, w.state.trigger.offset, w.state.trigger.event_id) for w in scored.poisoned]
            extra = about_events(self.events_topic, triggers)
            log.error("model: nothing usable for %s: popular items instead", describe(scored.poisoned), extra=extra)
        if scored.failed:
            self._note_failure(scored.failed)
        elif self._failing_since_s is not None:
            log.warning("model: answers again after %.1f s", time.monotonic() - self._failing_since_s)
            self._failing_since_s = None
        return [*scored.made, *((w, self.fallback.final_list(w, served)) for w in scored.poisoned)]

    async def _score(self, windows: list[Window], served: Served) -> Scored[Window, MadeList]:
        """Return what the model makes of windows; serve fallback lists while it is late."""

        async def run(part: list[Window]) -> list[MadeList | None]:
            self.metrics.add("model_batches")
            self.metrics.add("model_windows", len(part))
            users = [(window.key, window.state) for window in part]
            facts = self.facts([(window.partition, window.key) for window in part])
            answer = await self.thread.run(make_lists, served, users, self.encoder, facts)
            self._note_stages(part, answer)
            return answer.made

        async def is_alive() -> bool:
            try:
                return await self.thread.run(answers, served)
            except Exception:  # what it raises was logged for the windows
                return False

        began_s = time.monotonic()
        job = asyncio.ensure_future(score(windows, run, is_alive))
        try:
            limit_s = self.settings.model_timeout_ms / 1000 * (1 if self.has_answered else WARM_UP)
            await asyncio.wait({job}, timeout=0 if self._is_late else limit_s)
            if not job.done() and not self._is_late:
                log.warning("model: no answer within %.1f s; lists go on without it", limit_s)
                self._is_late = True
            while not job.done():
                self._check_alive()
                if not await self.fallback.serve(windows, served):
                    await asyncio.wait({job}, timeout=POLL_S)
            self.note_time(time.monotonic() - began_s, limit_s, len(windows))
            return job.result()
        finally:
            job.cancel()

    def note_time(self, took_s: float, limit_s: float, n_windows: int) -> None:
        """Note the time of a batch; the next batch gets only as many windows as fit the limit."""
        if took_s > limit_s:
            self.metrics.add("model_late")
        elif self._is_late:
            log.warning("model: answers in time again")
        # As many as fit the time limit at this pace: no job of a slow model then runs too long.
        self.max_windows = max(1, min(MAX_WINDOWS, int(limit_s * n_windows / max(took_s, 1e-9))))
        self._is_late = took_s > limit_s
        self.has_answered = True

    def _note_stages(self, windows: Sequence[Window], answer: Answer) -> None:
        stages, began_s = self.metrics.stages, answer.began_s
        stages.add("queue", (1000 * (began_s - window.since_s) for window in windows))
        for stage, ended_s in answer.ended_s:
            stages.add_batch(stage, 1000 * (ended_s - began_s), len(windows))
            began_s = ended_s
        for window in windows:
            window.scored_s = began_s

    def _check_alive(self) -> None:
        if self.thread.busy_s > self.settings.model_restart_s:
            raise StalledError(
                f"model: a job has been running for {self.thread.busy_s:.0f} s, limit model_restart_s="
                f"{self.settings.model_restart_s}; restart the worker, and set HEADRACE_MODEL_RESTART_S if the model is that slow"
            )

    def _note_failure(self, windows: list[Window]) -> None:
        """Put the windows back into the queue; :meth:`next_windows` waits before their next try."""
        self.queue.give_back(windows)
        self.metrics.add("model_failures")
        self._failed_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s = self._failed_s
            log.error(
                "model: fails whatever it is given; lists go on without it, it is tried again every %g s", RETRY_S
            )

    async def _sit_out(self, failing_since_s: float, served: Callable[[], Served]) -> None:
        """Serve fallback lists until the model may be asked again."""
        failing_s = self._failed_s - failing_since_s
        if failing_s > self.settings.model_restart_s:
            raise StalledError(
                f"model: has failed for {failing_s:.0f} s, limit model_restart_s="
                f"{self.settings.model_restart_s}; restart the worker, and see the warnings before this line for why it fails"
            )
        while (left_s := self._failed_s + RETRY_S - time.monotonic()) > 0:
            if not await self.fallback.serve((), served()):
                await asyncio.sleep(min(POLL_S, left_s))
