"""How the server says no: ``application/problem+json``, as RFC 9457 has it.

Each problem names the field at fault, and what the caller can do about it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"
#: Stands before the name of a kind of problem, so that ``type`` is a URI.
URN: Final = "urn:headrace:problem:"


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is no success.

    ``type`` names the kind of problem. ``field`` is the parameter, header or field of the body at
    fault. ``request_id`` is also in the header ``X-Request-ID`` and in the server's log.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str = ""
    remedy: str = ""
    request_id: str = ""


class Problem(Exception):
    """A request that cannot be answered as it was asked.

    Parameters
    ----------
    status : HTTP status
    kind : names the kind of problem, in lower case with hyphens
    detail : the value at fault and its limit
    field : what is at fault; empty where it is no part of the request
    remedy : what the caller can do
    headers : further headers of the answer
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str = "",
        remedy: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind}: {field or 'request'}: {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.headers = headers or {}

    def body(self, request_id: str = "") -> ProblemBody:
        """Return the body of the answer."""
        title = HTTPStatus(self.status).phrase
        return ProblemBody(URN + self.kind, title, self.status, self.detail, self.field, self.remedy, request_id)

    def encoded(self, request_id: str = "") -> bytes:
        """Return the bytes of the body."""
        return msgspec.json.encode(self.body(request_id))


def bad_value(field: str, detail: str, remedy: str) -> Problem:
    """Return the problem of a value that is out of its range."""
    return Problem(400, "bad-value", detail, field=field, remedy=remedy)


def not_ready(waiting: str) -> Problem:
    """Return the problem of a server that has not read what it needs.

    Parameters
    ----------
    waiting : what it waits for
    """
    return Problem(
        503,
        "not-ready",
        f"the server still waits for {waiting}",
        remedy="ask again in a second; /readyz says when the server is ready",
        headers={"Retry-After": "1"},
    )


def no_store() -> Problem:
    """Return the problem of a store of lists that does not answer; the log says more of it."""
    return Problem(
        503,
        "store",
        "the store of lists does not answer",
        remedy="ask again in a second; /readyz says when the server is ready",
        headers={"Retry-After": "1"},
    )
