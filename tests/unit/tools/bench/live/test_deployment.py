"""The workers of a benchmark: each has a folder, a log and a port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.bench.live import deployment as deployments
from tools.bench.live.deployment import deployment


@pytest.mark.parametrize(
    ("n_recommenders", "names"),
    [(1, ["sequencer", "recommender"]), (3, ["sequencer", "recommender", "recommender-2", "recommender-3"])],
)
def test_recommenders_of_one_machine_share_nothing_but_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_recommenders: int, names: list[str]
) -> None:
    """The folder of cached embeddings, in which they share rows, is one."""

    @contextmanager
    def no_broker(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(bootstrap="127.0.0.1:9092")

    async def no_topics(*_: object) -> None:
        pass

    monkeypatch.setattr(deployments, "running_broker", no_broker)
    monkeypatch.setattr(deployments, "_create", no_topics)
    with deployment(None, tmp_path / "artifact", tmp_path, n_recommenders=n_recommenders) as (_, _, workers):
        assert [worker.log_path.stem for worker in workers] == names
        assert [worker.name for worker in workers] == ["sequencer"] + ["recommender"] * n_recommenders
        for what in ("HEADRACE_DATA_DIR", "HEADRACE_ENCODER_CACHE_DIR"):
            places = {worker.env[what] for worker in workers}
            assert len(places) == (len(workers) if what == "HEADRACE_DATA_DIR" else 1)
        assert len({worker.web_port for worker in workers}) == len(workers)
