"""The group of settings for the HTTP server of ``headrace serve``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from streams.errors import SettingsError
from streams.settings.check import check_fields, check_setting, refused
from streams.settings.secrets import check_file, read_secret
from streams.settings.urls import StoreAddress, store_address


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens, whom it answers, and where its copy of the lists is.

    Parameters
    ----------
    serve_bind : IP address that the server listens on. Beyond loopback it needs
        ``serve_keys_file``
    serve_port_number : port that it listens on; 0 takes a free one
    serve_dir : folder of the server's own copies of lists and records. It may be deleted while the
        server is stopped: it comes back from the topics. Each server needs a folder of its own
    serve_store : Redis or Valkey that keeps the lists instead, for servers that share them:
        ``redis://HOST:PORT/DATABASE``, with TLS ``rediss://``; needs ``headrace[redis]``. Empty
        means a RocksDB in ``serve_dir``
    serve_store_password : for it, over TLS or on this machine; empty means none. The user is a part
        of the URL, ``redis://USER@HOST``
    serve_store_password_file : file that holds the password alone, instead of
        ``serve_store_password``
    serve_store_cafile : authority that signed its certificate, in PEM; empty means those of the
        system
    serve_keys_file : file with the hashes of API keys; ``headrace serve keys add`` writes it. When
        it is set, every request needs a key. Empty means that only this machine may ask, without a
        key
    serve_ranking : ``on`` loads the model that is announced, or that of ``artifact``, and ranks on
        demand: sessions, candidates, similar and popular items
    serve_body_bytes : longest body of a request
    serve_rate_limit : most requests of one key, or of one address where there are no keys; a caller
        may send those of one second at once
    serve_gorse : whether the server also answers the requests of Gorse's clients, under ``/api``
    serve_gorse_types : event types of feedback types that have other names,
        ``star=purchase,share=click``
    serve_runs_dir : folder of reports that the page compares: files ``NAME.json`` with what
        ``headrace evaluate``, ``drill`` or ``replay`` printed with ``--json``. Empty means none
    """

    serve_bind: str = "127.0.0.1"
    serve_port_number: Annotated[int, Meta(ge=0, le=65_535)] = 8_080
    serve_dir: str = ".headrace/server"
    serve_store: str = ""
    serve_store_password: str = field(default="", repr=False)
    serve_store_password_file: str = ""
    serve_store_cafile: str = ""
    serve_keys_file: str = ""
    serve_ranking: Literal["off", "on"] = "off"
    serve_body_bytes: Annotated[int, Meta(ge=1_024, le=64 << 20)] = 4 * 1024 * 1024
    serve_rate_limit: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    serve_gorse: Literal["off", "on"] = "off"
    serve_gorse_types: str = ""
    serve_runs_dir: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            address = ipaddress.ip_address(self.serve_bind)
        except ValueError:
            raise refused("serve_bind", self.serve_bind, "an IP address, such as 127.0.0.1 or 0.0.0.0") from None
        check_setting(
            address.is_loopback or bool(self.serve_keys_file),
            "serve_bind",
            self.serve_bind,
            "a loopback address, such as 127.0.0.1, while serve_keys_file is empty: beyond this machine each caller "
            "needs a key, see headrace serve keys add",
        )
        if self.serve_store:
            self._check_store()

    def _check_store(self) -> None:
        address = self.store_address()
        has_password = bool(self.serve_store_password or self.serve_store_password_file)
        check_setting(
            not has_password or address.is_tls or address.is_local,
            "serve_store",
            self.serve_store,
            "rediss:// or valkeys:// with a password, without TLS on this machine alone: the password would be readable",
        )
        if self.serve_store_password and self.serve_store_password_file:
            raise SettingsError(
                "serve_store_password and serve_store_password_file are both set: leave one of them out"
            )

    def store_address(self) -> StoreAddress:
        """Return where the shared store is."""
        return store_address("serve_store", self.serve_store, "serve_store_password_file")

    def store_password(self) -> str:
        """Return the password of the shared store; empty without one. A file is read now.

        Raises
        ------
        SettingsError
            When the file cannot be used, or that of the authority.
        """
        if self.serve_store_cafile:
            check_file(self.serve_store_cafile, "serve_store_cafile", private=False)
        if not self.serve_store_password_file:
            return self.serve_store_password
        return read_secret(self.serve_store_password_file, "serve_store_password_file")
