"""The workers' log: Faust's own layout and colours, or one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from mode.utils.logging import DEFAULT_FORMATTERS, DefaultFormatter, ExtensionFormatter

from streams.contract.log_coordinates import ATTRIBUTE
from streams.printable import PrintableFormatter, printable_json


class FileFormatter(PrintableFormatter, DefaultFormatter):
    """For ``--logfile``."""


class ColoredFormatter(PrintableFormatter, ExtensionFormatter):
    """For standard output; colours appear on a terminal only."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the record that the line is about.

    ``exception`` and ``stack`` are there where the line has one. Programs that read logs get no
    control character: a terminal that shows the file obeys none.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the log record as one line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        fields |= getattr(record, ATTRIBUTE, {})
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return printable_json(json.dumps(fields, ensure_ascii=False, default=str))


def logging_config(log_format: str = "text") -> dict[str, Any]:
    """Return Faust's own logging configuration with the formatters of this module."""
    if log_format == "json":
        return {"merge": True, "formatters": {name: {"()": JsonFormatter} for name in ("default", "colored")}}
    own = {"default": FileFormatter, "colored": ColoredFormatter}
    return {"merge": True, "formatters": {name: {**DEFAULT_FORMATTERS[name], "()": kind} for name, kind in own.items()}}
