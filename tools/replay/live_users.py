"""Finds the users of a log who are live already; a replay onto live events is too late for them.

A user's window reaches back from the newest event by the allowed lateness. After a live event,
older history is late: the sequencer leaves it out. Only a run on its own topics (``--into``) that
is promoted brings such history in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from streams.contract.pseudonyms import Pseudonyms
from streams.errors import InputError, TopicError
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tools.cli import say
from tools.files.cells.times import TimeRange
from tools.files.logs.log_rows import LogRow

WAY: Final = "replay them with --into RUN and then --promote RUN, see docs/data/replaying.md"


class _Runs(msgspec.Struct, gc=False):
    """The part of a window that names the runs of its events."""

    runs: dict[str, int] = {}


_runs_decoder = msgspec.msgpack.Decoder(_Runs)


def knows(value: bytes, run: str) -> bool:
    """Return whether a window has events of a run; a window that cannot be read has none."""
    try:
        return run in _runs_decoder.decode(value).runs
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


async def read_live_users(kafka: KafkaSettings, run: str) -> set[bytes]:
    """Return the keys of the users who have a window that has no event of this run."""
    live: set[bytes] = set()
    try:
        async for record in read_records(kafka, kafka.topic("sequences")):
            if record.key is None:
                continue
            if record.value is None or knows(record.value, run):
                live.discard(record.key)
            else:
                live.add(record.key)
    except TopicError:
        # The deployment is new, or this client may not see the topic: the broker's answer is the
        # same.
        if kafka.security_protocol == "PLAINTEXT":
            return live  # a broker without authentication hides no topic
        say(
            f"{kafka.topic('sequences')} does not exist or is hidden from {kafka.principal}; so no user counts as live",
            style="dim",
        )
    return live


def count_live(rows: Iterable[LogRow], live: set[bytes], times: TimeRange, pseudonyms: Pseudonyms | None) -> int:
    """Return how many of the live users have rows that the replay would publish."""
    if not live:
        return 0  # without reading the log
    found = {row.user_id for row in rows if row.ts_ms in times}
    if pseudonyms is not None:
        found = {pseudonyms.of(user_id) for user_id in found}
    return sum(user_id.encode("utf-8", "surrogatepass") in live for user_id in found)


def refuse_live(n_live: int, *, is_forced: bool) -> None:
    """Tell how many users are live; raise :class:`InputError` unless the replay is forced."""
    if n_live == 0:
        return
    who = "1 user of the log is" if n_live == 1 else f"{n_live} users of the log are"
    said = (
        f"{who} live already (with a window that has no event of this run): events that are older than the newest one "
        "by more than allowed_lateness_ms will be late and change nothing"
    )
    if not is_forced:
        raise InputError(f"{said}; {WAY}; or add --force")
    say(f"{said}; the replay goes on because of --force", style="yellow")
