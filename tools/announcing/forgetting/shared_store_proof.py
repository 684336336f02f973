"""What the Redis or Valkey that servers share holds of users: their lists."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from streams.contract.marks import revision_in
from streams.server.lists.open_store import open_store
from streams.settings.load import Settings
from tools.announcing.forgetting.topics_proof import Traces

SERVERS_NEXT: Final = "a server that uses the store has read the request"


async def read_shared_store(settings: Settings, traces: Traces) -> bool:
    """Note what a shared store holds of the users; return False where the settings name none.

    Raises
    ------
    StoreError
        When the store does not answer, or was emptied meanwhile.
    SettingsError, BrokerError
        As :func:`~streams.server.lists.open_store.open_store`.
    """
    if not settings.server.serve_store:
        return False
    store = await open_store(settings, Path())
    try:
        state = await store.state()
        if state.life:
            store.follow(state.life)
            lists = await asyncio.gather(*(store.get(person.key) for person in traces.people))
            place = f"the store of lists at {settings.server.store_address()}"
            for person, held in zip(traces.people, lists, strict=True):
                if held is not None:
                    traces.add_copy(person, place, "the user's list", revision_in(held), until=SERVERS_NEXT)
    finally:
        await store.close()
    return True
