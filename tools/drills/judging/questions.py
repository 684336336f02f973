"""Questions to servers, and their answers as they came."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol

import msgspec

Kind = Literal["pushed", "demanded", "session"]
#: Items of a list on demand: more than a pushed list has.
N_DEMANDED: Final = 30


class Session(NamedTuple):
    """A visitor: the events, and the body of the question about them."""

    events: list[tuple[str, str, int]]
    body: bytes

    @classmethod
    def of(cls, events: list[tuple[str, str, int]], n: int) -> Session:
        """Return a visitor who asks for ``n`` items."""
        told = [{"item_id": item_id, "type": kind, "ts": ts_ms} for item_id, kind, ts_ms in events]
        return cls(events, msgspec.json.encode({"events": told, "n": n}))


class Asked(NamedTuple):
    """A question and its answer.

    Parameters
    ----------
    server : its number
    life : which of the server's processes had to answer; counted when the question began
    subject : the user; of a session, its number
    begun_s, ended_s : on the monotonic clock
    status : 0 where no server answered
    """

    server: int
    life: int
    kind: Kind
    subject: str
    begun_s: float
    ended_s: float
    status: int
    body: bytes


class Lives(Protocol):
    """The processes of a server, one after the other.

    Attributes
    ----------
    starts_s : when each was started, in seconds of the monotonic clock
    ready_s : when the process of the same place was ready; infinite where it was killed before
    """

    starts_s: list[float]
    ready_s: list[float]
