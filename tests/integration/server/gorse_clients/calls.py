"""Makes calls of PyGorse: reads ``[[method, arguments], ...]``, writes what each gave, in JSON.

Run by ``test_gorse_clients.py`` as ``calls.py CLASS URL KEY``, with PyGorse on the path.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from typing import Any


async def made(client: Any, error: type[Exception], calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Return what each call gave, or the status that it raised."""
    found: list[Any] = []
    for method, arguments in calls:
        try:
            answer = getattr(client, method)(**arguments)
            found.append(await answer if inspect.isawaitable(answer) else answer)
        except error as exc:
            found.append({"status": exc.status_code, "message": exc.message})  # type: ignore[attr-defined]
    return found


def plain(value: Any) -> Any:
    """Return a score of PyGorse as an object."""
    return value.to_dict()


if __name__ == "__main__":
    gorse = importlib.import_module("gorse")
    one = getattr(gorse, sys.argv[1])(sys.argv[2], sys.argv[3])
    sys.stdout.write(json.dumps(asyncio.run(made(one, gorse.GorseException, json.load(sys.stdin))), default=plain))
