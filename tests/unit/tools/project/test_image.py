"""The programs of the image: its health check, and the lock file without CUDA."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tools.project.image import health_check
from tools.project.image.without_cuda import main, torch_requirement, without_cuda
from tools.project.packages import LOCK_FILE, locked_versions
from tools.workers.ports import free_port

ROOT = Path(__file__).parents[4]
#: What only the checkout needs: sources of the bench's peer, the image's own build, the vendoring.
CHECKOUT_ALONE = ("tools/bench/live/peers/kafka_streams/", "tools/project/image/Dockerfile", "tools/project/npm/")


class Page(BaseHTTPRequestHandler):
    """Answers as a worker that has its partitions, and at /starting as one that has not."""

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        """Answer."""
        self.send_response({"/health": 200, "/readyz": 200, "/starting": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing to the screen."""


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a page."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_container_is_healthy_while_its_worker_is_ready(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not asked; a server that is not there is not healthy."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert health_check.main([str(port)]) == 0
    assert health_check.main([str(port), "/readyz"]) == 0
    assert health_check.main([str(port), "/starting"]) == 1
    assert health_check.main([str(free_port())]) == 1


def test_the_cpu_image_has_every_package_but_those_of_cuda(tmp_path: Path) -> None:
    """PyTorch itself comes from the index of CPU builds, in the same version."""
    lock, torch = tmp_path / "cpu.lock", tmp_path / "torch.txt"
    main(str(LOCK_FILE), str(lock), str(torch))
    before, after = locked_versions(LOCK_FILE, "3.11"), locked_versions(lock, "3.11")
    gone = before.keys() - after.keys()
    assert {"torch", "triton", "nvidia-cublas", "cuda-toolkit"} <= gone
    assert all(re.fullmatch(r"torch|triton|cuda-.*|nvidia-.*", name) for name in gone)
    assert after.items() <= before.items() and "torchmetrics" in after
    assert torch.read_text() == f"torch=={before['torch']}\n"


def test_the_image_has_every_file_that_the_packages_read(tmp_path: Path) -> None:
    """The image installs a wheel: a page that is in the checkout alone would be missing there."""
    for name in ("streams", "models", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--offline", "."]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = set(opened.namelist())
    own = [path for name in ("streams", "models", "tools") for path in (tmp_path / name).rglob("*") if path.is_file()]
    missing = {path.relative_to(tmp_path).as_posix() for path in own} - packed
    assert {path for path in missing if not path.startswith(CHECKOUT_ALONE)} == set()


def test_a_package_goes_with_its_hashes() -> None:
    text = "a==1 \\\n    --hash=sha256:1\n    # via b\ntriton==3 ; x \\\n    --hash=sha256:2\ntorch==2.1\nb==1\n"
    assert without_cuda(text) == "a==1 \\\n    --hash=sha256:1\n    # via b\nb==1\n"
    assert torch_requirement(text) == "torch==2.1"
    with pytest.raises(ValueError, match="pins no torch"):
        torch_requirement("a==1\n")
