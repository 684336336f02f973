"""What a benchmark defines, and the table of the benchmarks.

A benchmark is a module of this folder with a constant ``SUBJECT``.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

Options = TypeVar("Options")

#: What can be measured; the module has underscores for hyphens.
SUBJECTS: Final = {
    "sequencer": "events a second, beside bare clients and the obvious agent",
    "freshness": "age of lists by rate of events, and where the time goes",
    "lists": "what a list costs, beside the bare products, a loop over users, and implicit",
    "cost": "processor time, bytes and energy of a million events and a million lists",
    "recovery": "seconds until a sequencer has its windows again, in memory and in RocksDB",
    "encoder": "texts a second, beside a plain loop over batches of 32",
    "index": "search among up to a million items, by kind of index",
    "factors": "matrix factorisation, beside the implicit package",
    "imputation": "lists with features missing, by what fills them",
    "cold-start": "users and items without events, beside popularity",
    "reading": "rows a second of a log as CSV and Parquet, beside bare pyarrow",
    "catalogue": "lists a second, and the age of changes, while the catalogue changes",
    "serve": "answers a second and their latency, of pushed lists and on demand",
    "compression": "bytes and time of windows and lists in each codec of Kafka",
}


@dataclass(frozen=True)
class Subject(Generic[Options]):
    """What a benchmark defines.

    Parameters
    ----------
    add_arguments : adds its options to a parser
    options_of : returns the parsed options; raises :class:`~streams.errors.InputError` for a value
        out of range
    run : measures, and returns the result for ``--json``
    as_table : returns the result for people, as lines
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    options_of: Callable[[argparse.Namespace], Options]
    run: Callable[[Options], dict[str, Any]]
    as_table: Callable[[dict[str, Any]], list[str]]


def load_subject(name: str) -> Subject[Any]:
    """Import a benchmark of :data:`SUBJECTS`.

    Raises
    ------
    TypeError
        When its module has no ``SUBJECT`` of the type :class:`Subject`.
    """
    module = importlib.import_module(f"tools.bench.{name.replace('-', '_')}")
    subject = vars(module).get("SUBJECT")
    if not isinstance(subject, Subject):
        raise TypeError(f"{module.__name__}: SUBJECT is {subject!r}, must be a tools.bench.subject.Subject")
    return subject
