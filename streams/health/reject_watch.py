"""Watches how many events are rejected: an alarm, and a ceiling that stops the sequencer.

The ceiling is ``reject_ceiling_share``. The counts are committed as metadata of each partition's
offset. So ``headrace status`` sees the alarm, and a restarted worker or the partition's next owner
goes on counting: a restart does not reset the ceiling.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from streams.contract.committed_note import REJECTS_UNHEALTHY_S, Judged, encode
from streams.contract.rejects import Reject
from streams.errors import RejectCeilingError
from streams.health.counters import Counts
from streams.printable import printable

#: The ceiling applies from this many records on: a few bad ones prove nothing.
CEILING_MIN_RECORDS: Final = 1_000
#: An alarm needs, within a minute, this many rejects and this share of the records read.
ALARM_MIN_REJECTS: Final = 20
ALARM_SHARE: Final = 0.1
ALARM_EVERY_S: Final = 60.0
#: Headers in which producers may name themselves: Kafka does not tell consumers their client ids.
PRODUCER_HEADERS: Final = ("client_id", "client.id")
COMMONEST: Final = 3
PRODUCER_LENGTH: Final = 64


class RejectCeiling:
    """Judges the share of rejects among the last records of one partition.

    Parameters
    ----------
    share : above this share the sequencer stops; 0 for never
    window : number of last records that count
    judged : the counts that were committed when this worker got the partition
    """

    def __init__(self, share: float, window: int, judged: Judged | None = None) -> None:
        judged = judged or Judged()
        self._share = share
        self._window = window
        self._batches = deque([Counts(read=judged.read, rejected=judged.rejected)] if judged.read else [])
        self._read, self._rejected = judged.read, judged.rejected
        self.alarm_ms = judged.alarm_ms

    def check(self, counts: Counts, rejects: Sequence[Reject]) -> None:
        """Count a batch before anything of it is written.

        Raises
        ------
        RejectCeilingError
            When the share of rejects is above the ceiling.
        """
        self._batches.append(counts)
        self._read += counts.read
        self._rejected += counts.rejected
        while len(self._batches) > 1 and self._read - self._batches[0].read >= self._window:
            old = self._batches.popleft()
            self._read -= old.read
            self._rejected -= old.rejected
        if not self._share or self._read < CEILING_MIN_RECORDS or self._rejected <= self._share * self._read:
            return
        example = rejects[-1].error if rejects else "no example in this batch"
        raise RejectCeilingError(
            f"{self._rejected} of the last {self._read} records were rejected, ceiling {self._share:.0%}: not consuming on; "
            f"last: {example}; fix the producers and set HEADRACE_REJECT_CEILING_SHARE higher, or to 0 to divert them all"
        )

    def note(self) -> str:
        """Return the note to commit beside the last batch's offset."""
        return encode(Judged(self._read, self._rejected, self.alarm_ms))


class RejectAlarm:
    """Raises an alarm, at most once a minute, over all partitions of a worker together."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._reasons: Counter[str] = Counter()
        self._producers: Counter[str] = Counter()
        self._since_s: float | None = None
        self._told_s: float | None = None
        self.line = ""  # the last alarm

    def is_on(self, now_s: float) -> bool:
        """Whether the last alarm is so recent that the worker counts as unhealthy."""
        return self._told_s is not None and now_s - self._told_s < REJECTS_UNHEALTHY_S

    def take(self, counts: Counts, rejects: Sequence[Reject], now_s: float) -> str | None:
        """Count a batch at ``now_s`` (monotonic clock); return at most one log line a minute."""
        if self._since_s is None or (now_s - self._since_s > ALARM_EVERY_S and not self._is_too_much()):
            self._begin(now_s)
        self._counts.add(counts)
        for reject in rejects:
            error = reject.error
            self._reasons[f"{error.reason} ({error.field})" if error.field else error.reason] += 1
            self._producers[_producer(reject)] += 1
        if not self._is_too_much() or (self._told_s is not None and now_s - self._told_s < ALARM_EVERY_S):
            return None
        self.line = self._text()
        self._told_s = now_s
        self._begin(now_s)
        return self.line

    def _is_too_much(self) -> bool:
        return self._counts.rejected >= max(ALARM_MIN_REJECTS, ALARM_SHARE * self._counts.read)

    def _begin(self, now_s: float) -> None:
        self._since_s = now_s
        self._counts = Counts()
        self._reasons.clear()
        self._producers.clear()

    def _text(self) -> str:
        n, read = self._counts.rejected, self._counts.read
        known = [(name, count) for name, count in self._producers.most_common(COMMONEST + 1) if name][:COMMONEST]
        who = (
            _listed(known) if known else f"unknown: no header {PRODUCER_HEADERS[0]}, and Kafka does not tell a consumer"
        )
        return (
            f"{n} of the last {read} records ({n / read:.0%}) were rejected; reasons: {_listed(self._reasons.most_common(COMMONEST))}; "
            f"producers: {who}; they are kept on events.rejected: fix the producers, then headrace rejected redrive"
        )


def _producer(reject: Reject) -> str:
    for name, value in reject.record.headers or ():
        if name in PRODUCER_HEADERS and value:
            return printable(value[:PRODUCER_LENGTH].decode("utf-8", "replace"))
    return ""


def _listed(counted: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counted)
