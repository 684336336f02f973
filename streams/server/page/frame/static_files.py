"""The page's static files: styles, scripts, icon, vendored libraries with their licences."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from streams.server.gate.problems import Problem

FOLDER: Final = Path(__file__).parent.parent / "static"
PATH: Final = "/page/static/"
MEDIA_TYPES: Final[dict[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".json": "application/json",
}
#: The address of a file changes with its content, so a browser never asks again.
CACHE: Final = "public, max-age=31536000, immutable"


class StaticFile(NamedTuple):
    """A file's bytes, its media type, and what marks its content."""

    body: bytes
    media_type: str
    mark: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return all files by their path below :data:`FOLDER`; only these are served."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in MEDIA_TYPES and path.is_file():
            body = path.read_bytes()
            mark = hashlib.blake2b(body, digest_size=6).hexdigest()
            found[path.relative_to(FOLDER).as_posix()] = StaticFile(body, MEDIA_TYPES[path.suffix], mark)
    return found


def address_of(name: str) -> str:
    """Return the address of a static file."""
    return f"{PATH}{name}?v={static_files()[name].mark}"


@get(f"{PATH}{{name:path}}", sync_to_thread=False)
def static_file(name: FromPath[Path]) -> Response[bytes]:
    """Return a static file."""
    found = static_files().get(str(name).lstrip("/"))
    if found is None:
        raise Problem(404, "no-file", "the page has no such file", remedy="reload the page")
    headers = {"Cache-Control": CACHE, "X-Content-Type-Options": "nosniff"}
    return Response(found.body, media_type=found.media_type, headers=headers)
