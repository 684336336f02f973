"""A server with the Gorse door, without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from streams.server.gorse.door import gorse_door
from streams.settings.apps import SequencerSettings
from streams.settings.load import Settings
from streams.settings.server import ServerSettings
from tests.unit.streams.server.served import ServedApp


class GorseApp(ServedApp):
    """A :class:`ServedApp` with the door; paths begin below ``/api``."""

    def __init__(self, folder: Path, *, types: str = "", event_types: str = "", **more: Any) -> None:
        groups: dict[str, Any] = {"server": ServerSettings(serve_gorse="on", serve_gorse_types=types)}
        if event_types:
            groups["sequencer"] = SequencerSettings(event_types=event_types)
        super().__init__(folder, routers=gorse_door(Settings(**groups)), **groups | more)

    async def api(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Return the answer to a request."""
        return await self.ask(f"/api{path}", method, **options)

    async def found(self, path: str, method: str = "GET", **options: Any) -> Any:
        """Return the body of an answer that is a success."""
        answer = await self.api(path, method, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str, str]:
        """Return status, field and detail of an answer that is none; it has a remedy."""
        answer = await self.api(path, method, **options)
        body = answer.json()
        assert body["remedy"], body
        return answer.status_code, body.get("field", ""), body["detail"]
