"""Every command that reads a log, a catalogue or users has the same options for it."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import fields
from pathlib import Path

import pytest

from tools.files.entries.sources import CatalogueSource, UserSource
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource

#: Where a log is read, with what each needs besides.
OF_A_LOG = {
    "tools.commands.data.replay": ["log.csv"],
    "tools.commands.learning.oracle": ["log.csv"],
    "tools.commands.learning.train": ["log.csv", "--out", "model"],
    "tools.commands.learning.evaluate": ["model", "log.csv"],
    "tools.bench.imputation": ["log.csv"],
    "tools.commands.data.produce": ["log.csv"],
}
OF_A_CATALOGUE = [
    name for name in OF_A_LOG if name not in ("tools.commands.data.replay", "tools.commands.data.produce")
]
OF_USERS = {
    **{
        name: OF_A_LOG[name]
        for name in ("tools.commands.learning.train", "tools.commands.learning.evaluate", "tools.bench.imputation")
    },
    "tools.bench.cold_start": [],
}
GIVEN = ["--columns", "user_id=u,ts=t", "--types", "pv=view", "--time-unit", "ms"]

Options = dict[str, tuple[object, object, object]]


def parser_of(module: str) -> argparse.ArgumentParser:
    """Return the parser of a command or benchmark."""
    parser = argparse.ArgumentParser()
    importlib.import_module(module).add_arguments(parser)
    return parser


def options(parser: argparse.ArgumentParser, wanted: set[str]) -> Options:
    """Return default, choices and type of a parser's options among the wanted ones."""
    actions = {name: action for action in parser._actions for name in action.option_strings}
    return {name: (found.default, found.choices, found.type) for name, found in actions.items() if name in wanted}


def names(prefix: str) -> set[str]:
    """Return the names of the options for reading files."""
    return {f"--{prefix}{field.name}" for field in fields(FileOptions)}


def own_options(source: type[LogSource | CatalogueSource | UserSource]) -> Options:
    """Return all options that a source adds to a parser."""
    parser = argparse.ArgumentParser(add_help=False)
    source.add_options(parser)
    return options(parser, {name for action in parser._actions for name in action.option_strings})


@pytest.mark.parametrize("module", OF_A_LOG)
def test_each_command_that_reads_a_log_has_its_options(module: str) -> None:
    """Names, defaults and choices are those of the source; each given value arrives in it."""
    own = own_options(LogSource)
    assert (
        options(parser_of(module), set(own)) == own
        and len(own) == len(fields(FileOptions)) + len(fields(LogSource)) - 2
    )
    args = parser_of(module).parse_args(OF_A_LOG[module])
    assert LogSource.of(args) == LogSource((Path("log.csv"),))
    args = parser_of(module).parse_args([*OF_A_LOG[module], *GIVEN])
    assert LogSource.of(args) == LogSource((Path("log.csv"),), FileOptions("user_id=u,ts=t"), "pv=view", "ms")


@pytest.mark.parametrize("module", OF_A_CATALOGUE)
def test_each_command_that_reads_a_catalogue_has_its_options(module: str) -> None:
    """``--items`` and its columns are the same everywhere."""
    own = own_options(CatalogueSource)
    assert options(parser_of(module), set(own)) == own and set(own) == {
        "--items",
        "--item-tag-separator",
        *names("item-"),
    }
    args = parser_of(module).parse_args(
        [*OF_A_LOG[module], "--items", "items.csv", "--item-columns", "title=name", "--item-encoding", "gb18030"]
    )
    assert CatalogueSource.of(args) == CatalogueSource(
        (Path("items.csv"),), FileOptions("title=name", encoding="gb18030")
    )
    assert CatalogueSource.of(parser_of(module).parse_args(OF_A_LOG[module])) is None


@pytest.mark.parametrize("module", OF_USERS)
def test_each_command_that_reads_users_has_their_options(module: str) -> None:
    """``--users`` and its columns are the same everywhere."""
    own = own_options(UserSource)
    assert options(parser_of(module), set(own)) == own and set(own) == {
        "--users",
        "--user-follow-separator",
        *names("user-"),
    }
    args = parser_of(module).parse_args([*OF_USERS[module], "--users", "users.csv", "--user-columns", "user_id=0"])
    assert UserSource.of(args) == UserSource((Path("users.csv"),), FileOptions("user_id=0"))


@pytest.mark.parametrize(
    ("argv", "first"),
    [
        ([], None),
        (["--time-unit", "auto"], None),
        (["--types", "a=view"], "--types"),
        (["--time-unit", "s"], "--time-unit"),
    ],
)
def test_an_option_without_a_log_is_named(argv: list[str], first: str | None) -> None:
    """A command refuses such an option, because it would have no effect."""
    assert LogSource.given_without_log(parser_of("tools.commands.learning.oracle").parse_args(argv)) == first
