"""Users, rights, passwords and TLS of a shared store."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from streams.errors import SettingsError, StoreError
from streams.server.lists.open_store import open_store
from streams.server.lists.redis_store import open_redis_store
from streams.server.lists.store import Span
from streams.settings.load import Settings, load_settings
from streams.settings.server import ServerSettings
from tests.support.security.certificates import OPENSSL, make_authority, sign
from tests.support.without_extras import hide
from tests.unit.streams.server.lists.store_servers import StoreServer
from tests.unit.streams.server.served import a_list, begun, change

ROOT = Path(__file__).parents[5]
SECRET = "correct-horse-9"


def rights() -> str:
    """Return the rights that the page on security lists."""
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    return text.partition("ACL SETUSER headrace on >PASSWORD ")[2].partition("\n")[0]


async def set_user(server: StoreServer, rules: str) -> None:
    client: Any
    async with Redis(port=server.port) as client:
        await client.execute_command("ACL", "SETUSER", "headrace", "on", f">{SECRET}", *rules.split())
        await client.execute_command("ACL", "SETUSER", "default", "off")


def settings(server: StoreServer, **more: Any) -> ServerSettings:
    return ServerSettings(serve_store=f"valkey://headrace@{server.address}", **more)


def test_the_documented_rights_are_enough(own_server: StoreServer, tmp_path: Path) -> None:
    """The user can do nothing else; the password comes from a file."""
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)

    async def run() -> None:
        await set_user(own_server, rights())
        store = await begun(open_redis_store(settings(own_server, serve_store_password_file=str(file)), "a"))
        await store.apply(Span(0, 0, 1), [change(0, a_list())])
        await store.keep([Span(0, 1, 2)], is_complete=True)
        assert await store.get(b"u") is not None and await store.count() == 1
        await store.remove(b"u", 1)
        assert await store.get(b"u") is None
        await store.close()
        client: Any
        async with Redis(port=own_server.port, username="headrace", password=SECRET) as client:
            for command in (("GET", "other"), ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*")):
                with pytest.raises(Exception, match="permissions"):
                    await client.execute_command(*command)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("rules", "password", "remedy"),
    [
        ("~headrace:* +@all", "wrong-" + SECRET, "see the user in serve_store and its password"),
        ("~headrace:* +@read", SECRET, "give the user the rights that docs/security.md lists"),
    ],
)
def test_a_refusal_names_the_remedy_and_no_password(
    own_server: StoreServer, rules: str, password: str, remedy: str
) -> None:
    async def run() -> str:
        await set_user(own_server, rules)
        store = open_redis_store(settings(own_server, serve_store_password=password), "a")
        with pytest.raises(StoreError) as caught:
            await store.state()
        await store.close()
        return str(caught.value)

    told = asyncio.run(run())
    assert remedy in told and own_server.address in told and SECRET not in told


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"serve_store": "redis://u:hunter2@h"}, r"serve_store='\*\*\*' must be .*serve_store_password_file"),
        ({"serve_store": "http://h"}, "serve_store='http://h' must be redis://"),
        ({"serve_store": "redis://h:70000"}, "must be redis://"),
        ({"serve_store": "redis://h/shop"}, "must be redis://"),
        ({"serve_store": "redis://h?db=1"}, "must be redis://"),
        ({"serve_store": "unix://h/s.sock"}, "must be redis://"),
        ({"serve_store": "redis://h", "serve_store_password": SECRET}, "rediss:// or valkeys:// with a password"),
        ({"serve_store": "redis://h", "serve_store_password_file": "f"}, "rediss:// or valkeys:// with a password"),
        (
            {"serve_store": "rediss://h", "serve_store_password": SECRET, "serve_store_password_file": "f"},
            "are both set",
        ),
    ],
)
def test_a_bad_address_is_refused_before_any_connection(given: dict[str, Any], wrong: str) -> None:
    """The error names the remedy, and holds no password."""
    with pytest.raises(SettingsError, match=wrong) as caught:
        ServerSettings(**given)
    assert SECRET not in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", "h:6379/0"),
        ("valkeys://me@h:7000/3", "h:7000/3"),
        ("redis://[::1]:7000", "[::1]:7000/0"),
        ("unix:///run/valkey.sock", "/run/valkey.sock"),
    ],
)
def test_an_address_is_shown_without_its_user(url: str, address: str) -> None:
    assert str(ServerSettings(serve_store=url).store_address()) == address


def test_the_password_is_masked_wherever_settings_are_shown() -> None:
    found = load_settings(
        {"HEADRACE_SERVE_STORE": "redis://localhost", "HEADRACE_SERVE_STORE_PASSWORD": SECRET}, file=Path("absent")
    )
    assert found.shown()["serve_store_password"] == "***" and SECRET not in repr(found)


def test_without_the_client_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the server needs it."""
    hide(monkeypatch, "redis", "streams.server.lists.redis_store")
    found = Settings(server=ServerSettings(serve_store="redis://localhost"))
    with pytest.raises(SettingsError, match=r"install headrace\[redis\], or leave HEADRACE_SERVE_STORE empty"):
        asyncio.run(open_store(found, tmp_path))


@contextlib.asynccontextmanager
async def tls_before(server: StoreServer, folder: Path, hosts: str) -> AsyncIterator[tuple[int, Path]]:
    """Give the port of a door with TLS before a server, and the authority of its certificate."""
    authority = make_authority(folder, "authority")
    own = sign(authority, folder, "store", hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    door = await asyncio.start_server(let_in, "127.0.0.1", 0, ssl=context)
    yield door.sockets[0].getsockname()[1], authority.cert
    door.close()


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")
@pytest.mark.parametrize(
    ("hosts", "is_known", "works"), [("IP:127.0.0.1", True, True), ("IP:127.0.0.9", True, False), ("IP:127.0.0.1", False, False)]
)  # fmt: skip
def test_tls_checks_the_authority_and_the_host(
    valkey_server: StoreServer, tmp_path: Path, hosts: str, is_known: bool, works: bool
) -> None:
    """Else somebody on the way could answer in the store's name."""

    async def run() -> None:
        async with tls_before(valkey_server, tmp_path, hosts) as (port, authority):
            given = ServerSettings(
                serve_store=f"rediss://127.0.0.1:{port}", serve_store_cafile=str(authority) if is_known else ""
            )
            store = open_redis_store(given, tmp_path.name)
            if works:
                await begun(store)
                assert await store.get(b"u") is None
            else:
                with pytest.raises(StoreError, match="(?i)certificate"):
                    await store.state()
            await store.close()

    asyncio.run(run())
