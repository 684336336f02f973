"""``headrace bench cold-start`` reads files of several forms, and reports on them."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from streams.errors import InputError
from tools.bench import cold_start as bench_cold_start
from tools.bench.cold_start import median_of, options_of, read_data, read_pairs
from tools.cli import add_common_arguments
from tools.main import main


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


def test_bad_files_are_named(tmp_path: Path) -> None:
    """A short line with its number, an absent file, and an empty one."""
    short = written(tmp_path / "short", "1 2\n3\n")
    with pytest.raises(InputError, match="line 2: needs user_id and item_id"):
        read_pairs(short, {"user_id": "0", "item_id": "1"}, ("user_id", "item_id"))
    with pytest.raises(InputError, match="absent"):
        read_data(options_of(parsed("--interactions", tmp_path / "absent", "--follows", short)))
    with pytest.raises(InputError, match="no interactions"):
        read_data(options_of(parsed("--interactions", written(tmp_path / "empty", ""), "--follows", short)))


def test_data_is_of_users_with_interactions(tmp_path: Path) -> None:
    """Pairs count once; follows of strangers, of oneself and repeats do not count."""
    args = parsed(
        "--interactions", written(tmp_path / "i", "u1 a1\nu1 a1\nu2 a1\nu3 a2\n"),
        "--follows", written(tmp_path / "f", "u1 u3\nu1 u2\nu1 u3\nu1 u1\nu2 u9\nu9 u1\n"),
        "--users", written(tmp_path / "u", "u3|9|Brno\nu1|3|Brno\nu9|1|Linz\nu2||Linz\n"),
        "--user-columns", "user_id=0,features.age=1,features.city=2",
    )  # fmt: skip
    data = read_data(options_of(args))
    assert (len(data.log.user_ids), len(data.log.item_ids), len(data.log)) == (3, 2, 3)
    assert data.follows == {"u1": ["u3", "u2"]}
    assert data.user_features == {
        "u1": {"features.age": 3.0, "features.city": "Brno"},
        "u2": {"features.city": "Linz"},
        "u3": {"features.age": 9.0, "features.city": "Brno"},
    }


def test_a_run_reports_and_friends_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Users like and follow their own group here, so the social prior beats popularity."""
    rng = np.random.default_rng(5)
    likes = [(u, i) for u in range(200) for i in range(40) if rng.random() < (0.9 if u % 4 == i % 4 else 0.1)]
    knows = [(u, int(rng.integers(50)) * 4 + u % 4) for u in range(200) for _ in range(4)]
    files = {
        "--interactions": written(tmp_path / "i.gz", "".join(f"{u}\t{i}\n" for u, i in likes)),
        "--follows": written(tmp_path / "f", "".join(f"{u}\t{v}\n" for u, v in knows)),
    }
    argv = [arg for pair in files.items() for arg in pair] + ["--seeds", 1, "--preset", "demo"]
    assert main(["bench", "cold-start", *map(str, argv), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unseen"]["served"]["ndcg@10"] > result["unseen"]["popularity"]["ndcg@10"]
    assert result["users"] == 200
    table = "\n".join(bench_cold_start.as_table(result))
    assert "friends' vote" in table
    assert "seed 1: served over popularity +" in table


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
    with pytest.raises(InputError, match=message):
        options_of(parsed(*argv))


def test_medians_are_of_each_number() -> None:
    """The median is taken value by value, not run by run."""
    assert median_of([{"a": {"b": 1, "c": 9}}, {"a": {"b": 5, "c": 3}}, {"a": {"b": 2, "c": 4}}]) == {
        "a": {"b": 2, "c": 4}
    }
