"""Puts announced artifacts in force, one at a time, and answers each announcement.

::

    models ──► load beside the old one ──► in force   ──► receipt "done"
                         └──────────────► as before   ──► receipt "failed", and why

A newer announcement ends the loading of an older one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from streams.announcements.follow import Announced
from streams.announcements.receipts import Receipts
from streams.contract.announcements import GoldenState, ModelAnnouncement, Stage
from streams.errors import HeadraceError
from streams.health.counters import Metrics

log = logging.getLogger(__name__)

Announcement = Announced[ModelAnnouncement]
#: Seconds between two receipts that say how far the loading is.
TELL_S: Final = 2.0


class AnnouncedModel:
    """Follows the announcements under one name. For one event loop.

    Parameters
    ----------
    name : the record key that this worker follows
    load : puts an announced artifact in force and returns its version; anything that it raises
        means that the artifact before is still in force. A removed announcement asks for the
        artifact of the settings
    progress : says how far the loading is, for people
    golden : says whether the model in force gives its golden lists here

    Attributes
    ----------
    problem : why the announced artifact is not in force; empty where it is
    """

    def __init__(
        self,
        name: str,
        receipts: Receipts,
        metrics: Metrics,
        load: Callable[[Announcement], Awaitable[str]],
        progress: Callable[[], str],
        golden: Callable[[], GoldenState],
    ) -> None:
        self._name = name
        self._receipts = receipts
        self._metrics = metrics
        self._load = load
        self._progress = progress
        self._golden = golden
        self._in_force = ""
        self.problem = ""

    def note_start(self, held: Announcement | None, version: str, why_not: str) -> None:
        """Answer what was announced before the worker started.

        Parameters
        ----------
        held : None where nothing was ever announced
        version : of the artifact that is in force
        why_not : why that is not the announced one; empty where it is
        """
        self._note(version)
        if held is None:
            self._give(f"{self._name}@none", "done", version)
        else:
            self._answer(held, version, why_not)

    async def follow(self, changes: AsyncIterator[dict[str, Announcement]]) -> None:
        """Put what is announced in force until cancelled."""
        loading: asyncio.Future[None] | None = None
        try:
            async for changed in changes:
                if self._name not in changed:
                    continue
                await _ended(loading)
                loading = asyncio.ensure_future(self.put_in_force(changed[self._name]))
        finally:
            await _ended(loading)

    async def put_in_force(self, announced: Announcement) -> None:
        """Load an announced artifact, and give the receipt."""
        telling = asyncio.ensure_future(self._tell(announced))
        version = why_not = ""
        try:
            version = await self._load(announced)
        except HeadraceError as exc:
            why_not = str(exc)
        except (Exception, SystemExit) as exc:  # a stranger's artifact must not end a worker that serves
            log.exception("announced artifact: loading failed")
            why_not = f"{type(exc).__name__}: {exc}"
        finally:
            telling.cancel()
        self._answer(announced, version, why_not)

    def _answer(self, announced: Announcement, version: str, why_not: str) -> None:
        what = "the settings' artifact" if announced.record is None else f"artifact {announced.record.artifact}"
        why_not = " ".join(why_not.split())
        self.problem = f"the announced {what} is not in force: {why_not}" if why_not else ""
        if why_not:
            self._metrics.add("model_swaps_failed")
            log.error("%s; the artifact before serves on", self.problem)
            self._give(announced.id, "failed", why_not)
            return
        self._note(version)
        log.info("artifact %s is in force, as announced by %s", version, announced.id)
        self._give(announced.id, "done", version)

    def _note(self, version: str) -> None:
        self._in_force = version
        self._metrics.note_artifact(version)

    def _give(self, announcement: str, stage: Stage, detail: str) -> None:
        in_force: dict[str, Any] = {"artifact": self._in_force, "golden": self._golden()}
        self._receipts.give("model", announcement, stage=stage, detail=detail, **in_force)

    async def _tell(self, announced: Announcement) -> None:
        last = ""
        while True:
            if (now := self._progress()) != last:
                last = now
                self._receipts.give("model", announced.id, stage="begun", detail=now)
            await asyncio.sleep(TELL_S)


async def _ended(loading: asyncio.Future[None] | None) -> None:
    """Cancel a loading that is superseded; wait until it has cleaned up."""
    if loading is not None:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
