"""What the server knows of users when it ranks: their newest windows, and what is popular in them.

::

    sequences ──► the newest window of each user, on disk
             └──► live popularity, as the recommender counts it, over all users
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from models.artifact.artifact import Artifact
from models.features.columns import Row
from streams.contract.log_coordinates import about
from streams.contract.marks import is_former
from streams.contract.records import User, is_user_key
from streams.contract.windows import ListWindow, decode_list_window
from streams.errors import RecordError
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.users.model_inputs import features_of
from streams.server.lists.list_traces import WindowTraces
from streams.server.lists.records import KeptRecords

log = logging.getLogger(__name__)

PIECE: Final = 100
#: The server counts all users at once.
_ALL: Final = 0


class KnownUsers:
    """Keeps users' windows, and counts them for the models in force. For one event loop.

    Parameters
    ----------
    records : holds the windows, and the records of users
    count : adds to the counter ``windows_malformed``
    is_on : whether live popularity is counted
    is_former : whether a user's window of a revision belongs to a life that is over
    traces : learns which windows are traced; None where nothing is traced
    """

    def __init__(
        self,
        records: KeptRecords,
        count: Callable[[str, int], None],
        *,
        is_on: bool,
        is_former: Callable[[bytes, int], bool] = lambda key, revision: False,
        traces: WindowTraces | None = None,
    ) -> None:
        self.traces = traces
        self._records = records
        self._count = count
        self._is_former = is_former
        self._is_on = is_on
        self._popular: list[LivePopularity] = []
        self._users = msgspec.msgpack.Decoder(User)

    async def take(self, records: Sequence[Any]) -> None:
        """Take records of ``sequences``."""
        for place, record in enumerate(records):
            if place % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            key: bytes | None = record.key
            if not key or not is_user_key(key):
                continue  # a fence, which belongs to no user
            try:
                window = None if record.value is None else decode_list_window(record.value)
            except RecordError as exc:
                self._count("windows_malformed", 1)
                place_of = (record.offset, record.partition)
                extra = about(record.topic, record.partition, record.offset)
                log.warning("sequences: offset %d of partition %d left out: %s", *place_of, exc, extra=extra)
                continue
            if window is not None and self._is_former(key, window.revision):
                window = None  # the sequencer has not read the request yet
            self._records.put("windows", key, None if window is None else record.value)
            if self.traces is not None:
                self.traces.read(key, () if window is None else record.headers)
            for popularity in self._popular:
                if window is None:
                    popularity.remove(_ALL, (key,))
                else:
                    popularity.put(_ALL, key, window)

    def window(self, key: bytes) -> ListWindow | None:
        """Return a user's newest window; None for a user without one."""
        value = self._records.get("windows", key)
        window = None if value is None else decode_list_window(value)
        return None if window is None or self._is_former(key, window.revision) else window

    def features(self, key: bytes) -> Row:
        """Return a user's features by name; none for a user without a record."""
        value = self._records.get("users", key)
        return {} if value is None else features_of(self._users.decode(value))

    def forget(self, key: bytes, mark: int) -> None:
        """Remove a user's window of a former life from the disk and from all counts."""
        if is_former(self._records.get("windows", key), mark):
            self._records.put("windows", key, None)
            if self.traces is not None:
                self.traces.forget(key)
            for popularity in self._popular:
                popularity.remove(_ALL, (key,))

    async def counted_for(self, artifact: Artifact) -> LivePopularity:
        """Return the popularity of all windows as a model counts it; it is kept current.

        :meth:`adopt` ends the counting for other models.
        """
        popularity = LivePopularity(artifact, is_on=self._is_on)
        popularity.begin_recount([_ALL])
        self._popular.append(popularity)
        try:
            start = b""
            while page := self._records.page("windows", start, PIECE):
                popularity.recount(_ALL, {key: self.window(key) for key, _ in page})
                start = page[-1][0] + b"\x00"
                await asyncio.sleep(0)
        except BaseException:  # a load that failed or was cancelled: nobody counts for it any more
            self._popular.remove(popularity)
            raise
        popularity.end_recount()
        return popularity

    def adopt(self, popularity: LivePopularity) -> None:
        """Count for this model and no other."""
        self._popular = [popularity]
