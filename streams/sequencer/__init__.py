"""From events to windows: which events are accepted, which are rejected, and which windows result.

``faust -A streams.sequencer worker`` loads this package.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Build the app when the Faust command asks for it.

    An import of a module of this package then has no effect.
    """
    if name != "app":
        raise AttributeError(name)
    from streams.runtime.app import start_app
    from streams.sequencer.agent import build_sequencer
    from streams.sequencer.compiled.batch import warm_up

    globals()["app"] = app = start_app(build_sequencer)
    warm_up()
    return app
