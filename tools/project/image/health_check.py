"""The containers' health check: ``python -m tools.project.image.health_check 6066``.

It needs nothing but Python, and imports nothing of headrace, because it runs every few seconds.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from typing import Final

TIMEOUT_S: Final = 3.0


def is_ready(url: str) -> bool:
    """Return whether a page answers 200; no proxy of the environment is asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):  # urllib's errors are OSErrors
        return False


def main(arguments: list[str]) -> int:
    """Return 0 when the worker on this port, or the page at this path, is ready; else 1.

    Parameters
    ----------
    arguments : the port, and the page's path where it is not ``/health``
    """
    port, *path = arguments
    return 0 if is_ready(f"http://127.0.0.1:{int(port)}{path[0] if path else '/health'}") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
