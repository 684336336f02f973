"""``headrace bench cold-start``: files of several forms become the right arrays, and a run reports what the data holds."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from streams.errors import InputError
from tools import bench_cold_start
from tools.bench_cold_start import median_of, parse_columns, read_data, read_rows
from tools.cli import UsageError, add_common_arguments

POSITIONS = {"user": "0", "item": "1"}


def parsed(*argv: object) -> argparse.Namespace:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    bench_cold_start.add_arguments(parser)
    return parser.parse_args([str(arg) for arg in argv])


def written(path: Path, text: str) -> Path:
    """Return the path of a file with this text, gzip where the name says so."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.txt", "1 7 3.5\n2 8 1\n", POSITIONS),
        ("a.tsv", "userID\tartistID\tweight\n1\t7\t3\n2\t8\t1\n", POSITIONS),
        ("a.dat.gz", "1\t7\n\n2\t8\n", POSITIONS),
        ("a.csv", "weight,item,user\n3,7,1\n1,8,2\n", {"user": "user", "item": "item"}),
        ("a.item", "1|x y, z|7\n2|w|8\n", {"user": "0", "item": "2"}),
    ],
)
def test_files_of_several_forms_read_alike(tmp_path: Path, name: str, text: str, columns: dict[str, str]) -> None:
    """White space, tab, comma, bar; with a header, by name or seen by its lack of digits, or without; plain or gzip."""
    rows = list(read_rows(written(tmp_path / name, text), columns))
    assert rows == [{"user": "1", "item": "7"}, {"user": "2", "item": "8"}]


def test_names_without_digits_are_no_header(tmp_path: Path) -> None:
    """A first line like all others is data."""
    assert len(list(read_rows(written(tmp_path / "a", "ann tea\nbob rum\n"), POSITIONS))) == 2


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("1 2\n3\n", POSITIONS, "line 2 has 1 fields, needs 2"),
        ("user,item\n1,2\n", {"user": "user", "item": "artist"}, "no column 'artist' in the first line"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, columns: dict[str, str], message: str) -> None:
    """A short line and an absent column are errors that say where."""
    with pytest.raises(InputError, match=message):
        list(read_rows(written(tmp_path / "a", text), columns))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Absent, cut short, and empty."""
    with pytest.raises(InputError, match="absent"):
        list(read_rows(tmp_path / "absent", POSITIONS))
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"1 2\n" * 99)[:-9])
    with pytest.raises(InputError, match=r"cut\.gz"):
        list(read_rows(cut, POSITIONS))
    with pytest.raises(InputError, match="no interactions"):
        read_data(parsed("--interactions", written(tmp_path / "empty", ""), "--follows", cut))


def test_data_is_of_users_with_interactions(tmp_path: Path) -> None:
    """Pairs count once; follows of strangers, of oneself and repeated ones are dropped; features are by user."""
    data = read_data(
        parsed(
            "--interactions", written(tmp_path / "i", "u1 a1\nu1 a1\nu2 a1\nu3 a2\n"),
            "--follows", written(tmp_path / "f", "u1 u3\nu1 u2\nu1 u3\nu1 u1\nu2 u9\nu9 u1\n"),
            "--users", written(tmp_path / "u", "u3|9|Brno\nu1|3|Brno\nu9|1|Linz\nu2||Linz\n"),
            "--user-columns", "user=0,age=1,city=2",
        )
    )  # fmt: skip
    assert (data.n_users, data.n_items, len(data.users)) == (3, 2, 3)
    assert data.follows[0][data.mask[0]].tolist() == [1, 2]
    assert data.mask.sum() == 2
    np.testing.assert_allclose(data.features, [[-1, 1], [0, 0], [1, 1]])


def test_a_run_reports_and_friends_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On seeded users who like and follow their own group, the social prior is above popularity; and the table names each method."""
    rng = np.random.default_rng(5)
    likes = [(u, i) for u in range(80) for i in range(40) if rng.random() < (0.9 if u % 4 == i % 4 else 0.1)]
    knows = [(u, int(rng.integers(20)) * 4 + u % 4) for u in range(80) for _ in range(4)]
    files = {
        "--interactions": written(tmp_path / "i.gz", "".join(f"{u}\t{i}\n" for u, i in likes)),
        "--follows": written(tmp_path / "f", "".join(f"{u}\t{v}\n" for u, v in knows)),
    }
    argv = [arg for pair in files.items() for arg in pair] + ["--seeds", 1]
    assert bench_cold_start.run(parsed(*argv, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unseen"]["social prior"]["ndcg@10"] > result["unseen"]["popularity"]["ndcg@10"]
    assert result["users"] == 80
    table = bench_cold_start.as_table(result)
    assert "friends' vote" in table
    assert "blend, mixed" in table


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "needs --interactions"),
        (("--interactions", "x"), "at least one of"),
        (("--interactions", "x", "--follows", "y", "--seeds", "0"), "--seeds 0"),
    ],
)
def test_bad_usage_is_named(argv: tuple[str, ...], message: str) -> None:
    """Missing files and no runs are errors of usage."""
    with pytest.raises(UsageError, match=message):
        bench_cold_start.run(parsed(*argv))


@pytest.mark.parametrize("text", ["user", "user=", "user=0"])
def test_bad_columns_are_named(text: str) -> None:
    """A column without a place, and one that is not given."""
    with pytest.raises(UsageError, match=r"--columns '.*' must be|--columns '.*': must be"):
        parse_columns("--columns", text, ("user", "item"))


def test_medians_are_of_each_number() -> None:
    """The median is taken value by value, not run by run."""
    assert median_of([{"a": {"b": 1, "c": 9}}, {"a": {"b": 5, "c": 3}}, {"a": {"b": 2, "c": 4}}]) == {
        "a": {"b": 2, "c": 4}
    }
