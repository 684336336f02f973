"""The page of rejected events."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.params import FromQuery

from streams.contract.records import REASONS
from streams.server.gate.callers import needs
from streams.server.page.frame.forms import Asked, Form, check_from_page
from streams.server.page.frame.shell import look_of_request, show
from streams.server.page.frame.texts import texts_of
from streams.server.page.parts import ThePage
from streams.server.page.topics.rejects import as_bytes, as_line, known_reason


@get("/page/rejects", guards=[needs("read")])
async def rejects_page(request: Asked, parts: ThePage, reason: FromQuery[str] = "") -> Response[bytes]:
    """Return the counts by reason and field, and the newest rejects."""
    chosen = known_reason(reason)
    look = await parts.rejects.look(chosen)
    return show(
        request, "rejects/rejects", rejects=look, reasons=REASONS, reason=chosen or "",
        as_bytes=as_bytes, as_line=as_line,
    )  # fmt: skip


@post("/page/rejects/redrive", guards=[needs("write")], status_code=200)
async def redrive(request: Asked, parts: ThePage, data: Form) -> Response[bytes]:
    """Send rejects again, or say what would be sent."""
    check_from_page(request)
    is_sent = data.get("act") == "send"
    tally = await parts.rejects.redrive(known_reason(data.get("reason", "")), is_sent=is_sent)
    t = texts_of(look_of_request(request).language)
    values = {"n": tally.sent, "left": tally.left, "before": tally.redriven_before, "forgotten": tally.forgotten}
    text = t("rejects.sent", **values) if is_sent else t("rejects.would_send", **values)
    return show(request, "said", is_good=not tally.left, text=text)
