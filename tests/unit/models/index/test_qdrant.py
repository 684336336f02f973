"""An index in Qdrant's embedded form equals the exact one; a server that fails costs no answer."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from models.base.types import Float32
from models.index import engine_calls, qdrant
from models.index.index import ItemIndex
from models.index.qdrant import QdrantEngine, QdrantIndex
from models.index.search import VectorSearch

pytestmark = pytest.mark.filterwarnings("ignore:Local mode:UserWarning")


def vectors(n: int, dim: int = 65, seed: int = 1) -> Float32:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


def engine(client: QdrantClient, name: str = "worker", artifact: str = "a1", timeout_s: float = 20.0) -> QdrantEngine:
    return QdrantEngine(client, name, artifact, timeout_s)


def collections(client: QdrantClient) -> list[str]:
    return sorted(one.name for one in client.get_collections().collections)


def alias(client: QdrantClient, name: str = "worker") -> str:
    return str({one.alias_name: one.collection_name for one in client.get_aliases().aliases}[name])


def assert_exact(index: VectorSearch, items: Float32, k: int = 40) -> None:
    """The index gives the rows of brute force in their order, and their scores."""
    queries = vectors(6, items.shape[1], seed=2)
    wanted_rows, wanted_scores = ItemIndex.build(items, kind="exact").search(queries, k)
    rows, scores = index.search(queries, k)
    assert rows.tolist() == wanted_rows.tolist()
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-4)
    assert rows.dtype == np.int64 and scores.dtype == np.float32


class Silent:
    """Accepts connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def n_connections(self) -> int:
        """Return how many connections wait to be accepted."""
        self._socket.settimeout(0.2)
        n = 0
        try:
            while True:
                self._socket.accept()
                n += 1
        except TimeoutError:
            return n

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def remote(url: str) -> QdrantClient:
    return QdrantClient(url=url, timeout=1, check_compatibility=False)


@pytest.mark.parametrize("n", [1, 3, 2_500])
def test_the_server_gives_the_exact_rows(client: QdrantClient, n: int) -> None:
    """Also where more are asked for than there are, and beyond one upload."""
    used = engine(client)
    assert_exact(used.build(vectors(n)), vectors(n), k=100)
    assert used.problem == "" and collections(client) == ["worker-a1-1"]


def test_a_rebuild_replaces_the_whole_index(client: QdrantClient) -> None:
    """The alias moves in one step; the index before still answers; older ones are deleted."""
    used = engine(client)
    first, second = used.build(vectors(300)), used.build(vectors(200, seed=3))
    assert alias(client) == "worker-a1-2"
    assert_exact(first, vectors(300))
    assert_exact(second, vectors(200, seed=3))
    third = used.build(vectors(250, seed=4))
    assert collections(client) == ["worker-a1-2", "worker-a1-3"] and alias(client) == "worker-a1-3"
    assert_exact(third, vectors(250, seed=4))


def test_artifacts_and_workers_never_share_a_collection(client: QdrantClient) -> None:
    """The next artifact goes on counting; a worker deletes nothing of another one."""
    other = engine(client, "worker-2").build(vectors(30, seed=5))
    for artifact in ("a1", "b2:/x", "a1"):
        engine(client, artifact=artifact).build(vectors(30))
    assert collections(client) == ["worker-2-a1-1", "worker-a1-3", "worker-b2x-2"]
    assert alias(client) == "worker-a1-3" and alias(client, "worker-2") == "worker-2-a1-1"
    assert_exact(other, vectors(30, seed=5))


def test_another_width_is_another_collection_and_refused_in_a_query(client: QdrantClient) -> None:
    used = engine(client)
    used.build(vectors(50, 65))
    index = used.build(vectors(50, 17))
    assert_exact(index, vectors(50, 17))
    with pytest.raises(ValueError, match=r"queries of shape \(2, 65\): must be \(q, 17\)"):
        index.search(vectors(2, 65), 5)
    with pytest.raises(ValueError, match="k=0: must be at least 1"):
        index.search(vectors(2, 17), 0)
    with pytest.raises(ValueError, match="not finite"):
        index.search(np.full((1, 17), np.nan, np.float32), 5)
    assert used.problem == ""


def test_without_a_server_this_process_searches(caplog: pytest.LogCaptureFixture) -> None:
    """The reason is kept, and logged once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    used = engine(remote(f"http://127.0.0.1:{port}"))
    with caplog.at_level(logging.WARNING):
        index = used.build(vectors(300))
        assert_exact(index, vectors(300))
        index.mend()
    assert used.problem.startswith("index engine: the index cannot be built, so this process searches: ConnectError")
    assert len(caplog.records) == 1


def test_a_silent_server_delays_one_search_by_the_timeout(client: QdrantClient, silent: Silent) -> None:
    """The searches after it are answered here at once, and do not ask the server."""
    used = engine(client)
    index = used.build(vectors(300))
    used.client, used.timeout_s = remote(silent.url), 0.1
    start = time.monotonic()
    assert_exact(index, vectors(300))
    assert 0.1 <= time.monotonic() - start < 1.0
    assert used.problem == "index engine: this process searches instead: no answer within 100 ms"
    start = time.monotonic()
    for _ in range(20):
        assert_exact(index, vectors(300))
    assert time.monotonic() - start < 1.0
    assert silent.n_connections() == 1 and used.n_failures == 1


def test_a_server_that_is_back_searches_again(
    client: QdrantClient, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_calls, "RETRY_S", 0.0)
    used = engine(client)
    index = used.build(vectors(300))
    used.client, used.timeout_s = remote(silent.url), 0.1
    index.search(vectors(1), 5)
    used.client, used.timeout_s = client, 20.0
    wait_for(lambda: bool(index.search(vectors(1), 5)[0].size) and not used.problem)
    assert_exact(index, vectors(300))


@pytest.mark.parametrize("harm", ["lost", "short", "strange"])
def test_a_damaged_collection_is_noticed(client: QdrantClient, harm: str) -> None:
    """A collection that is gone, lacks rows or holds a strange one gives no wrong rows."""
    used, items = engine(client), vectors(300)
    index = used.build(items)
    if harm == "lost":
        client.delete_collection("worker-a1-1")
    elif harm == "short":
        client.delete("worker-a1-1", models.PointIdsList(points=list(range(280))))
    else:
        client.upsert("worker-a1-1", [models.PointStruct(id=300, vector=(100 * items[0]).tolist())])
        client.upsert("worker-a1-1", [models.PointStruct(id=301, vector=(-100 * items[0]).tolist())])
    assert_exact(index, items)
    assert used.problem.startswith("index engine: this process searches instead: ")
    assert {"lost": "not found", "short": "gave 20 rows", "strange": "not from 0 to 299"}[harm] in used.problem


def test_a_lost_collection_is_built_again(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was emptied: the index returns to it without a rebuild of the catalogue."""
    monkeypatch.setattr(qdrant, "MEND_S", 0.0)
    monkeypatch.setattr(engine_calls, "RETRY_S", 0.0)
    used, items = engine(client), vectors(300)
    index = used.build(items)
    client.delete_collection("worker-a1-1")
    # the alias comes last, when the new collection has its points
    wait_for(lambda: bool(index.search(vectors(1), 5)[0].size) and client.get_aliases().aliases and not used.problem)
    assert alias(client).startswith("worker-a1-")
    assert_exact(index, items)


def test_an_old_server_is_named(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    version = models.VersionInfo(title="qdrant", version="1.7.4")
    monkeypatch.setattr(client, "info", lambda: version)
    used = engine(client)
    assert_exact(used.build(vectors(30)), vectors(30))
    assert "the server is version 1.7.4, must be at least 1.10; upgrade it" in used.problem
    assert collections(client) == []


def test_an_upload_that_fails_leaves_no_collection(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    used = engine(client)
    used.build(vectors(30))
    # takes vectors, and keeps none
    monkeypatch.setattr(client, "upsert", lambda *_args, **_more: None)
    used.build(vectors(40))
    assert "worker-a1-2 holds 0 vectors, must be 40" in used.problem
    assert collections(client) == ["worker-a1-1"] and alias(client) == "worker-a1-1"


def test_recall_is_measured_and_the_effort_follows(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that finds too little at a low effort is asked with a higher one."""
    asked = client.query_batch_points

    def hasty(collection: str, requests: list[models.QueryRequest], timeout: int) -> Any:
        params = requests[0].params
        if params is None or params.hnsw_ef is None or params.hnsw_ef >= 256:
            return asked(collection, requests, timeout=timeout)
        wider = [request.model_copy(update={"limit": (request.limit or 0) + 2}) for request in requests]
        answers = asked(collection, wider, timeout=timeout)
        # without the best two
        return [models.QueryResponse(points=answer.points[2:]) for answer in answers]

    monkeypatch.setattr(client, "query_batch_points", hasty)
    monkeypatch.setattr(qdrant, "RECALL_TARGET", 1.0)
    index = engine(client).build(vectors(300))
    assert isinstance(index, QdrantIndex) and index.recall == 1.0
    assert_exact(index, vectors(300))


def test_names_are_checked(client: QdrantClient) -> None:
    with pytest.raises(ValueError, match="name='a/b': must be 1 to 100 letters"):
        engine(client, "a/b")


def wait_for(condition: object) -> None:
    """Wait until a condition holds, for at most 10 s."""
    assert callable(condition)
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 s"
        time.sleep(0.02)
