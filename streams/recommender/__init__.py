"""From windows to published lists: queue, model's thread, catalogue and the records of lists.

``faust -A streams.recommender worker`` loads this package.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Build the app when the Faust command asks for it.

    An import of a module of this package then has no effect.
    """
    if name != "app":
        raise AttributeError(name)
    from models.base.processor import set_up_algebra

    set_up_algebra(is_beside_events=True)  # before NumPy is loaded
    from streams.recommender.agent import build_recommender
    from streams.runtime.app import start_app

    globals()["app"] = app = start_app(build_recommender)
    return app
