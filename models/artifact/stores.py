"""Brings an artifact from another store into a folder of this machine, through fsspec.

::

    URI, below a root ─► manifest, of the announced checksum ─► its files, each within its limit
                                                                └─► a folder named by the checksum

The folder is kept: an artifact that is there already is not fetched again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from models.artifact.artifact import MANIFEST, TENSORS
from models.artifact.golden import GOLDEN, MAX_GOLDEN_BYTES
from models.artifact.manifest import read_manifest
from models.files.atomic import replaced_folder
from models.files.plain_files import MAX_MANIFEST_BYTES, MAX_TENSORS_BYTES, FileError
from models.files.served_folder import is_served

CHUNK_BYTES: Final = 8 << 20
#: So many fetched artifacts are kept, the newest ones, beside those that a process serves.
KEPT: Final = 4


class StoreError(Exception):
    """An artifact cannot be fetched; the message is one line: URI, problem, remedy."""

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"{uri}: {problem}")


def local_folder(uri: str) -> Path | None:
    """Return the folder that a path or a ``file`` URI names; None for another store."""
    if "://" not in uri:
        return Path(uri)
    path = uri.removeprefix("file://").removeprefix("localhost")
    return Path(unquote(path)) if uri.startswith("file://") and path.startswith("/") else None


def check_below(uri: str, roots: Sequence[str]) -> None:
    """Raise :class:`StoreError` unless a URI lies in one of some stores.

    Parameters
    ----------
    roots : URIs
    """
    is_plain = not any(one in uri for one in ("::", "?", "#", "\\")) and ".." not in uri.split("/")
    if not is_plain or not any(uri.rstrip("/").startswith(root.rstrip("/") + "/") for root in roots):
        within = ", ".join(roots) or "none"
        raise StoreError(
            uri, f"must lie below a store of artifact_roots ({within}), without .. or ?; name its store there"
        )


def fetch_artifact(uri: str, cache: Path, sha256: str = "") -> Path:
    """Return the folder with the files of an artifact, which are fetched where they are not there.

    Their content is checked when the artifact is loaded.

    Parameters
    ----------
    cache : the folder for fetched artifacts
    sha256 : that of the manifest; empty for any

    Raises
    ------
    StoreError
        When a package for the store is missing, a file cannot be fetched or is too large, the
        manifest is another one, or the disk is full.
    """
    if sha256 and (cache / sha256 / MANIFEST).is_file():
        os.utime(cache / sha256)
        return cache / sha256
    store, path = _opened(uri)
    text = _read(uri, store, f"{path}/{MANIFEST}", MAX_MANIFEST_BYTES)
    found = hashlib.sha256(text).hexdigest()
    if sha256 and found != sha256:
        raise StoreError(uri, f"checksum {found[:12]} of {MANIFEST}, announced was {sha256[:12]}; publish it again")
    try:
        has_golden = bool(read_manifest(text, len(text)).golden_sha256)
    except FileError as exc:
        raise StoreError(uri, f"{MANIFEST}: {exc}") from exc
    try:
        with replaced_folder(cache / found) as folder:
            _copy(uri, store, f"{path}/{TENSORS}", folder / TENSORS, MAX_TENSORS_BYTES)
            if has_golden:
                _copy(uri, store, f"{path}/{GOLDEN}", folder / GOLDEN, MAX_GOLDEN_BYTES)
            (folder / MANIFEST).write_bytes(text)
    except OSError as exc:
        raise StoreError(uri, f"cannot be kept in {cache}: {exc}; make room there") from exc
    _tidy(cache, cache / found)
    return cache / found


def _opened(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path in it."""
    from fsspec.core import url_to_fs

    try:
        store, path = url_to_fs(uri)
    except ImportError as exc:  # the message of fsspec names the package
        raise StoreError(uri, f"{exc}; install it beside headrace on every recommender") from exc
    except Exception as exc:  # each store has errors of its own
        raise StoreError(uri, f"cannot be opened ({type(exc).__name__}: {exc})") from exc
    return store, str(path).rstrip("/")


def _read(uri: str, store: Any, path: str, limit: int) -> bytes:
    parts: list[bytes] = []
    _transfer(uri, store, path, limit, parts.append)
    return b"".join(parts)


def _copy(uri: str, store: Any, path: str, target: Path, limit: int) -> None:
    with target.open("wb") as file:
        _transfer(uri, store, path, limit, file.write)


def _transfer(uri: str, store: Any, path: str, limit: int, write: Any) -> None:
    """Hand over a file piece by piece; errors of writing are the caller's."""
    name, size = path.rpartition("/")[2], 0
    try:
        # in pieces as they come: many HTTP servers give no ranges
        file = store.open(path, "rb", **({"block_size": 0} if uri.startswith("http") else {}))
    except Exception as exc:  # each store has errors of its own
        raise StoreError(uri, f"{name} cannot be fetched ({_told(exc)})") from exc
    with file:
        while True:
            try:
                piece = file.read(CHUNK_BYTES)
            except Exception as exc:
                raise StoreError(uri, f"{name} cannot be fetched ({_told(exc)})") from exc
            if not piece:
                return
            size += len(piece)
            if size > limit:
                raise StoreError(uri, f"{name} has more than {limit} bytes; train it again with headrace train")
            write(piece)


def _told(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())


def _tidy(cache: Path, newest: Path) -> None:
    """Remove the oldest fetched artifacts that nobody serves."""
    folders = [one for one in cache.iterdir() if one.is_dir() and (one / MANIFEST).is_file() and one != newest]
    for folder in sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        if not is_served(folder):
            shutil.rmtree(folder, ignore_errors=True)
