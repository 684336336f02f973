"""A worker's log as JSON: one object a line, whatever is in it."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import datetime
from typing import Any

import pytest

from streams.contract.log_coordinates import about
from streams.runtime.worker_logging import JsonFormatter, logging_config
from tests.support.hostile_text import HOSTILE, unfit
from tools.workers.worker_logs import as_text


def formatted(
    message: str, *args: object, level: int = logging.ERROR, extra: dict[str, Any] | None = None, exc_info: Any = None
) -> str:
    """Return a log record as the formatter writes it."""
    record = logging.LogRecord("streams.test", level, __file__, 1, message, args, exc_info)
    record.__dict__.update(extra or {})
    return JsonFormatter().format(record)


def test_a_line_has_its_time_level_and_message() -> None:
    """Times are UTC with their zone: logs of several machines are put beside each other."""
    shown = json.loads(formatted("%d windows", 3, level=logging.WARNING))
    assert (shown["level"], shown["logger"], shown["message"]) == ("WARNING", "streams.test", "3 windows")
    offset = datetime.fromisoformat(shown["time"]).utcoffset()
    assert offset is not None and not offset


def test_a_line_about_a_record_has_its_coordinates() -> None:
    shown = json.loads(formatted("left out", extra=about("shop.items", 2, 9, "e1")))
    assert {name: shown[name] for name in ("topic", "partition", "offset", "event_id")} == {
        "topic": "shop.items",
        "partition": 2,
        "offset": 9,
        "event_id": "e1",
    }
    assert "topic" not in json.loads(formatted("of no record"))


def test_the_text_of_strangers_stays_one_printable_line() -> None:
    """A newline would forge a line, and a terminal obeys escape sequences."""
    line = formatted("item %s left out", HOSTILE)
    assert unfit(line) == set() and "\n" not in line
    assert json.loads(line)["message"] == f"item {HOSTILE} left out"


def test_an_exception_is_a_field_of_its_line() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as exc:
        line = formatted("failed", exc_info=(type(exc), exc, exc.__traceback__))
    assert "\n" not in line and "ValueError" in json.loads(line)["exception"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_configuration_is_one_that_logging_takes(log_format: str) -> None:
    """Faust merges the formatters into its own configuration."""
    config = logging_config(log_format)
    make = logging.config.DictConfigurator({"version": 1}).configure_formatter
    assert all(isinstance(make(dict(each)), logging.Formatter) for each in config["formatters"].values())
    kinds = {each["()"] for each in config["formatters"].values()}
    assert (kinds == {JsonFormatter}) is (log_format == "json")


def test_the_supervisor_reads_a_json_log_as_it_reads_text() -> None:
    """What ended a worker is found by its level and its words."""
    line = as_text(formatted("the worker ends: %s", "StalledError: x"))
    assert line.endswith("[ERROR] the worker ends: StalledError: x")
    assert as_text("plain") == "plain" and as_text('{"broken": ') == '{"broken": ' and as_text("{}") == "{}"
