"""The router of the Gorse door."""

from __future__ import annotations

from typing import Any, Final

from litestar import Router
from litestar.di import Provide

from streams.server.gorse import absent, entry_routes, routes
from streams.server.gorse.feedback_types import FeedbackTypes
from streams.server.gorse.recommended import Latest
from streams.server.gorse.routes import Gorse
from streams.server.parts.server import TheServer
from streams.settings.load import Settings

PATH: Final = "/api"


def gorse_door(settings: Settings) -> list[Any]:
    """Return the routers of the door; none while ``serve_gorse`` is off.

    Raises
    ------
    SettingsError
        When ``serve_gorse_types`` is none.
    """
    types = FeedbackTypes(settings.sequencer.types(), settings.server.serve_gorse_types)
    if settings.server.serve_gorse == "off":
        return []
    made: list[Gorse] = []

    def gorse(server: TheServer) -> Gorse:
        if not made:
            made.append(Gorse(types, Latest(server.shown)))
        return made[0]

    handlers = [*routes.HANDLERS, *entry_routes.HANDLERS, *absent.HANDLERS]
    return [Router(PATH, route_handlers=handlers, dependencies={"gorse": Provide(gorse, sync_to_thread=False)})]
