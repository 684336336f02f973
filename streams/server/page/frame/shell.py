"""Renders a template as an answer: the frame of every page, its texts, and its security headers."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from litestar import Request, Response
from litestar.datastructures import Cookie

from streams.server.page.frame.look import COOKIE_PREFIX, LANGUAGE_NAME, LANGUAGES, THEME_NAME, THEMES, Look, look_of
from streams.server.page.frame.static_files import address_of
from streams.server.page.frame.texts import text_or, texts_of

Asked = Request[Any, Any, Any]
TEMPLATES: Final = Path(__file__).parent.parent / "templates"
HTML: Final = "text/html"
YEAR_S: Final = 365 * 86_400
#: Nothing from elsewhere, nothing inline: a text of the catalogue can bring no script.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}
#: The pages of the navigation: address, and key of the name.
PAGES: Final = (
    ("/", "nav.overview"),
    ("/page/users", "nav.users"),
    ("/page/items", "nav.items"),
    ("/page/models", "nav.models"),
    ("/page/rules", "nav.rules"),
    ("/page/rejects", "nav.rejects"),
    ("/page/runs", "nav.runs"),
)


@cache
def environment() -> jinja2.Environment:
    """Return the templates' environment; it escapes every value."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "path": lambda text: quote(str(text), safe=""),
        "clock": clock,
        "day": day,
        "rate": rate,
        "duration": duration,
    }
    made.globals |= {"static": address_of, "pages": PAGES, "languages": LANGUAGES, "themes": THEMES}
    return made


def clock(ts_ms: int) -> str:
    """Return a time as people read it, in UTC."""
    return _utc(ts_ms).strftime("%H:%M:%S") if _is_date(ts_ms) else "-"


def day(ts_ms: int) -> str:
    """Return a day as people read it, in UTC."""
    return _utc(ts_ms).strftime("%Y-%m-%d") if _is_date(ts_ms) else "-"


def rate(per_s: float) -> str:
    """Return records per second as people read them."""
    return f"{per_s:,.0f}/s" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}/s"


def duration(ms: float) -> str:
    """Return a duration as people read it."""
    return f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:,.0f} s"


def _is_date(ts_ms: int) -> bool:
    return 0 <= ts_ms <= 253_402_300_799_999


def _utc(ts_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ts_ms / 1000, datetime.UTC)


def look_of_request(request: Asked) -> Look:
    """Return the language and the theme of a visitor."""
    return look_of(request.query_params, request.cookies, request.headers.get("accept-language", ""))


def show(request: Asked, template: str, *, status: int = 200, **values: Any) -> Response[bytes]:
    """Return a template as an answer.

    Parameters
    ----------
    template : its name without ``.html.j2``
    values : what the template shows beside the frame
    """
    look = look_of_request(request)
    body = (
        environment()
        .get_template(f"{template}.html.j2")
        .render(
            t=texts_of(look.language),
            t_or=lambda key, otherwise: text_or(look.language, key, otherwise),
            look=look,
            here=request.url.path,
            kept=_kept(request),
            **values,
        )
    )
    return Response(body.encode(), status_code=status, media_type=HTML, headers=HEADERS, cookies=_cookies(request))


def _kept(request: Asked) -> str:
    """Return the beginning of a link to the page that is shown; a choice is added to it."""
    query = [
        (name, value) for name, value in request.query_params.multi_items() if name not in (LANGUAGE_NAME, THEME_NAME)
    ]
    return f"?{urlencode(query)}&" if query else "?"


def _cookies(request: Asked) -> list[Cookie]:
    """Return cookies that keep what the visitor has just chosen."""
    found = []
    for name, allowed in ((LANGUAGE_NAME, tuple(LANGUAGES)), (THEME_NAME, THEMES)):
        value = request.query_params.get(name)
        if value in allowed:
            found.append(
                Cookie(COOKIE_PREFIX + name, value=value, max_age=YEAR_S, path="/", httponly=True, samesite="strict")
            )
    return found
