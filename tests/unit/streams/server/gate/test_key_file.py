"""API keys: made once, kept as hashes, found again, refused after their removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.errors import InputError, SettingsError
from streams.server.gate import key_file
from streams.server.gate.callers import Caller
from streams.server.gate.key_file import Keys, add_key, read_keys, remove_key
from streams.server.gate.problems import Problem


def test_the_file_holds_no_key_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """Whoever reads a copy of it cannot ask the server."""
    file = tmp_path / "keys.json"
    key = add_key(file, "shop", ["read", "write", "read"])
    assert key.startswith("hr_") and len(key) > 40 and key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    (stored,) = read_keys(file)
    assert (stored.name, stored.scopes) == ("shop", ["read", "write"])
    assert Keys(file).owner(key) == Caller("shop", frozenset({"read", "write"}))
    assert Keys(file).owner(stored.sha256) is None and Keys(file).owner("") is None


def test_a_running_server_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removed key is refused and a new one taken at once; a broken file lets nobody in."""
    monkeypatch.setattr(key_file, "LOOK_EVERY_S", 0.0)
    file = tmp_path / "keys.json"
    first = add_key(file, "first", ["read"])
    keys = Keys(file)
    second = add_key(file, "second", ["admin"])
    assert keys.owner(first) is not None and keys.owner(second) is not None
    remove_key(file, "first")
    assert keys.owner(first) is None and keys.owner(second) is not None
    file.write_text("{")
    assert keys.owner(second) is None


def test_names_are_told_apart(tmp_path: Path) -> None:
    """The log names keys."""
    file = tmp_path / "keys.json"
    add_key(file, "shop", ["read"])
    with pytest.raises(InputError, match="there is a key of this name"):
        add_key(file, "shop", ["read"])
    with pytest.raises(InputError, match="1 to 64"):
        add_key(file, "a b", ["read"])
    with pytest.raises(InputError, match="no such key"):
        remove_key(file, "other")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "no file of keys"),
        (b'{"v": 2, "keys": []}', "no file of keys"),
        (b'{"v": 1, "keys": [{"name": "a", "scopes": ["root"], "sha256": "", "created_ts": 1}]}', "no file of keys"),
        (b"\xff", "no file of keys"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    """The error names the setting."""
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match=f"serve_keys_file=.*{why}"):
        Keys(file)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """They could let themselves in."""
    file = tmp_path / "keys.json"
    add_key(file, "shop", ["read"])
    file.chmod(0o622)
    with pytest.raises(SettingsError, match="serve_keys_file"):
        read_keys(file)
    assert json.loads(file.read_text())["v"] == 1


def test_a_scope_is_needed_and_admin_includes_the_others() -> None:
    """A key of the page must not send events."""
    Caller("a", frozenset({"read"})).check("read")
    Caller("a", frozenset({"admin"})).check("write")
    with pytest.raises(Problem, match="needs write"):
        Caller("a", frozenset({"read"})).check("write")
