"""Turns the ``oauth_`` settings into a provider of tokens for SASL OAUTHBEARER.

A token comes from a callable that the operator names, or from an endpoint
(:mod:`streams.settings.token_endpoint`).
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from streams.errors import SettingsError
from streams.settings.check import PREFIX, check_setting
from streams.settings.token_endpoint import TokenEndpoint
from streams.settings.tokens import MAX_EPOCH_S, Token, TokenError, TokenProvider, check_token

#: An extension (RFC 7628, 3.1, as Kafka checks it): its name, of letters, and its value.
_EXTENSION: Final = re.compile(r"(?!auth=)([A-Za-z]+)=([!-~]+)")


@dataclass(frozen=True)
class OAuthSettings:
    """Where tokens come from.

    Parameters
    ----------
    callable_path : ``oauth_token_provider``, ``module:callable``; empty where there is an endpoint
    endpoint : its URL is empty where a callable gives tokens
    extensions : ``oauth_extensions``, as the operator wrote them
    """

    callable_path: str
    endpoint: TokenEndpoint
    extensions: str


@cache
def token_provider(settings: OAuthSettings) -> TokenProvider:
    """Return the provider of these settings: the same one for the same settings.

    Raises
    ------
    SettingsError
        When not exactly one of callable and endpoint is set, or what is set cannot be used.
    """
    path, endpoint = settings.callable_path, settings.endpoint
    if bool(path) == bool(endpoint.url):
        fault = "both set: leave one of them out" if path else f"both empty: set {PREFIX}OAUTH_TOKEN_PROVIDER or _URL"
        raise SettingsError(
            f"sasl_mechanism='OAUTHBEARER' needs one of oauth_token_provider and oauth_token_url; they are {fault}"
        )
    extensions = parse_extensions(settings.extensions)
    if not path:
        endpoint.check()
        return TokenProvider(endpoint.source, endpoint.fetch, extensions)
    source = f"oauth_token_provider={path!r}"
    call = _imported(path)
    return TokenProvider(source, lambda: _called(source, call), extensions)


def parse_extensions(text: str) -> dict[str, str]:
    """Return ``oauth_extensions``, value by name.

    A comma separates extensions only where ``name=`` follows it; another comma is part of the
    value.

    Raises
    ------
    SettingsError
        When a name has other characters than letters, is ``auth`` or occurs twice, or a value has
        other characters than visible ASCII.
    """
    found = [_EXTENSION.fullmatch(part.strip()) for part in re.split(r",(?=\s*[^,=]*=)", text) if text.strip()]
    names = [match[1] for match in found if match]
    check_setting(
        all(found) and len(set(names)) == len(names),
        "oauth_extensions",
        text,
        "name=value with commas between, each name once, of letters and not auth, values of visible ASCII",
    )
    return {match[1]: match[2] for match in found if match}


def _imported(path: str) -> Callable[[], Any]:
    """Return the operator's callable."""
    module, _, name = path.partition(":")
    check_setting(bool(module and name), "oauth_token_provider", path, "module:callable")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as exc:  # noqa: BLE001 - the operator's module may raise anything
        raise SettingsError(
            f"oauth_token_provider={path!r} cannot be imported ({type(exc).__name__}); put its folder into PYTHONPATH"
        ) from None
    is_plain = callable(found) and not inspect.iscoroutinefunction(found)
    check_setting(is_plain, "oauth_token_provider", path, "a callable that is not async")
    return found  # type: ignore[no-any-return]


def _called(source: str, call: Callable[[], Any]) -> Token:
    """Return the token that the operator's callable gives, alone or with its expiry."""
    try:
        given = call()
    except Exception as exc:  # noqa: BLE001 - the operator's code may raise anything
        raise TokenError(f"{source}: it raised {type(exc).__name__}; call it by itself to see why") from None
    value, ends = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    check_token(source, value)
    if ends is None:
        return Token(value)
    left_s = ends - time.time() if isinstance(ends, int | float) and ends < MAX_EPOCH_S else math.nan
    if not left_s > 0:
        raise TokenError(
            f"{source}: its expiry {ends if isinstance(ends, int | float) else type(ends).__name__} is not a time to come; "
            "return seconds since 1970, neither milliseconds nor a lifetime"
        )
    return Token(value, left_s)
