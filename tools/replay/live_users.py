"""Who of a log is live already: a replay onto the live events comes too late for them.

A user's window reaches back from the newest event by the allowed lateness. History that is published after a live event is late, all of it,
and changes nothing; only a run of its own (``--into``), promoted, brings it in.
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
from tools.files.log_reader import LogRow
from tools.files.times import TimeRange

WAY: Final = "replay them with --into RUN and then --promote RUN, see docs/replaying.md"


class _Runs(msgspec.Struct, gc=False):
    """Of a window only the runs that it has events of."""

    runs: dict[str, int] = {}


_runs_decoder = msgspec.msgpack.Decoder(_Runs)


def knows(value: bytes, run: str) -> bool:
    """Return whether a window has events of a run; one that cannot be read has none."""
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
    except TopicError:  # a new deployment, or a client that may not see the topic: the broker shows both as one
        if kafka.security_protocol == "PLAINTEXT":
            return live  # nothing is hidden there
        say(
            f"{kafka.topic('sequences')} does not exist or is hidden from {kafka.principal}: nobody is taken for live",
            style="dim",
        )
    return live


def count_live(rows: Iterable[LogRow], live: set[bytes], times: TimeRange, pseudonyms: Pseudonyms | None) -> int:
    """Return how many of the live users have rows to be published."""
    if not live:
        return 0  # the log need not be read
    found = {row.user_id for row in rows if row.ts_ms in times}
    if pseudonyms is not None:
        found = {pseudonyms.of(user_id) for user_id in found}
    return sum(user_id.encode("utf-8", "surrogatepass") in live for user_id in found)


def refuse_live(n_live: int, *, is_forced: bool) -> None:
    """Say how many users are live; raise :class:`InputError` unless the replay is forced."""
    if n_live == 0:
        return
    said = (
        f"{n_live} users of the log are live already (they have windows without this run): what is older than their "
        "newest event by more than allowed_lateness_ms will be late and change nothing"
    )
    if not is_forced:
        raise InputError(f"{said}; {WAY}; or add --force")
    say(f"{said}; --force: going on", style="yellow")
