"""Who asks, and what a key allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from streams.server.gate.problems import Problem

#: ``read`` asks for lists, ``write`` sends events, items and users, ``admin`` does all of it, and
#: what changes a deployment.
Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
#: Where the door leaves the caller in a connection's ASGI scope.
CALLER: Final = "headrace.caller"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Parameters
    ----------
    name : of the key, or the address of a caller without a key
    scopes : what the caller may do
    """

    name: str
    scopes: frozenset[Scope]

    def check(self, scope: Scope) -> None:
        """Raise :class:`Problem` unless the caller may do this."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem(
                403,
                "scope",
                f"the key {self.name!r} has the scopes {', '.join(sorted(self.scopes))}, and this needs {scope}",
                field="X-API-Key",
                remedy=f"use a key with the scope {scope}; headrace serve keys add makes one",
            )


#: On a loopback address without keys: whoever can reach it may do everything.
EVERY_SCOPE: Final = frozenset(SCOPES)


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of a connection, whom the door has let in."""
    caller: Caller = scope[CALLER]
    return caller


def needs(scope: Scope) -> Callable[[Any, Any], None]:
    """Return a guard of handlers that lets in only callers with a scope."""

    def guard(connection: Any, _handler: Any) -> None:
        caller_of(connection.scope).check(scope)

    return guard
