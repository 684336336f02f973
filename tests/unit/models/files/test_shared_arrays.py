"""Arrays in shared files: equal for equal content, private when written, and never a stranger's."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from models.base.types import Float32
from models.files import shared_arrays
from models.files.shared_arrays import SharedArrays

N, CAPACITY, WIDTH = 3_000, 4_000, 7
ROOT = Path(__file__).parents[4]


@pytest.fixture
def rows() -> Float32:
    """Return rows of more than a page."""
    return np.random.default_rng(1).standard_normal((N, WIDTH), dtype=np.float32)


def only_file(folder: Path) -> Path:
    """Return the one file of a folder."""
    (path,) = folder.iterdir()
    return path


def test_equal_arrays_have_one_file_and_other_arrays_their_own(tmp_path: Path, rows: Float32) -> None:
    """The name says content, type, shape and room; the file is its owner's."""
    files = SharedArrays(tmp_path / "new" / "folder")
    first, second = files.shared(rows, CAPACITY), SharedArrays(files.folder).shared(rows.copy(), CAPACITY)
    path = only_file(files.folder)
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == CAPACITY * WIDTH * 4
    assert first[:N].tobytes() == second[:N].tobytes() == rows.tobytes()
    files.shared(rows + 1, CAPACITY)
    files.shared(rows, CAPACITY + 1)
    files.shared(rows.view(np.int32), CAPACITY)
    assert len(list(files.folder.iterdir())) == 4


def test_a_mapped_array_is_as_good_as_a_private_one(tmp_path: Path, rows: Float32) -> None:
    """Compiled loops see the same type, so none is compiled anew."""
    mapped = SharedArrays(tmp_path).shared(rows, CAPACITY)
    private = np.empty_like(mapped)
    assert (mapped.shape, mapped.dtype, mapped.strides) == (private.shape, private.dtype, private.strides)
    assert mapped.flags.c_contiguous and mapped.flags.writeable and mapped.flags.aligned
    assert numba.typeof(mapped) == numba.typeof(private)
    assert numba.typeof(mapped[:N]) == numba.typeof(private[:N])


def test_what_is_written_stays_in_one_mapping(tmp_path: Path, rows: Float32) -> None:
    """Neither the file nor another mapping changes, on the page that both parts share too."""
    files = SharedArrays(tmp_path)
    one, other = files.shared(rows, CAPACITY), files.shared(rows, CAPACITY)
    one[N:] = 5.0
    assert (one[N:] == 5.0).all() and not other[N:].any()
    assert one[:N].tobytes() == other[:N].tobytes() == rows.tobytes()
    third = SharedArrays(tmp_path).shared(rows, CAPACITY)
    assert third[:N].tobytes() == rows.tobytes() and not third[N:].any()


def test_arrays_of_several_dimensions_and_bytes(tmp_path: Path) -> None:
    """Keys of records are (n, 2, 16) bytes."""
    keys = np.random.default_rng(1).integers(0, 256, (50, 2, 16), dtype=np.uint8)
    mapped = SharedArrays(tmp_path).shared(keys, 60)
    assert mapped.shape == (60, 2, 16) and mapped[:50].tobytes() == keys.tobytes()


def change_a_byte(path: Path) -> None:
    """Change the middle of the content."""
    with path.open("r+b") as file:
        file.seek(N * WIDTH * 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def truncate(path: Path) -> None:
    """Leave the whole content, and less room."""
    os.truncate(path, N * WIDTH * 4)


def link(path: Path) -> None:
    """Put a link to a file with the right content in its place."""
    real = path.parent.parent / "real"
    path.rename(real)
    path.symlink_to(real)


def link_hard(path: Path) -> None:
    """Give the file a second name."""
    (path.parent.parent / "real").hardlink_to(path)


def open_to_others(path: Path) -> None:
    """Let others write the file."""
    path.chmod(0o666)


def make_pipe(path: Path) -> None:
    """Put a pipe in its place, whose opening could wait for ever."""
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("harm", [change_a_byte, truncate, link, link_hard, open_to_others, make_pipe])
def test_a_file_that_cannot_be_trusted_is_replaced(tmp_path: Path, rows: Float32, harm: Callable[[Path], None]) -> None:
    """The new file has the content, and the old one is not touched."""
    files = SharedArrays(tmp_path / "folder")
    files.shared(rows, CAPACITY)
    path = only_file(files.folder)
    harm(path)
    before = path.lstat()
    found = files.shared(rows, CAPACITY)
    after = only_file(files.folder).lstat()
    assert found[:N].tobytes() == rows.tobytes() and found.shape == (CAPACITY, WIDTH)
    assert after.st_ino != before.st_ino and after.st_mode == 0o100600 and after.st_size == CAPACITY * WIDTH * 4
    again = files.shared(rows, CAPACITY)
    assert again[:N].tobytes() == rows.tobytes() and only_file(files.folder).lstat().st_ino == after.st_ino


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_replaced(tmp_path: Path, rows: Float32) -> None:
    """Even with the right content: its owner could change it later."""
    files = SharedArrays(tmp_path)
    files.shared(rows, CAPACITY)
    os.chown(only_file(tmp_path), 12_345, -1)
    assert files.shared(rows, CAPACITY)[:N].tobytes() == rows.tobytes()
    assert only_file(tmp_path).stat().st_uid == os.geteuid()


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, rows: Float32) -> None:
    """They could put files there between two looks."""
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="others may write it"):
        SharedArrays(tmp_path).shared(rows, CAPACITY)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="link"):
        SharedArrays(tmp_path / "link").shared(rows, CAPACITY)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, rows: Float32, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half-written file is removed."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            SharedArrays(tmp_path).shared(rows, CAPACITY)
    assert list(tmp_path.iterdir()) == []
    assert SharedArrays(tmp_path).shared(rows, CAPACITY)[:N].tobytes() == rows.tobytes()


def test_a_locked_folder_is_not_waited_for_without_end(
    tmp_path: Path, rows: Float32, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process holds up no other one; removing never waits."""
    monkeypatch.setattr(shared_arrays, "WAIT_S", 0.1)
    files = SharedArrays(tmp_path)
    files.shared(rows, CAPACITY)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="another process keeps it locked"):
        files.shared(rows, CAPACITY)
    assert files.remove_unused() == 0 and only_file(tmp_path).exists()
    os.close(descriptor)
    assert files.remove_unused() == 1


def test_files_go_when_nobody_holds_them(tmp_path: Path, rows: Float32) -> None:
    """A view keeps its file; other files of the folder stay."""
    files = SharedArrays(tmp_path)
    held = files.shared(rows, CAPACITY)[:10]
    files.shared(rows + 1, CAPACITY)
    (tmp_path / "notes").write_text("not ours")
    assert files.remove_unused() == 1 and len(list(tmp_path.iterdir())) == 2
    del held
    assert files.remove_unused() == 1 and only_file(tmp_path).name == "notes"
    assert SharedArrays(tmp_path / "missing").remove_unused() == 0 and not (tmp_path / "missing").exists()


HOLD = """
import sys, time
from pathlib import Path
import numpy as np
from models.files.shared_arrays import SharedArrays
mapped = SharedArrays(Path(sys.argv[1])).shared(np.ones((3_000, 7), dtype=np.float32), 4_000)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_files_of_a_killed_process_go(tmp_path: Path) -> None:
    """Its locks end with it; a file that it was writing has no lock either."""
    files = SharedArrays(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert files.remove_unused() == 0
        path = only_file(tmp_path)
        (tmp_path / f"{path.name}.0123456789abcdef.new").write_bytes(b"half")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert files.remove_unused() == 2 and list(tmp_path.iterdir()) == []
