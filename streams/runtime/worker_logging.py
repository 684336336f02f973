"""The workers' log: Faust's own layout and colours, each record one printable line."""

from __future__ import annotations

from typing import Any

from mode.utils.logging import DEFAULT_FORMATTERS, DefaultFormatter, ExtensionFormatter

from streams.printable import PrintableFormatter


class FileFormatter(PrintableFormatter, DefaultFormatter):
    """For ``--logfile``."""


class ColoredFormatter(PrintableFormatter, ExtensionFormatter):
    """For standard output; colours appear on a terminal only."""


def logging_config() -> dict[str, Any]:
    """Return Faust's own logging configuration with the formatters of this module."""
    own = {"default": FileFormatter, "colored": ColoredFormatter}
    return {"merge": True, "formatters": {name: {**DEFAULT_FORMATTERS[name], "()": kind} for name, kind in own.items()}}
