"""Which type of event each of Gorse's feedback types is.

Gorse's types are a shop's own words, and so are headrace's. A type of the same name comes first,
then the setting ``serve_gorse_types``, then the words that Gorse's documentation uses.
"""

from __future__ import annotations

from typing import Final

from models.base.event_types import EventTypes
from streams.errors import SettingsError
from streams.server.gate.problems import Problem

#: What Gorse's users often call a type, and the types that it can be here: the first that there is.
USUAL: Final[dict[str, tuple[str, ...]]] = {
    "read": ("view",),
    "watch": ("view",),
    "open": ("view", "click"),
    "like": ("like", "fav", "click"),
    "star": ("star", "fav", "like", "click"),
    "favorite": ("fav", "like", "click"),
    "cart": ("cart", "click"),
    "buy": ("purchase",),
    "order": ("purchase",),
}
SETTING: Final = "serve_gorse_types"
VARIABLE: Final = "HEADRACE_SERVE_GORSE_TYPES"


class FeedbackTypes:
    """Maps feedback types to event types.

    Parameters
    ----------
    types : of the deployment
    given : the setting, ``star=purchase,share=click``

    Raises
    ------
    SettingsError
        When the setting names a type that the deployment does not have.
    """

    def __init__(self, types: EventTypes, given: str) -> None:
        self._types = types
        self._given = read_types(given)
        for name, kind in self._given.items():
            if kind not in types.by_name:
                raise SettingsError(
                    f"{SETTING}={given!r}: {name}={kind}: must be one of {', '.join(types.names)}; add {kind} to "
                    f"[event_types], or change {VARIABLE}"
                )
        shown = [name for name, one in types.table if one.shown]
        self._shown = shown[0] if shown else None

    def event_type(self, feedback_type: str) -> str:
        """Return the event type of a feedback type.

        Raises
        ------
        Problem
            400 for a type that nothing maps.
        """
        if feedback_type in self._given:
            return self._given[feedback_type]
        if feedback_type in self._types.by_name:
            return feedback_type
        for name in USUAL.get(feedback_type, ()):
            if name in self._types.by_name:
                return name
        raise Problem(
            400,
            "feedback-type",
            f"{feedback_type[:64]!r} is none of {', '.join(self._types.names)}, and nothing maps it",
            field="FeedbackType",
            remedy=f"add it to [event_types] of headrace.toml, or map it: {VARIABLE}={feedback_type[:32]}="
            f"{self._types.default_name}",
        )

    def window_type(self, feedback_type: str, value: float | None) -> str | None:
        """Return the name of a feedback in a window; None where it does not enter.

        Raises
        ------
        Problem
            400 for a type that nothing maps.
        """
        return self._types.window_name(self.event_type(feedback_type), value)

    def shown_type(self, feedback_type: str) -> str:
        """Return the event type of a write-back, which says that items were shown to the user.

        Raises
        ------
        Problem
            501 where no event type says that.
        """
        found = self.event_type(feedback_type)
        if not self._types.by_name[found].window:
            return found
        if self._shown is not None:
            return self._shown
        raise Problem(
            501,
            "write-back",
            f"a write-back says that items were shown, and {feedback_type[:64]!r} is {found!r} here, which says that the "
            "user chose the item",
            field="write-back-type",
            remedy="add a type to [event_types] of headrace.toml: impression = { window = false, shown = true }",
        )


def read_types(given: str) -> dict[str, str]:
    """Return the setting's pairs.

    Raises
    ------
    SettingsError
        When a part is no pair, or a name comes twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, given.split(","))):
        name, is_pair, kind = map(str.strip, part.partition("="))
        if not is_pair or not name or not kind or name in found:
            raise SettingsError(
                f"{SETTING}={given!r}: {part!r} must be a pair FEEDBACK_TYPE=EVENT_TYPE that comes once; set {VARIABLE} as "
                "star=purchase,share=click"
            )
        found[name] = kind
    return found
