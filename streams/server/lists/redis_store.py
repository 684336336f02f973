"""A store of lists in Redis or Valkey, which several servers share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, Final, NamedTuple

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streams.errors import StoreError
from streams.server.lists import redis_scripts
from streams.server.lists.store import FORM, Change, Span, State, StoreLostError, list_in, packed_mark, with_head
from streams.settings.server import ServerSettings

#: A question that is not answered within this time has failed.
TIMEOUT_S: Final = 2.0
#: The hash goes by itself when no server has followed for so long.
EXPIRES_MS: Final = 3 * 86_400_000
#: Lists that one question asks for.
MOST_ASKED: Final = 256
#: Besides lists and offsets: life, form, partitions, filled, followed.
N_NOTES: Final = 5
#: What to do about an error; the first that fits.
REMEDIES: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((exceptions.AuthenticationError, exceptions.AuthorizationError), "see the user in serve_store and its password"),
    ((exceptions.NoPermissionError,), "give the user the rights that docs/security.md lists"),
    ((exceptions.ReadOnlyError,), "name the primary in HEADRACE_SERVE_STORE"),
    ((exceptions.OutOfMemoryError,), "give it more memory"),
    ((exceptions.ConnectionError, exceptions.TimeoutError, OSError), "see whether it runs and this machine reaches it"),
)


class _Asked(NamedTuple):
    """A user's list that somebody waits for."""

    field: bytes
    life: str
    found: asyncio.Future[bytes | None]


class RedisStore:
    """Holds lists in one hash. For one event loop; it connects at the first question.

    Questions for lists that come while another one is on its way go together, as one command.

    Parameters
    ----------
    key : of the hash
    address : as errors name it, without a password
    """

    def __init__(self, client: Redis, key: str, address: str) -> None:
        self._client: Any = client
        self._key = key
        self._address = address
        self._state = self._client.register_script(redis_scripts.STATE)
        self._begin = self._client.register_script(redis_scripts.BEGIN)
        self._remove = self._client.register_script(redis_scripts.REMOVE)
        self._apply = self._client.register_script(redis_scripts.APPLY)
        self._life = ""
        self._offsets: dict[int, int] = {}  # of the store, as it last said: another server may be ahead
        self._asked: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def state(self) -> State:
        """Return what the store holds now."""
        async with self._asking_store():
            found = [text.decode() for text in await self._state(keys=[self._key])]
        if not found:
            return State()
        life, form, filled_ago_ms, followed_ago_ms, *offsets = found
        pairs = (pair.split(":") for pair in offsets)
        return State(
            life,
            form,
            {int(partition): int(offset) for partition, offset in pairs},
            int(followed_ago_ms) if followed_ago_ms else None,
            int(filled_ago_ms) if filled_ago_ms else None,
        )

    async def begin(self, instead_of: str, offsets: Mapping[int, int]) -> None:
        """Remove everything, and begin a new life, unless another server has."""
        places = [number for pair in offsets.items() for number in pair]
        async with self._asking_store():
            await self._begin(keys=[self._key], args=[instead_of, secrets.token_hex(8), FORM, EXPIRES_MS, *places])

    def follow(self, life: str) -> None:
        """Answer, and take changes, for this life from now on."""
        self._life = life
        self._offsets = {}

    async def get(self, key: bytes) -> bytes | None:
        """Return a user's newest list."""
        found = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(b"l" + key, self._life, found))
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        held = await found
        return None if held is None else list_in(held)

    async def apply(self, span: Span, changes: Sequence[Change]) -> None:
        """Take records of a partition, unless another server has handed them over."""
        if span.end > self._offsets.get(span.partition, -1):
            places: list[Any] = [span.partition.to_bytes(4, "big")]
            for change in changes:
                places += (change.offset, b"l" + change.key, with_head(span.partition, change))
            await self._run([span], places)

    async def keep(self, spans: Sequence[Span], *, is_complete: bool) -> None:
        """Pass spans without lists, and note that a server follows."""
        await self._run(spans, (), is_complete=is_complete)

    async def remove(self, key: bytes, mark: int) -> None:
        """Remove a user's list of the life before a mark."""
        async with self._asking_store():
            await self._remove(keys=[self._key], args=[b"l" + key, packed_mark(mark)])

    async def scrub(self, keys: Collection[bytes]) -> None:
        """Do nothing: what the hash loses is in no memory that the store gives to anybody."""

    async def count(self) -> int:
        """Return how many lists there are."""
        async with self._asking_store():
            fields, partitions = await self._client.hlen(self._key), await self._client.hget(self._key, "npartitions")
        return max(0, int(fields) - int(partitions or 0) - N_NOTES)

    async def close(self) -> None:
        """Close the connections; who still waits for a list gets an error."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._client.aclose()

    async def _run(self, spans: Sequence[Span], places: Sequence[Any], *, is_complete: bool = False) -> None:
        head: list[Any] = [self._life, EXPIRES_MS, int(is_complete), len(spans), *chain.from_iterable(spans)]
        async with self._asking_store():
            known = await self._apply(keys=[self._key], args=[*head, *places])
        if known is None:
            raise StoreLostError(f"the store of lists at {self._address} was emptied, or it has an older copy")
        for span, offset in zip(spans, known, strict=True):
            self._offsets[span.partition] = max(span.end, int(offset))

    async def _ask(self) -> None:
        """Ask for lists until nobody waits for one."""
        asked: list[_Asked] = []
        try:
            while self._asked:
                asked, self._asked = self._asked[:MOST_ASKED], self._asked[MOST_ASKED:]
                await self._ask_for(asked)
        finally:
            self._asking = None
            for one in (*asked, *self._asked):
                if not one.found.done():
                    one.found.set_exception(StoreError("the store of lists is closed"))
            self._asked = []

    async def _ask_for(self, asked: Sequence[_Asked]) -> None:
        try:
            async with self._asking_store():
                fields: list[Any] = [b"nlife", *(one.field for one in asked)]
                life, *lists = await self._client.hmget(self._key, fields)
        except StoreError as exc:
            for one in asked:
                if not one.found.done():
                    one.found.set_exception(exc)
            return
        for one, held in zip(asked, lists, strict=True):
            if one.found.done():
                continue
            if life is None or life.decode() != one.life:
                one.found.set_exception(StoreLostError(f"the store of lists at {self._address} was emptied"))
            else:
                one.found.set_result(held)

    @asynccontextmanager
    async def _asking_store(self) -> AsyncIterator[None]:
        """Make an error of the client, or no answer in time, an error with its remedy."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                yield
        except TimeoutError as exc:
            raise self._error(f"no answer within {TIMEOUT_S:g} s", exc) from exc
        except (exceptions.RedisError, OSError) as exc:
            raise self._error(f"{type(exc).__name__}: {exc}", exc) from exc

    def _error(self, what: str, exc: Exception) -> StoreError:
        remedy = next((text for kinds, text in REMEDIES if isinstance(exc, kinds)), "see its log")
        return StoreError(f"the store of lists at {self._address}: {what}; {remedy}")


def open_redis_store(settings: ServerSettings, name: str) -> RedisStore:
    """Return the store that ``serve_store`` names.

    Parameters
    ----------
    name : of the deployment; it is a part of the hash's key

    Raises
    ------
    SettingsError
        When the file of the password cannot be used.
    """
    address = settings.store_address()
    options: dict[str, Any] = {"unix_socket_path": address.path}
    if not address.path:
        options = {"host": address.host, "port": address.port}
        if address.is_tls:
            options |= {"ssl": True, "ssl_ca_certs": settings.serve_store_cafile or None, "ssl_check_hostname": True}
    client = Redis(
        db=address.database,
        username=address.user or None,
        password=settings.store_password() or None,
        client_name="headrace",
        protocol=2,
        # The store's own limit holds: the client's waits with asyncio.wait_for, which may lose a
        # cancellation before Python 3.12, and then a server would not stop.
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_S,
        # A connection that the store has closed is opened again at once: scripts may be repeated.
        retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        **options,
    )
    return RedisStore(client, f"headrace:{name}", str(address))
