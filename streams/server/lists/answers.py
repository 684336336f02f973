"""From a stored list to an answer: what may be shown, of which category, how many."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Recommendation, RecommendedItem, SourceRank
from streams.errors import StoreError
from streams.server.gate.problems import Problem, bad_value, no_store, not_ready
from streams.server.lists.list_traces import ListTraces
from streams.server.lists.shown_items import ShownItems
from streams.server.lists.store import ListStore, StoreLostError
from streams.settings.record_limits import MAX_ID_LENGTH

#: Most items that a question may ask for, and most that it may exclude.
MAX_N: Final = 600
MAX_EXCLUDED: Final = 1_000


class ListedItem(msgspec.Struct, omit_defaults=True):
    """One item of an answer.

    ``because`` is the item of the user's window that explains it. ``sources`` has its rank and
    score in each source of candidates, where the question asks to ``explain``.
    """

    item_id: str
    score: float
    title: str = ""
    because: str | None = None
    sources: dict[str, SourceRank] | None = None


class UserList(msgspec.Struct, omit_defaults=True):
    """The newest list of a user, without what may not be shown now.

    ``revision``, ``event_ts`` and ``produced_ts`` say which of the user's events the list knows,
    and when it was made. ``degraded`` says what it was made without. ``rules`` is the version of
    the rules that it was made under; those in force now hold too. ``on_demand`` says that the list
    was made for the question, by the same model; such a list has no ``list_id``.
    """

    user_id: str
    list_id: str
    revision: int
    event_ts: int
    produced_ts: int
    artifact: str
    degraded: str
    items: list[ListedItem]
    provisional: bool = False
    rules: str = ""
    on_demand: bool = False


#: Makes a list of so many items for a user, by record key; None for a user without a window.
Make = Callable[[bytes, "Question", int], Awaitable[UserList | None]]


@dataclass(frozen=True)
class Question:
    """What is asked of a user's list.

    Parameters
    ----------
    n : most items; None for all of the list
    category : only items of this category
    exclude : ids of items that the answer must not have
    max_age_s : the list must have been made within this time; None for any
    explain : whether each item has its ranks in the sources
    """

    user_id: str
    n: int | None = None
    category: str | None = None
    exclude: frozenset[str] = frozenset()
    max_age_s: float | None = None
    explain: bool = False

    def check(self) -> None:
        """Raise :class:`Problem` for a value out of its range."""
        check_id("user_id", self.user_id)
        if self.n is not None and not 1 <= self.n <= MAX_N:
            raise bad_value("n", f"{self.n}, must be from 1 to {MAX_N}", "ask for fewer items")
        if len(self.exclude) > MAX_EXCLUDED:
            raise bad_value(
                "exclude", f"{len(self.exclude)} ids, at most {MAX_EXCLUDED}", "leave out what the list cannot hold"
            )
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise bad_value("max_age", f"{self.max_age_s}, must be above 0", "give seconds, such as 3600")


def check_id(field: str, value: str) -> None:
    """Raise :class:`Problem` for a text that is no id of the contract."""
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise bad_value(field, f"{len(value)} characters, must be from 1 to {MAX_ID_LENGTH}", "use the shop's own id")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad_value(field, "not UTF-8 text", "use the shop's own id") from None


class ListAnswers:
    """Answers questions for users' pushed lists. For one event loop.

    Parameters
    ----------
    pseudonyms : as producers use them; callers always give the shop's own ids
    clock : seconds since 1970
    note_age : called with the age of each list that is answered, in seconds
    traces : notes the answers with traced lists; None where nothing is traced
    is_former : whether a user's list of a revision belongs to a life that is over
    make : makes a list where the pushed one does not answer the question; None where no model does
    list_size : items of a list where neither the question nor a pushed list says how many
    """

    def __init__(
        self,
        store: ListStore,
        shown: ShownItems,
        pseudonyms: Pseudonyms | None = None,
        clock: Callable[[], float] = time.time,
        note_age: Callable[[float], None] = lambda age_s: None,
        traces: ListTraces | None = None,
        is_former: Callable[[bytes, int], bool] = lambda key, revision: False,
        make: Make | None = None,
        list_size: int = 10,
    ) -> None:
        self._store = store
        self._shown = shown
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._note_age = note_age
        self._traces = traces
        self._is_former = is_former
        self._make = make
        self._list_size = list_size
        self._decoder = msgspec.msgpack.Decoder(Recommendation)

    def key_of(self, user_id: str) -> bytes:
        """Return the record key of a user."""
        return (user_id if self._pseudonyms is None else self._pseudonyms.of(user_id)).encode()

    async def stored(self, user_id: str) -> Recommendation | None:
        """Return a user's newest list as it was published; None for a user without one.

        Raises
        ------
        Problem
            503 while the store does not answer, or is filled anew.
        """
        key = self.key_of(user_id)
        try:
            value = await self._store.get(key)
        except StoreLostError:
            raise not_ready("recommendations") from None
        except StoreError:
            raise no_store() from None
        found = None if value is None else self._decoder.decode(value)
        return None if found is None or self._is_former(key, found.revision) else found

    async def answer(self, question: Question) -> UserList:
        """Return a user's list.

        The pushed list is the answer where it is young enough and has as many items as are asked
        for. Else a server that ranks makes a list, of a user whose window it has.

        Raises
        ------
        Problem
            404 for a user without a list, or with one that is too old; 503 as :meth:`stored`.
        """
        begun_ns = 0 if self._traces is None else time.time_ns()
        question.check()
        found = await self.stored(question.user_id)
        if self._make is not None:
            n = question.n or (self._list_size if found is None else len(found.items))
            answer = None if found is None or self._is_old(found, question) else self._shaped(found, question)
            if answer is None or len(answer.items) < n:
                made = await self._make(self.key_of(question.user_id), question, n)
                if made is not None:
                    self._note_age(0.0)
                    return made
        if found is None:
            raise Problem(
                404,
                "no-list",
                f"user {question.user_id!r} has no list",
                field="user_id",
                remedy="send an event of the user, or show what is popular",
            )
        age_s = self._clock() - found.produced_ts / 1000
        if self._is_old(found, question):
            raise Problem(
                404,
                "list-too-old",
                f"the list of user {question.user_id!r} is {age_s:.0f} s old, asked for at most {question.max_age_s:g} s",
                field="max_age",
                remedy="allow an older list, or send an event of the user",
            )
        self._note_age(age_s)
        answer = self._shaped(found, question)
        if self._traces is not None:
            self._traces.answered(found.list_id, begun_ns)
        return answer

    def _is_old(self, found: Recommendation, question: Question) -> bool:
        age_s = self._clock() - found.produced_ts / 1000
        return question.max_age_s is not None and age_s > question.max_age_s

    def _shaped(self, found: Recommendation, question: Question) -> UserList:
        hidden = self._shown.hidden(item.item_id for item in found.items)
        items = [
            self._item(item, explain=question.explain)
            for item in found.items
            if item.item_id not in hidden
            and item.item_id not in question.exclude
            and (question.category is None or self._shown.is_in(item.item_id, question.category))
        ]
        return UserList(
            question.user_id,
            found.list_id,
            found.revision,
            found.event_ts,
            found.produced_ts,
            found.artifact,
            found.degraded,
            items if question.n is None else items[: question.n],
            found.provisional,
            "" if found.rules is msgspec.UNSET else found.rules,
        )

    def _item(self, item: RecommendedItem, *, explain: bool) -> ListedItem:
        sources = item.sources if explain else None
        return ListedItem(item.item_id, item.score, self._shown.title(item.item_id), item.because, sources)


def etag_of(body: bytes) -> str:
    """Return the entity tag of an answer: equal bytes have equal tags."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(if_none_match: str, etag: str) -> bool:
    """Whether a caller has this answer already, as its header ``If-None-Match`` says."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
