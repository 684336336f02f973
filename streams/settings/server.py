"""The group of settings for the HTTP server of ``headrace serve``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from streams.settings.check import check_fields, check_setting, refused


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens, whom it answers, and where its copy of the lists is.

    Parameters
    ----------
    serve_bind : IP address that the server listens on. Beyond loopback it needs
        ``serve_keys_file``
    serve_port_number : port that it listens on; 0 takes a free one
    serve_dir : folder of the server's own copy of the lists. It may be deleted while the server is
        stopped: it comes back from the topics. Each server needs a folder of its own
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
