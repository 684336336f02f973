"""The page of models: what is announced, what each worker serves, and a form that changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from litestar import Response, get, post

from streams.announcements.follow import Announced
from streams.contract.announcements import ModelAnnouncement, Receipt
from streams.errors import HeadraceError, InputError
from streams.server.gate.callers import needs
from streams.server.page.frame.forms import Asked, Form, check_from_page, may
from streams.server.page.frame.shell import look_of_request, show
from streams.server.page.frame.texts import texts_of
from streams.server.page.parts import ThePage
from streams.server.page.topics.deployment import DeploymentLook, Live
from streams.server.parts.server import Server, TheServer

MAX_REFRESH_DAYS: Final = 3_650


class Served(NamedTuple):
    """A row of the table of who serves what.

    Parameters
    ----------
    answer : to the newest announcement; None where there is none yet
    """

    live: Live
    artifact: str
    golden: str
    answer: Receipt | None


@get("/page/models", guards=[needs("read")])
async def models_page(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return what is announced and served, and the forms for those who may change it."""
    is_admin = may(request, "admin")
    places = await parts.announcer.proposed() if is_admin else []
    recommender = server.settings.recommender
    within = [*map(str, recommender.roots()), *recommender.stores()]
    values = await _live(server, await parts.deployment.look())
    return show(request, "models/models", is_admin=is_admin, places=places, within=within, **values)


@get("/page/models/live", guards=[needs("read")])
async def models_live(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return what is announced and served, for a page that is open."""
    return show(request, "models/live", **await _live(server, await parts.deployment.look()))


async def _live(server: Server, look: DeploymentLook) -> dict[str, Any]:
    name = server.settings.recommender.model_name
    held = look.models.get(name)
    others = sorted((key, one.record) for key, one in look.models.items() if key != name and one.record is not None)
    served = None if look.live is None else [_served(one, held, name) for one in look.live]
    return {
        "name": name,
        "held": held,
        "others": others,
        "served": served,
        "settings_artifact": server.settings.recommender.artifact,
    }


def _served(one: Live, held: Announced[ModelAnnouncement] | None, name: str) -> Served:
    newest, in_force = one.receipts.get("model"), one.in_force
    wanted = f"{name}@none" if held is None else held.id
    return Served(
        one,
        "" if in_force is None else in_force.artifact or "",
        "" if in_force is None else in_force.golden or "",
        newest if newest is not None and newest.id == wanted else None,
    )


@post("/page/models/check", guards=[needs("admin")], status_code=200)
async def check(request: Asked, server: TheServer, parts: ThePage, data: Form) -> Response[bytes]:
    """Load an artifact, and ask whether to announce it."""
    check_from_page(request)
    try:
        place, refresh = data.get("place", "").strip(), refresh_of(data)
        if not place:
            raise InputError("place: empty; name the folder or the URI of an artifact")
        found = await parts.announcer.check(place)
    except HeadraceError as exc:
        return show(request, "said", is_good=False, text=str(exc))
    held = (await parts.deployment.look()).models.get(server.settings.recommender.model_name)
    record = None if held is None else held.record
    return show(
        request, "models/confirm", found=found, held=held, before=record, refresh=refresh,
        metrics=_beside({} if record is None else record.metrics, found.metrics),
    )  # fmt: skip


def _beside(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, float | None, float | None]]:
    """Return the metrics of two artifacts by name."""
    return [(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())]


@post("/page/models/publish", guards=[needs("admin")], status_code=200)
async def publish(request: Asked, parts: ThePage, data: Form) -> Response[bytes]:
    """Announce an artifact that was checked."""
    check_from_page(request)
    try:
        refresh = refresh_of(data)
        announcement = await parts.announcer.publish(
            data.get("place", ""), data.get("newest", ""), data.get("sha256", ""), refresh
        )
    except HeadraceError as exc:
        return show(request, "said", is_good=False, text=str(exc))
    return _said(request, announcement)


@get("/page/models/rollback", guards=[needs("admin")])
async def ask_rollback(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Ask whether to go back to the artifact before."""
    held = (await parts.deployment.look()).models.get(server.settings.recommender.model_name)
    if held is None or held.record is None:
        t = texts_of(look_of_request(request).language)
        return show(request, "said", is_good=False, text=t("models.nothing_to_roll_back"))
    return show(
        request, "models/rollback", held=held, record=held.record,
        settings_artifact=server.settings.recommender.artifact,
    )  # fmt: skip


@post("/page/models/rollback", guards=[needs("admin")], status_code=200)
async def rollback(request: Asked, parts: ThePage, data: Form) -> Response[bytes]:
    """Announce the artifact before the present one."""
    check_from_page(request)
    try:
        announcement = await parts.announcer.rollback(data.get("newest", ""), refresh_of(data))
    except HeadraceError as exc:
        return show(request, "said", is_good=False, text=str(exc))
    return _said(request, announcement)


def _said(request: Asked, announcement: str) -> Response[bytes]:
    t = texts_of(look_of_request(request).language)
    return show(request, "said", is_good=True, text=t("models.announced", id=announcement))


def refresh_of(data: Mapping[str, str]) -> float | None:
    """Return the days of a form's field ``refresh``; None where it is empty.

    Raises
    ------
    InputError
        When it is no number of days.
    """
    text = data.get("refresh", "").strip()
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= MAX_REFRESH_DAYS:
        raise InputError(f"refresh {text[:40]!r}: must be a number of days from 0 to {MAX_REFRESH_DAYS}, or empty")
    return days
